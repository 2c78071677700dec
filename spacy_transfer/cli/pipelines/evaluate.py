"""`spacy transfer evaluate`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...json_types import Scores
from ...text_output import echo, msg
from ..configs import Code, use_code
from ..group import transfer_cli
from .summary_table import print_summary


@transfer_cli.command("evaluate", no_args_is_help=True)
def evaluate_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    data: Annotated[Path, Argument(help="Annotated documents: a .spacy file or a folder of them")],
    output: Annotated[Path | None, Option("--output", "-o", help="Write all scores to this JSON file")] = None,
    errors: Annotated[
        Path | None,
        Option(
            "--errors",
            "-e",
            help="Write the texts that are wrong to this file, with the right label, the predicted one and its score: "
            ".csv, .tsv or .jsonl",
        ),
    ] = None,
    component: Annotated[
        str | None, Option("--component", help="Look at this spacy-transfer component only. Default: all")
    ] = None,
    show_all: Annotated[
        bool, Option("--all", "-a", help="Show all labels, confusions and scores instead of those that fit a screen")
    ] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    batch_size: Annotated[int, Option("--batch-size", "-b", min=1, help="Documents per batch")] = 256,
    code: Code = None,
) -> None:
    """Evaluate a trained pipeline: accuracy, F per label, what is confused with what, and what a score is worth.

    Shares have 95 % intervals: Wilson's for accuracy and single labels, bootstrap over texts for means over labels. The
    JSON file has everything, including all scores of spaCy.
    """

    from ...evaluation.error_rows import refuse_errors_file, write_errors
    from ...evaluation.evaluate import judge, refuse_output, write_scores
    from ...files import refuse_same
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    if output is not None:
        refuse_output(output, [data, Path(pipeline)])
    if errors is not None:
        refuse_errors_file(errors, [data, Path(pipeline)])
        refuse_same([errors, *([output] if output else [])])
    use_code(code)
    use_device(gpu_id)
    judged = judge(load_pipeline(pipeline), data, component=component, batch_size=batch_size)
    if output is not None:
        write_scores(judged.scores, output)
    for summary in judged.summaries:
        if len(judged.summaries) > 1:
            msg.divider(summary.name)
        print_summary(summary, show_all=show_all)
    if show_all or not judged.summaries:
        _print_scores(judged.scores)
    else:
        echo(f"{judged.scores['docs_per_second']:,.0f} documents per second")
    if errors is not None:
        n = write_errors(judged.components, errors)
        echo(f"{errors}: {n:,} texts that are wrong, the surest mistakes first")


def _print_scores(scores: Scores) -> None:
    msg.divider("All scores")
    rows = [(key, _number(value)) for key, value in scores.items() if isinstance(value, int | float | str)]
    msg.table(rows, header=("score", "value"), divider=True, aligns=("l", "r"))
    for key, per_type in scores.items():
        # Our own components have shown their labels above.
        if key.endswith("_f_per_type") and per_type and not (scores["components"] and "cats_f_per" in key):
            lines = [(label, *(_number(found[k]) for k in "prf")) for label, found in per_type.items()]
            msg.table(lines, header=("label", "P", "R", "F"), divider=True, aligns=("l", "r", "r", "r"), max_col=60)


def _number(value: float | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) and value <= 1.0 else str(value)
