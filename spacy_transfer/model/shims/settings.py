"""The settings of a classifier from its config, checked."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeGuard

from ...errors import T001, T005, T148, T161, T222, T782
from ...json_types import JsonObject
from ...nn.block_kinds import BlockKind
from ...nn.devices.precision import Precision
from ...nn.encoders.encoder import Encoder
from ...nn.encoders.pretrained import LoadedEncoder, PretrainedEncoder
from ...nn.heads.label_query import LabelQueryDecoder, LabelQueryHead
from ...nn.heads.linear import Head, LabelHead
from ...nn.losses import LossBuilder
from ...nn.own_blocks import check_pooling
from ...nn.pooling import ClsPooling, Pooling
from ...nn.scratch.encoder import ScratchEncoder
from ...nn.scratch.tokenizer_training import Texts
from ...nn.sentence_pooling import AutoPooling, SentenceModules
from ...nn.tuning import Tuning
from ..cache.cache import EncoderCache
from ..learning.augmentation import AugmentationBuilder
from ..learning.head_init import HeadInitBuilder
from ..learning.label_texts import LabelTexts
from ..text.text import Text
from ..text.windows import Windows


class EncoderLoader(Protocol):
    """A block that brings an encoder, and rebuilds it offline from what was stored."""

    def load(self, texts: Texts) -> LoadedEncoder:
        """For `initialize`.

        texts (Callable): Gives the training texts, for an encoder that is made of them.
        """

    def rebuild(self, record: JsonObject) -> Encoder:
        """For a saved pipeline; the caller loads the weights."""


def loads_base(encoder: EncoderLoader) -> TypeGuard[PretrainedEncoder]:
    """Whether a block can load again the encoder that an adapter was trained on.

    encoder (EncoderLoader): Of the config.
    RETURNS (TypeGuard[PretrainedEncoder]): False for one that is made of the training texts.
    """
    return hasattr(encoder, "load_base")


class Top(NamedTuple):
    """What stands on an encoder.

    vector_width (int): Of what the pooling gives.
    """

    pooling: Pooling
    head: LabelHead | LabelQueryDecoder
    vector_width: int


class PoolingBuilder(Protocol):
    """A block that makes a pooling module."""

    def build(self, width: int) -> Pooling:
        """Make the torch module.

        width (int): Width of the states.
        """


CLASSIFIER = "spacy-transfer.TransferClassifier.v1"
ENCODER = BlockKind[EncoderLoader]("encoder", "an encoder", ("load", "rebuild"))
POOLING = BlockKind[PoolingBuilder]("pooling", "a pooling", ("build",))
HEAD = BlockKind[Head | LabelQueryHead]("head", "a head", classes=(Head, LabelQueryHead))
TUNING = BlockKind[Tuning]("tuning", "tuning", classes=(Tuning,))
HEAD_INIT = BlockKind[HeadInitBuilder]("head_init", "what the head starts from", ("choose", "solve"))
WINDOWS = BlockKind[Windows]("windows", "windows", classes=(Windows,))
CACHE = BlockKind[EncoderCache]("cache", "a cache", classes=(EncoderCache,))
TEXT = BlockKind[Text]("text", "what is read of a document", classes=(Text,))
AUGMENTATION = BlockKind[AugmentationBuilder]("augmentation", "an augmentation", ("draw",))
LABEL_TEXTS = BlockKind[LabelTexts]("label_texts", "texts of labels", classes=(LabelTexts,))
# Other blocks have a `build` too: heads, losses.
_NO_POOLING = ("resize", "activate")


@dataclass(frozen=True)
class Settings:
    """The blocks of a `spacy-transfer.TransferClassifier.v1`; see there."""

    encoder: EncoderLoader
    pooling: PoolingBuilder
    head: Head | LabelQueryHead
    loss: LossBuilder
    tuning: Tuning
    head_init: HeadInitBuilder
    windows: Windows
    cache: EncoderCache
    text: Text
    augmentation: AugmentationBuilder
    label_texts: LabelTexts | None
    piece_budget: int | Literal["auto"]
    precision: Precision
    device: str
    gradient_checkpointing: bool

    def __post_init__(self) -> None:
        if isinstance(self.pooling, Head | LabelQueryHead) or any(hasattr(self.pooling, one) for one in _NO_POOLING):
            want, got = POOLING.want, type(self.pooling).__name__
            raise ValueError(T001.format(field="pooling", arch=CLASSIFIER, want=want, got=got))
        adapter = self.tuning.adapter
        if adapter is not None and adapter.save == "adapter" and not loads_base(self.encoder):
            raise ValueError(T161.format(block=type(self.encoder).__name__))
        if self.piece_budget != "auto" and self.piece_budget < 1:
            want = "piece_budget >= 1"
            raise ValueError(T005.format(block=CLASSIFIER, field="piece_budget", value=self.piece_budget, want=want))

    def made_of_texts(self) -> list[str]:
        """Names of the blocks that take something from the annotated training texts, other than labels."""
        made = {
            "encoder": isinstance(self.encoder, ScratchEncoder),
            "loss.class_weights": self.loss.class_weights == "balanced",
            "head_init": bool(self.head_init.choose(1)),
        }
        return [name for name, is_made in made.items() if is_made]

    def build_top(
        self, width: int, n_features: int, n_labels: int, said: SentenceModules | None = None, causal: str | None = None
    ) -> Top:
        """Make pooling and head for an encoder.

        width (int): Of its states.
        n_features (int): Width of what is joined to a document's vector.
        n_labels (int): Outputs of the head.
        said (SentenceModules | None): What the encoder says of its pooling.
        causal (str | None): Its family, where its pieces see only those to their left.
        RAISES (ValueError): T148, T222 for a head on the states beside a pooling with weights, or beside features; T782
            for the first piece of such an encoder.
        """
        block = self.pooling
        if isinstance(block, AutoPooling):
            block = block.following(said, is_causal=causal is not None)
        if causal is not None and isinstance(block, ClsPooling):
            raise ValueError(T782.format(family=causal))
        pooling = block.build(width)
        vector_width = check_pooling(block, pooling, width)
        head = self.head.build(width if self.head.reads == "states" else vector_width + n_features, n_labels)
        if head.reads == "states" and list(pooling.parameters()):
            raise ValueError(T148.format(pooling=type(self.pooling).__name__))
        if head.reads == "states" and n_features:
            raise ValueError(T222.format(head=type(self.head).__name__))
        return Top(pooling, head, vector_width)
