"""Says in a line each which features a classifier has."""

from thinc.api import Model

from .layer import features_of
from .media.layer import shims_of


def describe_features(model: Model) -> list[str]:
    """Describe each block of features: of pictures and sounds also the encoder.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    RETURNS (list[str]): A line for each block, in the order in which they are joined; empty without features.
    """
    features = features_of(model)
    if features is None:
        return []
    top = features.layers[0]
    return [_describe(block) for block in (top.layers if top.name == "features_side_by_side" else [top])]


def _describe(block: Model) -> str:
    width = block.get_dim("nO") if block.has_dim("nO") else 0
    shims = shims_of(block)
    if not shims or shims[0].is_empty:
        of = ", ".join(f"_.{name}" for name in block.attrs.get("names", []))
        return f"{block.name.replace('_', ' ')}{f' {of}' if of else ''}, {width} numbers per text"
    shim = shims[0]
    encoder, settings = shim.encoder, shim.settings
    total = sum(weight.numel() for weight in encoder.parameters())
    n_trainable = sum(weight.numel() for weight in shim.trainable.values())
    state = f"{n_trainable:,} trainable" if n_trainable else "frozen"
    return (
        f"{settings.kind} in _.{settings.attribute}: {encoder.config['model_type']}, {encoder.n_layers} layers, width "
        f"{encoder.width}, {total:,} weights, {state} ({shim.source})"
    )
