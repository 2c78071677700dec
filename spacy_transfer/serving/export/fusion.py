"""Fused attention and norms in an exported encoder, by onnxruntime's own tools."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import require
from ...log import logger
from ...model.exported.runtime import import_runtime

# Of nodes that only onnxruntime has.
_DOMAIN = "com.microsoft"


def fused(graph: bytes, *, n_heads: int, width: int) -> bytes | None:
    """Put one node in the place of the many that an attention, a norm or an activation is made of.

    graph (bytes): An encoder as ONNX file.
    n_heads (int): Attention heads.
    width (int): Of the states.
    RETURNS (bytes | None): The fused graph; None where nothing of it looks like a BERT's.
    """
    onnx = require("onnx", "onnx")
    optimizer = import_runtime("onnxruntime.transformers.optimizer")
    options = import_runtime("onnxruntime.transformers.fusion_options").FusionOptions("bert")
    # It reads the mask as lengths, and asks for other types of the inputs.
    options.enable_embed_layer_norm = False
    model = onnx.load_from_string(graph)
    n_before = len(model.graph.node)
    with quietly():
        try:
            made = optimizer.optimize_by_fusion(model, "bert", n_heads, width, options).model
            if all(one.domain != _DOMAIN for one in made.opset_import):
                made.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
        # A graph that is not as its patterns expect, in whatever way.
        except Exception as error:
            logger.debug("not fused: %s", error)
            return None
    return made.SerializeToString() if len(made.graph.node) < n_before else None


@contextmanager
def quietly() -> Iterator[None]:
    """Within: what onnxruntime's tools log on the way is not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
