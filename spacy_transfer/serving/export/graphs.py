"""From a torch network to two ONNX graphs, compared with it."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import T542, T542_DIFFERS, T542_LARGE, T542_TRACED, require
from ...model.exported.graph_bytes import GraphBytes
from ...model.exported.onnx_shim import ENCODER_INPUTS, places_of, top_inputs
from ...model.exported.session import GraphSession
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...model.text.batching import RowArrays
from ...nn.encoders.encoder import Encoder
from ...nn.encoders.pretrained import PretrainedEncoder, build_encoder
from ...nn.export_parts import EncoderPart, TopPart

# The first that has ScatterElements with a maximum.
OPSET = 18
# A protobuf message holds less than 2 GB.
_MOST_BYTES = 1.9e9
# Rounding between the two, as a share of the largest state; scores lie in 0..1.
_TOLERANCE = 1e-4
_LONGEST_ERROR = 400


class Graphs(NamedTuple):
    """A network as ONNX files.

    encoder (bytes): Piece ids to states.
    top (bytes): States to scores and vectors.
    """

    encoder: bytes
    top: bytes


class Rows(NamedTuple):
    """Made-up rows of pieces.

    ids (Tensor): (n_rows, n_pieces).
    mask (Tensor): (n_rows, n_pieces).
    counted (Tensor): (n_rows, n_pieces).
    owner (Tensor): (n_rows,).
    n_rows (Tensor): (n_docs,).
    """

    ids: Tensor
    mask: Tensor
    counted: Tensor
    owner: Tensor
    n_rows: Tensor


@torch.no_grad()
def make_graphs(shim: OwnEncoderShim, state: Mapping[str, object], name: str) -> Graphs:
    """Export a network, and compare what the graphs compute with what torch does.

    shim (OwnEncoderShim): Holds the network, without an adapter.
    state (Mapping): As `StoredGraphs.state`.
    name (str): Of the component.
    RETURNS (Graphs): In fp32.
    RAISES (ValueError): T542 for a network that PyTorch's exporter does not manage, that does not compute the same as a
        graph, or that is too large for a file.
    """
    network = shim.network
    size = sum(weight.nbytes for weight in network.parameters())
    if size > _MOST_BYTES:
        raise ValueError(T542.format(name=name, to="ONNX", problem=T542_LARGE.format(size=size / 1e9)))
    encoder = _plain_encoder(shim)
    head = copy.deepcopy(network.head).cpu().eval()
    awaited, head.awaited = head.awaited, ()
    top = TopPart(copy.deepcopy(network.pooling).cpu(), head, shim.settings.loss.activate, awaited).eval()
    rng, n_features = np.random.default_rng(0), shim.n_features
    kinds = {
        "encoder": encoder.family,
        "pooling or head": f"{_named(shim.settings.pooling)}, {_named(shim.settings.head)}",
    }
    with _naming(name, "encoder", kinds):
        encoder_graph = _trace(
            EncoderPart(encoder).eval(), _rows(encoder, (1, 2, 1), 11, rng)[:2], ENCODER_INPUTS, ["states"],
            {"ids": (0, 1), "mask": (0, 1), "states": (0, 1)},
        )  # fmt: skip
    inputs = top_inputs(state)
    with _naming(name, "pooling or head", kinds):
        axes = {"states": (0, 1), "counted": (0, 1), "owner": (0,), "n_rows": (0,), "scores": (0,), "vectors": (0,)}
        axes |= {"places": (0, 1), "joined": (0,)}
        values = _top_values(encoder, _rows(encoder, (1, 2, 1), 11, rng), inputs, n_features, rng)
        top_graph = _trace(
            top, values, inputs, ["scores", "vectors"],
            {key: axes[key] for key in [*inputs, "scores", "vectors"]},
        )  # fmt: skip
    graphs = Graphs(encoder_graph, top_graph)
    with _naming(name, "encoder", kinds):
        encoder_session = GraphSession(GraphBytes(graphs.encoder, "encoder.onnx"), ENCODER_INPUTS, "auto")
    with _naming(name, "pooling or head", kinds):
        top_session = GraphSession(GraphBytes(graphs.top, "head.onnx"), inputs, "auto")
    own = (
        copy.deepcopy(network.encoder).cpu().float().eval() if network.device.type != "cpu" else network.encoder.eval()
    )
    for documents, longest in (((1,), 5), ((1, 1, 1), 9), ((3, 1, 2, 1), 17), ((1, 1), 33)):
        rows = _rows(encoder, documents, longest, rng)
        with _naming(name, "encoder", kinds):
            found = encoder_session.run("states", {"ids": rows.ids.numpy(), "mask": rows.mask.numpy()})
            wanted = own(rows.ids, rows.mask)
        inside = rows.mask.bool().numpy()
        difference = _difference(found[inside], wanted.numpy()[inside]) / max(1.0, float(wanted.abs().max()))
        _compare(difference, name, "encoder", kinds)
        values = (wanted, *_top_values(encoder, rows, inputs, n_features, rng)[1:])
        with _naming(name, "pooling or head", kinds):
            scores = top_session.run("scores", {key: one.numpy() for key, one in zip(inputs, values, strict=True)})
            difference = _difference(scores, top(*values)[0].numpy())
        _compare(difference, name, "pooling or head", kinds)
    return graphs


def _plain_encoder(shim: OwnEncoderShim) -> Encoder:
    """The encoder in the form that exports best: attention by plain products, nothing put in its way."""
    builder, own = shim.settings.encoder, shim.network.encoder
    made = (
        build_encoder(shim.record, "eager") if isinstance(builder, PretrainedEncoder) else builder.rebuild(shim.record)
    )
    made.load_state_dict({key: value.cpu() for key, value in own.state_dict().items()})
    return made.eval()


def _rows(encoder: Encoder, documents: Sequence[int], longest: int, rng: np.random.Generator) -> Rows:
    """Rows of documents, the first as long as can be, the others shorter.

    documents (Sequence[int]): Rows of each.
    """
    n_rows, longest = sum(documents), min(longest, encoder.max_pieces or longest)
    lengths = np.asarray([longest, *rng.integers(max(1, longest // 2), longest + 1, size=n_rows - 1)])
    positions = np.arange(longest + -longest % encoder.row_multiple)
    inside = positions < lengths[:, None]
    ids = rng.integers(0, encoder.n_pieces, size=inside.shape)
    # Padding within a text is met by no encoder.
    ids = np.where(ids == encoder.pad_id, (encoder.pad_id + 1) % encoder.n_pieces, ids)
    ids[~inside] = encoder.pad_id
    # Of the windows of a long text, the first pieces are counted in the row before.
    first = np.asarray([0 if i == 0 else 2 for n in documents for i in range(n)])
    counted = inside & (positions >= np.minimum(first, lengths - 1)[:, None])
    owner = np.repeat(np.arange(len(documents)), documents)
    return Rows(
        *(torch.from_numpy(np.asarray(one, dtype=np.int64)) for one in (ids, inside, counted, owner, documents))
    )


def _top_values(
    encoder: Encoder, rows: Rows, inputs: Sequence[str], n_features: int, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """Values for the inputs of head.onnx."""

    def floats(*shape: int) -> Tensor:
        """Draw numbers."""
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    values = (floats(*rows.ids.shape, encoder.width), rows.counted, rows.owner, rows.n_rows)
    if "places" in inputs:
        arrays = RowArrays(
            rows.ids.numpy(), rows.mask.bool().numpy(), rows.counted.bool().numpy(), rows.owner.numpy()
        )  # fmt: skip
        return (*values, torch.from_numpy(places_of(arrays, len(rows.n_rows))))
    return (*values, floats(len(rows.n_rows), n_features)) if "joined" in inputs else values


def _trace(
    module: nn.Module, values: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str],
    axes: Mapping[str, Sequence[int]],
) -> bytes:  # fmt: skip
    """The ONNX file of a module."""
    require("onnx", "onnx")
    file = io.BytesIO()
    torch.onnx.export(
        module, tuple(values), file,  # type: ignore[arg-type]
        input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
        # The other exporter is not there in torch 2.4, and its graphs are not those that fused attention is found in.
        dynamo=False, dynamic_axes={key: {i: f"{key}_{i}" for i in one} for key, one in axes.items()},
    )  # fmt: skip
    return file.getvalue()


@contextmanager
def _naming(name: str, part: str, kinds: Mapping[str, str]) -> Iterator[None]:
    """Within: whatever fails is said of a part. What the exporter says on the way is not for users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}".strip().split("\n")[0][:_LONGEST_ERROR]
        problem = T542_TRACED.format(part=part, kind=kinds[part], error=told)
        raise ValueError(T542.format(name=name, to="ONNX", problem=problem)) from error
    finally:
        logger.setLevel(level)


def _compare(difference: float, name: str, part: str, kinds: Mapping[str, str]) -> None:
    if not difference <= _TOLERANCE:
        problem = T542_DIFFERS.format(part=part, kind=kinds[part], difference=difference)
        raise ValueError(T542.format(name=name, to="ONNX", problem=problem))


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")


def _named(block: object) -> str:
    return type(block).__name__
