"""The checker: which laws a block must hold, by its kind."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Config, Model

from ..config.instances import plain_block
from ..errors import T502
from ..nn.block_kinds import missing
from ..nn.losses.wrapper import LOSS
from .law import require
from .losses import check_loss_laws
from .pipelines import check_in_pipeline, tiny_docs
from .poolings import check_head_laws, check_pooling_laws
from .texts import check_augmentation_laws, check_feature_laws

Kind = Literal[
    "loss", "pooling", "head", "augmentation", "features", "encoder", "tokenizer", "tuning", "adapter", "head_init",
    "label_texts", "windows", "cache", "text", "normalization",
]  # fmt: skip
# What is used of a block tells its kind; the first that fits.
_METHODS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("loss", LOSS.parts), ("head", ("build", "reads")), ("augmentation", ("draw",)), ("adapter", ("peft_config",)),
    ("head_init", ("choose", "solve")), ("encoder", ("load", "rebuild")), ("tuning", ("frozen_depth", "lr_decay")),
    ("windows", ("length", "stride", "keep")), ("cache", ("memory", "cache_dir")), ("text", ("sources", "separator")),
    ("normalization", ("apply", "unicode")), ("label_texts", ("of", "texts", "weight")),
    ("tokenizer", ("train",)), ("pooling", ("build",)),
)  # fmt: skip
# Where a block stands in the model block, if not under its kind.
_PLACES = {"adapter": "tuning.adapter", "normalization": "text.normalization", "tokenizer": "encoder.tokenizer"}


def check_block(
    block: object, *, kind: Kind | None = None, docs: Sequence[Doc] | None = None, pipeline: bool = True
) -> None:
    """Check that a config block does what training and prediction rely on.

    For tests of one's own blocks. It needs no network and no files; it takes a second or two on a CPU.

        from spacy_transfer.testing import check_block

        def test_my_loss():
            check_block(MyLoss(margin=0.5))

    Of a loss: shapes, finite values and gradients, missing annotations, independence of the batch, scores, and that its
    gradient lowers it. Of a pooling and a head: shapes, padding, windows, gradients. Of an augmentation: that it
    changes nothing but what it returns, repeatably. Of features: shapes, repeatability, storing. Of all: that the block
    is the same after a round trip through a config file, and that a tiny pipeline with it trains, predicts whatever the
    batch and the padding, trains to the same weights with the same seed, and is the same after saving and loading.

    block (object): An instance of a registered dataclass; or a block as the config says it, a dict, which is needed for
        features: {"@layers": "my.Features.v1"} makes a layer of Thinc.
    kind (str | None): "loss", "pooling", ...; None tells it by the block's methods.
    docs (Sequence[Doc] | None): Documents with what the block reads, such as extension attributes or vectors; None
        takes a dozen short texts.
    pipeline (bool): Whether to train a tiny pipeline too.
    RAISES (AssertionError): T501, which names the law that does not hold and what was found.
    RAISES (ValueError): T493 for a class that is not registered, T502 for a block of no known kind, and what building
        a network or training finds wrong.
    """
    config = plain_block(block)
    if isinstance(block, Mapping):
        block = _resolved(config)
    kind = kind or _kind_of(block)
    documents = tiny_docs() if docs is None else list(docs)
    if kind == "loss":
        check_loss_laws(block)  # type: ignore[arg-type]
    elif kind == "pooling":
        # One that follows the encoder's folder: here it says nothing.
        follows = getattr(block, "following", None)
        check_pooling_laws(block if follows is None else follows(None))  # type: ignore[arg-type]
    elif kind == "head":
        check_head_laws(block)  # type: ignore[arg-type]
    elif kind == "augmentation":
        check_augmentation_laws(block)  # type: ignore[arg-type]
    elif kind == "features":
        check_feature_laws(_resolved(config), documents)
    if kind != "features":
        _check_round_trip(block, config)
    if not pipeline:
        return
    place = _PLACES.get(kind, kind)
    kinds_of_labels = [bool(block.exclusive)] if kind == "loss" else [True, False]  # type: ignore[attr-defined]
    for exclusive in kinds_of_labels:
        whole = exclusive == kinds_of_labels[0]
        check_in_pipeline(place, config, documents, exclusive=exclusive, whole=whole, block=block)


def _kind_of(block: object) -> Kind:
    if isinstance(block, Model):
        return "features"
    for kind, methods in _METHODS:
        if not missing(block, methods):
            return kind
    raise ValueError(T502.format(block=type(block).__name__, kinds=", ".join(get_args(Kind))))


def _resolved(config: object) -> object:
    return registry.resolve({"block": config})["block"]


def _check_round_trip(block: object, config: object) -> None:
    text = Config({"block": config}).to_str()
    again = _resolved(Config().from_str(text)["block"])
    require("a block is the same after a round trip through a config file", plain_block(again) == config, block, again)
    require("a block cannot be changed (dataclass(frozen=True))", _is_frozen(block), block)


def _is_frozen(block: object) -> bool:
    parameters = getattr(type(block), "__dataclass_params__", None)
    return bool(parameters is not None and parameters.frozen)
