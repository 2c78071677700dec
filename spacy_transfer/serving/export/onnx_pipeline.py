"""Puts networks on ONNX Runtime in the place of a pipeline's torch networks."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
from spacy.language import Language
from thinc.shims import PyTorchShim

from ...errors import T542, T542_FEATURES, T542_TRACED, T545, T547, T547_ANNOTATED, T551
from ...json_types import ConfigBlock, JsonObject
from ...log import announce, logger
from ...model.architectures.classifier import OwnEncoderClassifier
from ...model.exported.architecture import ARCHITECTURE, build_onnx_classifier
from ...model.exported.graph_bytes import GraphBytes
from ...model.exported.onnx_shim import OnnxSettings, OnnxShim
from ...model.exported.stored import StoredGraphs
from ...model.features.joining import settle
from ...model.features.layer import features_of
from ...model.features.media.shim import MediaShim
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...model.text.windows import Windows
from ...nn.encoders.config import DECODERS
from ...pipeline.components import classifiers_of
from ...pipeline.interface import classifier_of
from ...pipeline.textcat import TransferTextCategorizer
from .comparison import OnnxReport, Sample, Trial, annotated_sample, made_up_sample, measured
from .fusion import fused
from .graphs import Graphs, make_graphs
from .quantization import quantized_dynamic, quantized_static

Precision = Literal["fp32", "int8"]
MAX_LOSS = 0.005
_LONGEST_ERROR = 300
# Pieces of two made-up texts, whose scores tell whether another machine computes the same.
_PROBES = (11, 6)


def to_onnx(nlp: Language, precision: Precision, data: Path | None, max_loss: float | None) -> dict[str, OnnxReport]:
    """Export the networks of a pipeline, in place.

    nlp (Language): The pipeline, adapters merged, all of whose classifiers have an encoder of their own.
    precision (str): "fp32" or "int8".
    data (Path | None): Documents to calibrate and measure on.
    max_loss (float | None): Accuracy that each network may lose on them; None is 0.005, where they are annotated.
    RETURNS (dict[str, OnnxReport]): What was measured, by component.
    RAISES (ValueError): T542 for a network that cannot be exported, T545 for too great a loss, T547 for data without
        annotations.
    RAISES (ImportError): T081 without onnx and onnxruntime.
    """
    if precision == "int8" and data is None:
        announce(T551)
    return {name: _export(nlp, name, precision, data, max_loss) for name in classifiers_of(nlp)}


def _export(nlp: Language, name: str, precision: Precision, data: Path | None, max_loss: float | None) -> OnnxReport:
    pipe: TransferTextCategorizer = nlp.get_pipe(name)
    net = cast(OwnEncoderClassifier, classifier_of(pipe.model))
    shim = net.shim
    _check_features(net, name)
    state = _state(shim)
    sample = made_up_sample(shim) if data is None else annotated_sample(nlp, name, net, data)
    if max_loss is not None and not sample.is_annotated:
        more = T547_ANNOTATED.format(data=data, name=name)
        raise ValueError(T547.format(option="--max-loss", more=more))
    graphs = make_graphs(shim, state, name)
    settings = OnnxSettings(
        shim.settings.loss.exclusive, shim.settings.text,
        Windows(shim.windows.length, shim.windows.stride, shim.windows.keep), "auto", "auto",
    )  # fmt: skip
    trials, problem = list[Trial](), ""
    for label, make in _variants(graphs, shim, precision, sample):
        try:
            made = make()
            tried = OnnxShim(settings)
            tried.take(_stored(shim, made, {**state, "precision": precision, "scores": []}), tries=False)
            trials.append(Trial(label, tried, (len(made.encoder) + len(made.top)) / 1e6))
        except ImportError:
            raise
        # The tools of another package, on graphs of any family: one way that does not work is left out.
        except Exception as error:
            problem = problem or f"{label}: {type(error).__name__}: {error}"[:_LONGEST_ERROR]
            logger.debug("not exported: %s", problem)
    if not trials:
        told = T542_TRACED.format(part="encoder", kind=shim.network.encoder.family, error=problem)
        raise ValueError(T542.format(name=name, to="ONNX", problem=told))
    max_loss = MAX_LOSS if max_loss is None else max_loss
    report = measured(shim, trials, sample, max_loss)
    kept = next(trial for trial in trials if trial.name == report.chosen)
    before, after = report.variants[0].accuracy, next(v.accuracy for v in report.variants if v.name == report.chosen)
    if before is not None and after is not None and before - after > max_loss:
        raise ValueError(
            T545.format(
                name=name, precision=precision, data=data, before=before, after=after, loss=before - after,
                max_loss=max_loss,
            )
        )  # fmt: skip
    _replace(nlp, name, settings, kept.shim, net)
    nlp.meta.setdefault("spacy_transfer", {})[name] = {**classifier_of(pipe.model).computes_with(), **report.to_json()}
    return report


def _check_features(net: OwnEncoderClassifier, name: str) -> None:
    features = features_of(net.model)
    for node in () if features is None else features.walk():
        if any(isinstance(shim, PyTorchShim | MediaShim) for shim in node.shims):
            raise ValueError(T542.format(name=name, to="ONNX", problem=T542_FEATURES.format(layer=node.name)))


def _state(shim: OwnEncoderShim) -> JsonObject:
    encoder, record = shim.network.encoder, shim.record
    longest = encoder.max_pieces or max(_PROBES)
    ids = [[(7 * i + n) % (encoder.n_pieces - 1) + 1 for i in range(min(n, longest))] for n in _PROBES]
    return {
        "n_labels": shim.network.head.n_labels, "precision": "fp32", "pad_id": encoder.pad_id,
        "max_pieces": encoder.max_pieces, "n_pieces": encoder.n_pieces, "width": shim.network.vector_width,
        "row_multiple": encoder.row_multiple, "reads": shim.network.head.reads, "n_features": shim.n_features,
        "probe": ids, "scores": [],
        "encoder": {
            "source": record.get("source"), "revision": record.get("revision"), "family": encoder.family,
        },
    }  # fmt: skip


def _stored(shim: OwnEncoderShim, graphs: Graphs, state: JsonObject) -> StoredGraphs:
    encoder, top = GraphBytes(graphs.encoder, "encoder.onnx"), GraphBytes(graphs.top, "head.onnx")
    return StoredGraphs(state, shim.tokenizer.text, encoder, top, shim.record.get("license") or "")


def _variants(
    graphs: Graphs, shim: OwnEncoderShim, precision: Precision, sample: Sample
) -> Iterator[tuple[str, Callable[[], Graphs]]]:
    """Ways to run a network in a precision: name, and what makes it."""

    def of(change: Callable[[bytes], bytes], graph: bytes) -> Callable[[], Graphs]:
        """Make the graphs of another encoder."""
        return lambda: graphs._replace(encoder=change(graph))

    config = shim.record["config"]
    n_heads = next((int(config[key]) for key in ("num_attention_heads", "n_heads") if config.get(key)), 0)
    # The patterns are BERT's: those of a decoder, with its mask and its rotary positions, they only resemble.
    is_decoder = shim.network.encoder.family in DECODERS
    compact = None if is_decoder else fused(graphs.encoder, n_heads=n_heads, width=shim.network.encoder.width)
    plain = {"": graphs.encoder, **({", fused": compact} if compact is not None else {})}
    if precision == "fp32":
        yield from ((f"fp32{how}", of(bytes, graph)) for how, graph in plain.items())
        return
    yield from ((f"int8 dynamic{how}", of(quantized_dynamic, graph)) for how, graph in plain.items())
    if sample.feeds:
        yield "int8 static", of(partial(quantized_static, feeds=sample.feeds), graphs.encoder)


def _replace(nlp: Language, name: str, settings: OnnxSettings, kept: OnnxShim, net: OwnEncoderClassifier) -> None:
    """Put an exported network in the place of a component's model, in the pipeline and its config."""
    pipe = nlp.get_pipe(name)
    block: ConfigBlock = nlp.get_pipe_config(name)["model"]
    windows = settings.windows
    nlp.get_pipe_config(name)["model"] = {
        "@architectures": ARCHITECTURE, "exclusive": settings.exclusive, "piece_budget": "auto", "threads": "auto",
        "text": block["text"], "features": block["features"],
        "windows": {
            "@misc": "spacy-transfer.Windows.v1", "length": windows.length, "stride": windows.stride,
            "keep": windows.keep,
        },
    }  # fmt: skip
    features = features_of(net.model)
    if features is not None:
        settle(features)
    model = build_onnx_classifier(
        exclusive=settings.exclusive, text=settings.text, windows=windows,
        features=None if features is None else features.layers[0],
    )  # fmt: skip
    if (layer := features_of(model)) is not None:
        layer.set_dim("nO", kept.state["n_features"], force=True)
    found = kept.probe_scores()
    model.shims[0].take(kept.stored_with(scores=np.clip(found, 0.0, 1.0).tolist()), tries=False)
    model.set_dim("nO", kept.state["n_labels"], force=True)
    pipe.model = model
