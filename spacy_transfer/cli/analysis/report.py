"""`spacy transfer report`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli


@transfer_cli.command("report", no_args_is_help=True)
def report_cli(
    target: Annotated[
        str,
        Argument(
            metavar="RUN_OR_PIPELINE",
            help="Output folder of a training or a search, folder of a trained pipeline, or name of a package",
        ),
    ],
    data: Annotated[
        list[Path] | None,
        Option("--data", "-d", help="Test data: a .spacy file or a folder of them. May be given several times"),
    ] = None,
    compare: Annotated[
        list[str] | None,
        Option("--compare", help="Another run or pipeline, measured on the same data. May be given several times"),
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="The page; its data get the same name with .json")] = Path(
        "report.html"
    ),
    component: Annotated[
        str | None, Option("--component", help="Report on this spacy-transfer component only. Default: all")
    ] = None,
    doctor: Annotated[
        bool, Option("--doctor", help="Also look for wrong labels in the training data, as spacy transfer doctor does")
    ] = False,
    curve: Annotated[
        bool,
        Option("--curve", help="Also estimate what more training data would bring, as spacy transfer curve does"),
    ] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    batch_size: Annotated[int, Option("--batch-size", "-b", min=1, help="Documents per batch")] = 256,
    code: Code = None,
) -> None:
    """Write a report on a run or a pipeline: one HTML page with charts, and its data as JSON.

    The page needs no other file and no network. It shows how the pipeline was trained, and with --data scores by label,
    confusions down to the texts, what a score is worth, parts of the data, and other pipelines on the same texts.
    """
    from ...analysis.report.report import report
    from ...training.device import use_device

    use_code(code)
    use_device(gpu_id)
    facts = report(
        target, output, data=data or (), compare=compare or (), component=component, batch_size=batch_size,
        doctor=doctor, curve=curve,
    )  # fmt: skip
    msg.good(f"{output}: open it in a browser; its data are in {output.with_suffix('.json')}")
    if not facts["tests"]:
        msg.info("Without test data it only shows the training. Add --data FILE.")
