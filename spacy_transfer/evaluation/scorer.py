"""The scores of `nlp.evaluate`: those of spaCy's textcat, and accuracy."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example

from ..json_types import Scores
from ..pipeline.gold import check_label, score_of
from ..pipeline.targets.target import DOCUMENTS, make_target


def make_scorer() -> Callable[..., Scores]:
    """The scorer `spacy-transfer.scorer.v1`; see `score_cats`."""
    return score_cats


def score_cats(
    examples: Iterable[Example],
    *,
    labels: Iterable[str] = (),
    exclusive: bool = True,
    threshold: float = 0.5,
    thresholds: Mapping[str, float] | None = None,
    positive_label: str | None = None,
    score_prefix: str = "",
    target: str = DOCUMENTS,
    **_: object,
) -> Scores:
    """Precision, recall, F, AUC as spaCy's `Scorer.score_cats` counts them, and accuracy.

    Soft gold labels are rounded first (exclusive: the highest counts; else 0.5 and up): spaCy itself takes any value
    above 0 as positive. Texts without any annotation for these labels are left out.

    examples (Iterable[Example]): Predicted and gold documents.
    labels (Iterable[str]): The component's labels; others in `cats` are ignored.
    exclusive (bool): Exactly one label a document.
    threshold (float): Score from which a label counts as predicted, where labels are not exclusive.
    thresholds (Mapping[str, float] | None): The same of single labels, where they have one of their own.
    positive_label (str | None): Of two exclusive labels, the one whose F is the main score.
    score_prefix (str): Put before the name of every score.
    target (str): What is classified; of sentences or spans each is scored, not the documents.
    RAISES (ValueError): T033 for a gold score that is no number from 0 to 1, T036 for a gold label that is no str.
    RETURNS (dict): `cats_score` (the main one), `cats_acc` (share of documents with exactly the right labels),
        `cats_micro_*`, `cats_macro_*`, `cats_f_per_type`, `cats_auc_per_type`; all with the prefix.
    """
    wanted, own = list(labels), {} if exclusive else dict(thresholds or {})
    examples = make_target(target, None).predicted(list(examples), wanted)
    examples = [eg for eg in examples if any(label in eg.reference.cats for label in wanted)]
    gold = {id(eg.reference): round_gold(eg.reference, wanted, exclusive) for eg in examples}

    def cats(doc: Doc, attr: str) -> dict[str, float]:
        """Give the rounded annotations of a reference, and the scores of any other document."""
        if id(doc) in gold:
            return gold[id(doc)]
        return _with_one_threshold(getattr(doc, attr), own, threshold)

    scores: Scores = Scorer.score_cats(
        examples, "cats", getter=cats, labels=wanted, multi_label=not exclusive, threshold=threshold,
        positive_label=positive_label,
    )  # fmt: skip
    right = [
        _decide(
            _with_one_threshold(eg.predicted.cats, own, threshold), gold[id(eg.reference)], wanted, exclusive, threshold
        )
        == {label for label, value in gold[id(eg.reference)].items() if value}
        for eg in examples
    ]
    scores["cats_acc"] = sum(right) / len(right) if right else None
    return {f"{score_prefix}{key}": value for key, value in scores.items()}


def _with_one_threshold(cats: dict[str, float], own: Mapping[str, float], threshold: float) -> dict[str, float]:
    """Scores that reach the common threshold where they reached that of their label; within a label in the same order,
    so its AUC stays."""
    return {label: _moved(score, own[label], threshold) if label in own else score for label, score in cats.items()}


def _moved(score: float, own: float, common: float) -> float:
    if score < own:
        return score / own * common * (1.0 - 1e-9)
    return common + (score - own) / max(1.0 - own, 1e-9) * (1.0 - common)


def round_gold(doc: Doc, labels: Sequence[str], exclusive: bool) -> dict[str, float]:
    """Round the annotations of a document to 0 and 1.

    doc (Doc): Annotated.
    labels (Sequence[str]): The component's.
    exclusive (bool): Exactly one label a document: the highest is 1 and all others are 0.
    RETURNS (dict[str, float]): By label; without those that have no annotation. Empty where labels are exclusive and
        none of them is right.
    RAISES (ValueError): T033 for a gold score that is no number from 0 to 1, T036 for a gold label that is no str.
    """
    for label in doc.cats:
        check_label(label)
    known = {label: score_of(label, doc.cats[label], doc) for label in labels if label in doc.cats}
    if not exclusive:
        return {label: float(value >= 0.5) for label, value in known.items()}
    best = max(known, key=lambda label: known[label])
    # None of ours is right: whatever is predicted is wrong.
    return {label: float(label == best) for label in labels} if known[best] > 0 else {}


def _decide(
    predicted: dict[str, float], gold: dict[str, float], labels: list[str], exclusive: bool, threshold: float
) -> set[str]:
    """The labels a document is given; where labels are independent, among those that have a gold annotation."""
    if exclusive:
        return {max(labels, key=lambda label: predicted.get(label, 0.0))}
    return {label for label in gold if predicted.get(label, 0.0) >= threshold}
