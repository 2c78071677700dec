"""An encoder's matrix products in whole numbers of 8 bits, by onnxruntime's quantizer; pooling and head stay in fp32.

Weights get a scale for each output. Activations get theirs while they are computed (dynamic), or once, from texts
(static). Weights have 7 bits (`reduce_range`): processors with AVX2 or AVX-512 and without VNNI sum products of
unsigned and signed bytes in pairs into 16 bits, where 8 bits would overflow and be cut, silently.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ...errors import require
from ...model.exported.runtime import import_runtime
from .fusion import quietly

Feeds = Sequence[Mapping[str, NDArray[np.int64]]]
_PRODUCTS = ["MatMul", "Gemm", "Attention"]
# Tables are read, not multiplied: as bytes they are a quarter as large.
_TABLES = ["Gather"]


def quantized_dynamic(graph: bytes, *, unsigned: bool = False) -> bytes:
    """Quantize weights; activations are measured in each micro-batch.

    graph (bytes): An encoder as ONNX file.
    unsigned (bool): Weights as unsigned numbers of 8 bits, which never overflow, and are slower without VNNI.
    RETURNS (bytes): The quantized graph.
    """
    tools = import_runtime("onnxruntime.quantization")
    kind = tools.QuantType.QUInt8 if unsigned else tools.QuantType.QInt8
    with TemporaryDirectory(prefix="spacy-transfer-") as place, quietly():
        made = Path(place) / "quantized.onnx"
        tools.quantize_dynamic(
            _model(graph), made, per_channel=True, reduce_range=not unsigned, weight_type=kind,
            op_types_to_quantize=[*_PRODUCTS, *_TABLES],
            # Of what fused nodes give, which shape inference does not know.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": require("onnx", "onnx").TensorProto.FLOAT},
        )  # fmt: skip
        return made.read_bytes()


def quantized_static(graph: bytes, feeds: Feeds) -> bytes:
    """Quantize weights and activations, with ranges that texts have shown.

    graph (bytes): An encoder as ONNX file.
    feeds (Feeds): Micro-batches of texts.
    RETURNS (bytes): The quantized graph.
    """
    tools = import_runtime("onnxruntime.quantization")

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """Gives the micro-batches, one after the other."""

        def __init__(self) -> None:
            self._left: Iterator[Mapping[str, NDArray[np.int64]]] = iter(feeds)

        def get_next(self) -> Mapping[str, NDArray[np.int64]] | None:
            """Give the next one."""
            return next(self._left, None)

    with TemporaryDirectory(prefix="spacy-transfer-") as place, quietly():
        made = Path(place) / "quantized.onnx"
        tools.quantize_static(
            _model(graph), made, Reader(), quant_format=tools.QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"MatMulConstBOnly": True, "QuantizeBias": False},
        )  # fmt: skip
        return made.read_bytes()


def _model(graph: bytes) -> object:
    return require("onnx", "onnx").load_from_string(graph)
