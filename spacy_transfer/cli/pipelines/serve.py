"""`spacy transfer serve`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..configs import CodeWithoutLetter, share_or_auto, use_code
from ..group import transfer_cli


@transfer_cli.command("serve", no_args_is_help=True)
def serve_cli(
    pipelines: Annotated[
        list[str],
        Argument(help="Folders or package names of trained pipelines; NAME=FOLDER gives one a name for requests"),
    ],
    host: Annotated[str, Option("--host", help="Address to listen on; 0.0.0.0 for every network")] = "127.0.0.1",
    port: Annotated[int, Option("--port", "-p", min=0, max=65535, help="Port to listen on; 0 for any free one")] = 8000,
    api_key_file: Annotated[
        Path | None, Option("--api-key-file", help="File of API keys, one per line. Default: no key is required")
    ] = None,
    all_scores: Annotated[bool, Option("--all-scores", help="Give the scores of all labels")] = False,
    labels: Annotated[
        bool, Option("--labels", help="Give the labels that reach their threshold, or the only one of a text")
    ] = False,
    above: Annotated[float | None, Option("--above", help="Give all labels with at least this score")] = None,
    top: Annotated[int | None, Option("--top", "-n", help="Give this many labels, best first")] = None,
    min_score: Annotated[
        float | None, Option("--min-score", help="Give the word of --abstain where the best score is lower")
    ] = None,
    min_confidence: Annotated[
        str | None,
        Option(
            "--min-confidence",
            help="Give the word of --abstain where the confidence that a text has one of the labels is lower: a "
            "number, or auto for what spacy transfer calibrate --train found",
        ),
    ] = None,
    abstain: Annotated[str, Option("--abstain", help="Word for no label")] = "abstain",
    threads: Annotated[
        int, Option("--threads", min=0, help="Threads to compute with; 0 for one per core, or OMP_NUM_THREADS")
    ] = 0,
    max_batch: Annotated[int, Option("--max-batch", help="Most texts that are scored together")] = 64,
    max_body: Annotated[int, Option("--max-body", help="Most bytes of a request")] = 8_000_000,
    max_texts: Annotated[int, Option("--max-texts", help="Most texts of a request")] = 1000,
    max_length: Annotated[int, Option("--max-length", help="Most characters of a text")] = 100_000,
    max_queue: Annotated[
        int, Option("--max-queue", help="Most texts that wait for a pipeline; beyond it the answer is 429")
    ] = 4000,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: CodeWithoutLetter = None,
) -> None:
    """Serve trained pipelines over HTTP, with a page to try them.

    Requests that come together are scored together. SIGTERM or Ctrl-C stops after the last answer; SIGHUP loads the
    pipelines and the keys again while requests go on. Options of scores are defaults, which a request can change.
    """
    from ...serving.service.limits import ServiceLimits
    from ...serving.service.serve import serve
    from ...training.device import use_device

    limits = ServiceLimits(body=max_body, texts=max_texts, length=max_length, queue=max_queue, batch=max_batch)
    use_code(code)
    use_device(gpu_id)
    serve(
        pipelines, host=host, port=port, all_scores=all_scores, labels=labels, above=above, top=top,
        min_score=min_score, min_confidence=share_or_auto(min_confidence), abstain=abstain,
        threads=threads, api_key_file=api_key_file, limits=limits,
    )  # fmt: skip
