"""Exports a pipeline: `--to` says what to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from spacy.language import Language

from ...errors import (
    T541,
    T542,
    T542_CONFIDENCE,
    T542_EXPORTED,
    T542_MASKED,
    T542_MODEL,
    T542_SHARED,
    T543,
    T546,
    T547,
    T548,
    T549,
)
from ...files import hold_place, new_folder, refuse_same
from ...model.networks import networks_of
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...pipeline.components import classifiers_of, components_of
from ...pipeline.interface import ExportedInterface, SharedEncoderInterface, interface_of
from ...pipeline.loading import load_pipeline
from ..merge import merge_adapters
from .comparison import OnnxReport
from .huggingface import HuggingFaceFolder, write_huggingface
from .onnx_pipeline import Precision, to_onnx

To = Literal["onnx", "spacy", "huggingface"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    target (Path): The folder.
    to (str): What it is for.
    merged (Mapping[str, int]): Of each component with an adapter, how many weights that had.
    layers (Mapping[str, int]): Of each component, the layers of its encoder.
    reports (Mapping[str, OnnxReport]): What was measured, for --to onnx, by component.
    huggingface (HuggingFaceFolder | None): What was written, for --to huggingface.
    """

    target: Path
    to: str
    merged: Mapping[str, int]
    layers: Mapping[str, int]
    reports: Mapping[str, OnnxReport] = field(default_factory=dict)
    huggingface: HuggingFaceFolder | None = None


def export(
    pipeline: str | Path,
    target: str | Path,
    *,
    to: To = "onnx",
    precision: Precision | None = None,
    layers: int | None = None,
    component: str | None = None,
    data: str | Path | None = None,
    max_loss: float | None = None,
    force: bool = False,
) -> Exported:
    """Export a trained pipeline. The target is whole or not there; the pipeline itself is not changed.

    Adapters are merged. With "onnx" the target is a pipeline that `spacy.load` loads, whose networks run on ONNX
    Runtime; with "spacy" it is one that can be trained on; with "huggingface" it is a folder that transformers loads,
    see `write_huggingface`.

    pipeline (str | Path): Folder or package of a trained pipeline.
    target (str | Path): Folder to write.
    to (str): "onnx", "spacy" or "huggingface".
    precision (str | None): Of "onnx": "fp32" (default) or "int8".
    layers (int | None): Keep only so many of the encoder's layers, the lowest. Train it, or distill into it, then.
    component (str | None): Of "huggingface": name of the classifier; None for the only one.
    data (str | Path | None): A .spacy file, or a folder of them, with documents that were not trained on: to calibrate
        on and to measure accuracy.
    max_loss (float | None): Accuracy that an exported network may lose on the data. Default: 0.005.
    force (bool): Replace what is there.
    RETURNS (Exported): What was written, and what was measured.
    RAISES (ValueError): T541 for another `to`, T542, T560 for a component that cannot be exported, T207, T543 without
        one, T545 for too great a loss, T547, T549 for options that do not go together, T548 for too many layers, T373
        if the target is the pipeline.
    RAISES (FileExistsError): T546 if the target is there.
    RAISES (OSError): T370 while another command writes it, T372 for a full disk.
    RAISES (ImportError): T081 without onnx and onnxruntime.
    """
    target = Path(target)
    check_options(to, {"--precision": precision, "--data": data, "--max-loss": max_loss, "--component": component})
    if target.exists() and not (force and target.is_dir()):
        raise FileExistsError(T546.format(target=target))
    refuse_same([target], [Path(pipeline), *([Path(data)] if data is not None else [])])
    with hold_place(target):
        nlp = load_pipeline(pipeline)
        check_components(nlp, to, str(pipeline))
        merged = merge_adapters(nlp)
        if layers is not None:
            keep_layers(nlp, layers)
        reports: Mapping[str, OnnxReport] = {}
        if to == "onnx":
            reports = to_onnx(nlp, precision or "fp32", None if data is None else Path(data), max_loss)
        folder = None
        with new_folder(target, sync=True) as part:
            if to == "huggingface":
                folder = write_huggingface(nlp, part, component=component, place=target)
            else:
                nlp.to_disk(part)
    return Exported(target, to, merged, _layers(nlp) if to == "spacy" else {}, reports, folder)


def check_options(to: str, given: Mapping[str, object]) -> None:
    """Refuse what does not go together, before anything is loaded.

    to (str): What the pipeline is exported to.
    given (Mapping[str, object]): Options that only one of them has, None where they are not given.
    RAISES (ValueError): T541, T547, T549.
    """
    if to not in get_args(To):
        raise ValueError(T541.format(to=to, known=", ".join(get_args(To))))
    for option, value in given.items():
        if value is not None and to != ("huggingface" if option == "--component" else "onnx"):
            raise ValueError(T549.format(option=option, to=to))
    if given["--max-loss"] is not None and given["--data"] is None:
        raise ValueError(T547.format(option="--max-loss", more=""))


def check_components(nlp: Language, to: str, where: str) -> None:
    """Refuse a pipeline of which a component cannot be exported.

    nlp (Language): The pipeline.
    to (str): What it is exported to.
    where (str): Its folder or name.
    RAISES (ValueError): T543 without a classifier, T542 for the first component that cannot be.
    """
    if not (found := classifiers_of(nlp)):
        raise ValueError(T543.format(pipeline=where, components=", ".join(nlp.component_names) or "none"))
    shims = networks_of(nlp)
    for name, pipe in components_of(nlp).items():
        net = interface_of(pipe.model)
        problem = None
        if name not in found:
            problem = T542_MASKED
        elif isinstance(net, ExportedInterface):
            problem = T542_EXPORTED
        elif isinstance(net, SharedEncoderInterface):
            problem = T542_SHARED
        elif not isinstance(shims.get(name), OwnEncoderShim):
            problem = T542_MODEL
        elif to != "spacy" and found[name].has_confidence:
            problem = T542_CONFIDENCE
        if problem is not None:
            raise ValueError(T542.format(name=name, to=to, problem=problem))
        pipe.predict([])


def keep_layers(nlp: Language, n_layers: int) -> None:
    """Keep the lowest layers of every encoder, in place.

    nlp (Language): The pipeline, adapters merged.
    n_layers (int): How many.
    RAISES (ValueError): T548 for more than there are, or none.
    """
    for name, shim in networks_of(nlp).items():
        have = shim.network.n_layers
        if not 1 <= n_layers <= have:
            raise ValueError(T548.format(layers=n_layers, name=name, n_layers=have))
        if isinstance(shim, OwnEncoderShim):
            shim.keep_layers(n_layers, name)
            tuning = shim.settings.tuning
            nlp.get_pipe_config(name)["model"]["tuning"].update(
                frozen_depth=tuning.frozen_depth, unfreeze_down_to=tuning.unfreeze_down_to
            )


def _layers(nlp: Language) -> dict[str, int]:
    return {name: shim.network.n_layers for name, shim in networks_of(nlp).items()}
