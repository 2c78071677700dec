"""The factories. spaCy imports this module for every pipeline, so it stays light."""

from collections.abc import Callable

from spacy.language import Language
from thinc.api import Model

from ..json_types import Scores
from .masked_lm import MaskedLMPredictor
from .neighbors import belongs_to
from .targets.target import DocCats, make_target
from .textcat import TransferTextCategorizer

# A known encoder: its commit is pinned and its weights verified; the extra `demo` brings it without the hub.
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

# Here stands only which blocks a component has where the config names none, and what has no other home. The registry
# fills in the fields of each block from its dataclass, and the other arguments of the architecture from its signature:
# a default is written once, there. `name` of the encoder has no default of its own.
_ENCODER = {"@misc": "spacy-transfer.PretrainedEncoder.v1", "name": DEFAULT_ENCODER}
_WINDOWS = {"@misc": "spacy-transfer.Windows.v1"}
_TEXT = {
    "@misc": "spacy-transfer.Text.v1",
    # A frozen dataclass has a tuple here, and a config that was written and read again a list.
    "sources": ["text"],
    # The dataclass takes None for a normalization that changes nothing; named here, its fields are written out.
    "normalization": {"@misc": "spacy-transfer.Normalization.v1"},
}


def _default_config(loss: str) -> dict[str, object]:
    return {
        # Settings of the component, which is no block: here once for both factories, and where spaCy looks for them.
        "threshold": 0.5,
        "score_prefix": "",
        "target": "docs",
        "doc_cats": None,
        "scorer": {"@scorers": "spacy-transfer.scorer.v1"},
        "model": {
            "@architectures": "spacy-transfer.TransferClassifier.v1",
            "encoder": _ENCODER,
            "pooling": {"@layers": "spacy-transfer.MeanPooling.v1"},
            "head": {"@layers": "spacy-transfer.Head.v1"},
            "loss": {"@losses": loss},
            "tuning": {"@misc": "spacy-transfer.Tuning.v1"},
            "head_init": {"@misc": "spacy-transfer.RandomInit.v1"},
            "features": {"@layers": "spacy-transfer.NoFeatures.v1"},
            "windows": _WINDOWS,
            "cache": {"@misc": "spacy-transfer.EncoderCache.v1"},
            "text": _TEXT,
            "augmentation": {"@misc": "spacy-transfer.NoAugmentation.v1"},
        },
    }


_SCORES: dict[str, float | None] = {
    "cats_score": 1.0, "cats_score_desc": None, "cats_acc": None, "cats_micro_p": None, "cats_micro_r": None,
    "cats_micro_f": None, "cats_macro_p": None, "cats_macro_r": None, "cats_macro_f": None, "cats_macro_auc": None,
    "cats_f_per_type": None,
}  # fmt: skip


@Language.factory(
    "transfer_textcat",
    assigns=["doc.cats"],
    default_config=_default_config("spacy-transfer.CrossEntropy.v1"),
    default_score_weights=_SCORES,
)
def make_transfer_textcat(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    score_prefix: str,
    target: str,
    doc_cats: DocCats | None,
    scorer: Callable[..., Scores] | None,
) -> TransferTextCategorizer:
    """A transferred Transformer classifier for exactly one label a document.

    nlp (Language): The pipeline.
    name (str): Of the component.
    model (Model): A `spacy-transfer.TransferClassifier.v1` with a loss for exclusive labels.
    threshold (float): Not used for exclusive labels.
    score_prefix (str): Put before the names of all scores, for several classifiers in one pipeline.
    target (str): What is classified: "docs", each sentence ("sents"), or each span of a group ("spans:KEY"); the scores
        of sentences and spans stand in `span._.cats`.
    doc_cats (str | None): How the scores of sentences or spans also become those of their document, in `doc.cats`:
        "max", "mean", or not at all.
    scorer (Callable | None): Makes the scores of `nlp.evaluate`.
    """
    pipe = TransferTextCategorizer(
        nlp.vocab, model, name, exclusive=True, threshold=threshold, score_prefix=score_prefix, scorer=scorer,
        target=make_target(target, doc_cats),
    )  # fmt: skip
    belongs_to(pipe, nlp)
    return pipe


@Language.factory(
    "transfer_textcat_multilabel",
    assigns=["doc.cats"],
    default_config=_default_config("spacy-transfer.BinaryCrossEntropy.v1"),
    default_score_weights=_SCORES,
)
def make_transfer_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    score_prefix: str,
    target: str,
    doc_cats: DocCats | None,
    scorer: Callable[..., Scores] | None,
) -> TransferTextCategorizer:
    """A transferred Transformer classifier for any number of labels a document.

    nlp (Language): The pipeline.
    name (str): Of the component.
    model (Model): A `spacy-transfer.TransferClassifier.v1` with a loss for independent labels.
    threshold (float): Score from which a label counts as predicted in the evaluation.
    score_prefix (str): Put before the names of all scores, for several classifiers in one pipeline.
    target (str): What is classified: "docs", each sentence ("sents"), or each span of a group ("spans:KEY"); the scores
        of sentences and spans stand in `span._.cats`.
    doc_cats (str | None): How the scores of sentences or spans also become those of their document, in `doc.cats`:
        "max", "mean", or not at all.
    scorer (Callable | None): Makes the scores of `nlp.evaluate`.
    """
    pipe = TransferTextCategorizer(
        nlp.vocab, model, name, exclusive=False, threshold=threshold, score_prefix=score_prefix, scorer=scorer,
        target=make_target(target, doc_cats),
    )  # fmt: skip
    belongs_to(pipe, nlp)
    return pipe


@Language.factory(
    "transfer_masked_lm",
    default_config={
        "model": {
            "@architectures": "spacy-transfer.MaskedLM.v1",
            "encoder": _ENCODER,
            "windows": _WINDOWS,
            "text": _TEXT,
        }
    },
    default_score_weights={"masked_lm_score": 1.0, "masked_lm_loss": None, "masked_lm_acc": None},
)
def make_transfer_masked_lm(nlp: Language, name: str, model: Model) -> MaskedLMPredictor:
    """An encoder that learns from raw texts; `spacy transfer pretrain` makes a pipeline of it.

    nlp (Language): The pipeline.
    name (str): Of the component.
    model (Model): A `spacy-transfer.MaskedLM.v1`.
    """
    return MaskedLMPredictor(nlp.vocab, model, name)
