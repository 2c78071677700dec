"""`spacy transfer calibrate`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...errors import T685
from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli

if TYPE_CHECKING:
    from ...training.calibration.calibrate import Calibrated


@transfer_cli.command("calibrate", no_args_is_help=True)
def calibrate_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    data: Annotated[
        Path, Argument(help="Annotated documents that were not trained on, such as dev.spacy: a file or a folder")
    ],
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Folder for the calibrated pipeline. Default: the pipeline's own, replaced"),
    ] = None,
    train: Annotated[
        Path | None,
        Option(
            "--train",
            help="Training documents: fits doc._.transfer_confidence, how sure it is that a text has one of the "
            "labels, and a threshold for apply --min-confidence",
        ),
    ] = None,
    beta: Annotated[
        float,
        Option(
            "--beta",
            help="F that thresholds are best for: 1 weighs precision and recall alike, 0.5 precision, 2 recall",
        ),
    ] = 1.0,
    force: Annotated[bool, Option("--force", "-F", help="Replace the output folder")] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: Code = None,
) -> None:
    """Turn scores into probabilities, and find a threshold for each label.

    Divides the logits by the temperature that makes the annotations most likely; the ranking of labels stays. Where a
    text may have any number of labels, the threshold with the best F is stored for each label, and used by evaluate and
    apply --labels. Prints the expected calibration error before and after.

    With --train, texts that have none of the labels can be told. In DATA, those with other labels only count as such.
    """
    from ...training.calibration.calibrate import calibrate
    from ...training.device import use_device

    use_code(code)
    use_device(gpu_id)
    for done in calibrate(pipeline, data, output, train=train, beta=beta, force=force):
        _print(done)
    msg.info(f"Saved to {output or pipeline}")


def _print(done: "Calibrated") -> None:
    msg.divider(f"{done.name}: temperature {done.temperature:.3f}, {done.n_docs:,} documents")
    measure = "accuracy" if done.exclusive else "macro F"
    rows = [
        (name, f"{before:.4f}", f"{after:.4f}")
        for name, before, after in (
            ("expected calibration error", done.before.ece, done.after.ece),
            ("negative log-likelihood", done.before.nll, done.after.nll),
            (f"{measure}, on the same documents", done.before.score, done.after.score),
        )
    ]
    msg.table(rows, header=("", "before", "after"), divider=True, aligns=("l", "r", "r"))
    if done.thresholds:
        lines = [(label, f"{threshold:.3f}") for label, threshold in done.thresholds.items()]
        msg.table(lines, header=("label", "threshold"), divider=True, aligns=("l", "r"), max_col=60)
    if done.thresholds and done.without:
        threshold = done.thresholds[done.without[0]]
        msg.warn(T685.format(labels=", ".join(done.without), threshold=threshold))
    if (found := done.confidence) is not None:
        msg.info(
            f"Texts with none of the labels: confidence below {found.min_confidence:.3f}, fitted on {found.n_train:,} "
            f"training documents"
        )
        if found.auroc is None:
            msg.info("No document has unknown labels only: the threshold is the one that 5 in 100 others fall below.")
        else:
            msg.info(f"On {found.n_unknown:,} documents with unknown labels: AUROC {found.auroc:.3f}")
