"""`spacy transfer apply`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ...errors import T536
from ...files import DiskFull
from ...text_output import echo
from ..configs import CodeWithoutLetter, share_or_auto, use_code
from ..group import transfer_cli
from ..training_options import Show, ShowProgress, to_go_on

# Of a run with rows that could not be used; 1 is a failure, 2 a command line that cannot be read.
_SOME_BAD = 3


class Engine(StrEnum):
    """Where documents are classified."""

    local = "local"
    ray = "ray"


class Quoting(StrEnum):
    """What quotation marks mean in a table."""

    auto = "auto"
    csv = "csv"
    none = "none"


@transfer_cli.command("apply", no_args_is_help=True)
def apply_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    sources: Annotated[
        list[str],
        Argument(
            help="Files (.csv, .tsv, .jsonl, .json, .txt, .parquet, .xlsx, .spacy; also .gz or .zst), folders or "
            "patterns of them, or - for standard input"
        ),
    ],
    output: Annotated[
        str,
        Option("--output", "-o", help="File to write: .csv, .tsv, .jsonl, .parquet or .spacy; - for standard output"),
    ],
    text_field: Annotated[
        str | None, Option("--text-field", "-t", help="Column of the text. Default: text, or the only one possible")
    ] = None,
    all_scores: Annotated[bool, Option("--all-scores", help="Write the scores of all labels")] = False,
    labels: Annotated[
        bool,
        Option(
            "--labels",
            help="Also write the labels that reach their threshold, as spacy transfer calibrate stored it or as in the "
            "config; with exactly one label per text, the best one",
        ),
    ] = False,
    above: Annotated[float | None, Option("--above", help="Write all labels with at least this score")] = None,
    top: Annotated[int | None, Option("--top", "-n", help="Write this many labels, best first")] = None,
    min_score: Annotated[
        float | None, Option("--min-score", help="Write the word of --abstain where the best score is lower")
    ] = None,
    min_confidence: Annotated[
        str | None,
        Option(
            "--min-confidence",
            help="Write the word of --abstain where the confidence that a text has one of the labels is lower: a "
            "number, or auto for what spacy transfer calibrate --train found",
        ),
    ] = None,
    abstain: Annotated[str, Option("--abstain", help="Word for no label")] = "abstain",
    prefix: Annotated[str, Option("--prefix", help="Put before the names of all new columns")] = "",
    input_format: Annotated[
        str | None, Option("--input-format", help="Of standard input, and of files without a known suffix")
    ] = None,
    output_format: Annotated[
        str | None, Option("--format", help="Of the output: csv, tsv, jsonl, parquet or spacy. Default: by its suffix")
    ] = None,
    delimiter: Annotated[
        str | None, Option("--delimiter", help="Between the cells of a table. Default: detected")
    ] = None,
    encoding: Annotated[str | None, Option("--encoding", help="Of text files. Default: detected")] = None,
    quoting: Annotated[
        Quoting, Option("--quoting", help="auto and csv: cells may stand in quotation marks; none: marks are letters")
    ] = Quoting.auto,
    columns: Annotated[
        str | None, Option("--columns", help="Names of the columns of a table without a header: id,text")
    ] = None,
    header_line: Annotated[int, Option("--header-line", help="Line of the header; what is above is not read")] = 0,
    bad: Annotated[
        Path | None, Option("--bad", help="Where to list rows that cannot be used. Default: OUTPUT.bad.jsonl")
    ] = None,
    look_ahead: Annotated[
        int, Option("--look-ahead", help="Rows that are sorted by length together, and written together")
    ] = 4096,
    engine: Annotated[
        Engine, Option("--engine", help="local: classify in this process; ray: by workers of a Ray cluster")
    ] = Engine.local,
    address: Annotated[
        str | None,
        Option(
            "--address",
            help="Of a Ray cluster: HOST:6379, ray://HOST:10001, or auto for the one on this machine. Default: "
            "$RAY_ADDRESS, else this machine alone",
        ),
    ] = None,
    workers: Annotated[
        int | None, Option("--workers", help="Workers of the Ray cluster. Default: as many as there is room for")
    ] = None,
    resume: Annotated[bool, Option("--resume", "-R", help="Continue an interrupted run, if there is one")] = False,
    force: Annotated[
        bool, Option("--force", "-F", help="Replace the output; begin again after an interruption")
    ] = False,
    gpu_id: Annotated[
        int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU; with --engine ray 0 gives each worker a GPU")
    ] = -1,
    show: ShowProgress = Show.auto,
    code: CodeWithoutLetter = None,
) -> None:
    """Classify files of documents: their rows come out as they are, with the columns label and score.

    A run that was killed continues with --resume, and its output is that of a run that was not. Rows that cannot be
    used are listed in a side file with their line and the reason, and the exit status is 3.
    """
    from ...corpora.tables.table_format import TableFormat
    from ...serving.apply.apply import apply
    from ...training.device import use_device

    layout = TableFormat(
        delimiter=delimiter,
        encoding=encoding,
        quoting=quoting.value,
        columns=tuple(columns.split(",")) if columns else (),
        header_line=header_line,
    )
    use_code(code)
    # A cluster's GPUs are not those of this machine.
    use_device(gpu_id if engine is Engine.local else -1)
    try:
        done = apply(
            pipeline, sources, output, text_field=text_field, all_scores=all_scores, labels=labels,
            above=above, top=top, min_score=min_score,
            min_confidence=share_or_auto(min_confidence), abstain=abstain, prefix=prefix, input_format=input_format,
            output_format=output_format, layout=layout, bad_file=bad, look_ahead=look_ahead,
            engine=engine.value, address=address, workers=workers, on_gpu=gpu_id >= 0, code=code, resume=resume,
            force=force, show=show.value,
        )  # fmt: skip
    except KeyboardInterrupt:
        unfinished = Path(f"{output}.unfinished")
        if not unfinished.exists():
            raise
        echo(T536.format(folder=unfinished, command=to_go_on()), err=True)
        raise Exit(130) from None
    except DiskFull as error:
        raise error.going_on(to_go_on()) from None
    where = done.output or "standard output"
    speed = (done.n_docs - done.n_before) / done.seconds
    repeated = f", {done.n_repeated:,} of them with a text that had come before" if done.n_repeated else ""
    # Standard output may be the result.
    echo(f"{where}: {done.n_docs:,} documents{repeated}, {speed:,.0f} a second", err=True)
    if done.n_bad:
        listed = f", listed in {done.bad_file}" if done.bad_file else ""
        echo(f"{done.n_bad:,} rows could not be used{listed}:", err=True)
        for line in done.bad_lines:
            echo(f"  {line}", err=True)
        raise Exit(_SOME_BAD)
