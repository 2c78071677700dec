"""`spacy transfer evaluate`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...json_types import Scores
from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli


@transfer_cli.command("evaluate", no_args_is_help=True)
def evaluate_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    data: Annotated[Path, Argument(help="Annotated documents: a .spacy file or a folder of them")],
    output: Annotated[Path | None, Option("--output", "-o", help="Write all scores to this JSON file")] = None,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    batch_size: Annotated[int, Option("--batch-size", "-b", min=1, help="Documents per batch")] = 256,
    code: Code = None,
) -> None:
    """Evaluate a trained pipeline: accuracy, spaCy's own scores, and F per label.

    Unlike with `spacy evaluate`, the JSON file keeps every score of the components.
    """

    from ...evaluation.evaluate import evaluate, refuse_output, write_scores
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    if output is not None:
        refuse_output(output, [data, Path(pipeline)])
    use_code(code)
    use_device(gpu_id)
    scores = evaluate(load_pipeline(pipeline), data, batch_size=batch_size)
    if output is not None:
        write_scores(scores, output)
    _print(scores)


def _print(scores: Scores) -> None:
    rows = [(key, _number(value)) for key, value in scores.items() if isinstance(value, int | float | str)]
    msg.table(rows, header=("score", "value"), divider=True, aligns=("l", "r"))
    for key, per_type in scores.items():
        if key.endswith("_f_per_type") and per_type:
            lines = [(label, *(_number(found[k]) for k in "prf")) for label, found in per_type.items()]
            msg.table(lines, header=("label", "P", "R", "F"), divider=True, aligns=("l", "r", "r", "r"), max_col=60)


def _number(value: float | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) and value <= 1.0 else str(value)
