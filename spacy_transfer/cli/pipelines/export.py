"""`spacy transfer export`"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli

if TYPE_CHECKING:
    from ...serving.export.comparison import OnnxReport


class To(StrEnum):
    """What a pipeline is exported to."""

    onnx = "onnx"
    spacy = "spacy"
    huggingface = "huggingface"


class Precision(StrEnum):
    """Of an exported network's weights and products."""

    fp32 = "fp32"
    int8 = "int8"


@transfer_cli.command("export", no_args_is_help=True)
def export_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    target: Annotated[Path, Argument(help="Folder to write")],
    to: Annotated[
        To,
        Option(
            "--to",
            help="onnx: a pipeline that predicts on ONNX Runtime, without torch. spacy: one that can be trained on. "
            "huggingface: a folder that transformers loads",
        ),
    ],
    precision: Annotated[
        Precision | None, Option("--precision", help="For onnx: fp32 (default), or int8: smaller and faster")
    ] = None,
    layers: Annotated[
        int | None,
        Option("--layers", help="Keep only this many layers of the encoder, the lowest; train it afterwards"),
    ] = None,
    component: Annotated[
        str | None, Option("--component", "-c", help="For huggingface: name of the classifier. Default: the only one")
    ] = None,
    data: Annotated[
        Path | None,
        Option(
            "--data",
            help="Annotated documents that were not trained on, to calibrate int8 and to measure accuracy: a .spacy "
            "file or a folder of them",
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        Option("--max-loss", help="Write nothing if accuracy on --data drops by more than this. Default: 0.005"),
    ] = None,
    force: Annotated[bool, Option("--force", "-F", help="Replace the target folder")] = False,
    code: Code = None,
) -> None:
    """Export a trained pipeline: for faster prediction without torch, for transformers, or with fewer layers.

    Adapters are merged. With --to onnx the exported pipeline is loaded with spacy.load as before.
    """
    from ...serving.export.export import export

    use_code(code)
    done = export(
        pipeline, target, to=to.value, precision=None if precision is None else precision.value, layers=layers,
        component=component, data=data, max_loss=max_loss, force=force,
    )  # fmt: skip
    for name, n_weights in done.merged.items():
        msg.good(f"{name}: {n_weights:,} adapter weights merged")
    for name, n_layers in done.layers.items():
        msg.good(f"{name}: {n_layers} layers")
    for name, report in done.reports.items():
        _print(name, report)
    if done.huggingface is not None:
        for difference in done.huggingface.differences:
            msg.warn(difference)
        msg.info(f"Load it with {done.huggingface.loads_with}; its README.md shows how")
    msg.good(f"Saved to {done.target}")


def _print(name: str, report: "OnnxReport") -> None:
    msg.divider(name)
    rows = [
        (one.name, f"{one.megabytes:.1f}", f"{one.speed:.2f}x", _number(one.largest), _number(one.mean),
         _number(one.accuracy), "kept" if one.name == report.chosen else "")
        for one in report.variants
    ]  # fmt: skip
    header = ("network", "MB", "speed", "largest diff.", "mean diff.", "accuracy", "")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r", "r", "l"))
    msg.text(f"Speed is against torch ({report.torch_precision}), {report.threads} threads, {report.cpu}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
