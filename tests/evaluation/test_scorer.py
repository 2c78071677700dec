"""The scores of `nlp.evaluate`."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from sklearn.metrics import f1_score, roc_auc_score
from spacy.scorer import Scorer
from spacy.training import Example

from house_kit.pipelines import add_classifier, pipeline, weights_of
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.evaluation.scorer import score_cats
from spacy_transfer.training.adamw import AdamW

BLANK = spacy.blank("xx")


def scored(predicted: dict[str, float], gold: dict[str, float]) -> Example:
    example = Example.from_dict(BLANK.make_doc("text"), {"cats": gold})
    example.predicted.cats = predicted
    return example


EXCLUSIVE = [
    scored({"a": 0.7, "b": 0.2, "c": 0.1}, one_hot("a", "abc")),
    scored({"a": 0.4, "b": 0.3, "c": 0.3}, one_hot("b", "abc")),
    scored({"a": 0.1, "b": 0.8, "c": 0.1}, one_hot("b", "abc")),
    scored({"a": 0.2, "b": 0.2, "c": 0.6}, one_hot("c", "abc")),
    scored({"a": 0.1, "b": 0.6, "c": 0.3}, one_hot("c", "abc")),
]
INDEPENDENT = [
    scored({"a": 0.7, "b": 0.2}, {"a": 1.0, "b": 0.0}),
    scored({"a": 0.6, "b": 0.8}, {"a": 1.0, "b": 1.0}),
    scored({"a": 0.65, "b": 0.1}, {"a": 0.0, "b": 0.0}),
    scored({"a": 0.1, "b": 0.4}, {"a": 0.0, "b": 1.0}),
]


def test_exclusive_scores() -> None:
    scores = score_cats(EXCLUSIVE, labels="abc", exclusive=True)
    assert scores["cats_acc"] == pytest.approx(3 / 5)
    gold, found = ["a", "b", "b", "c", "c"], ["a", "a", "b", "c", "b"]
    assert scores["cats_macro_f"] == pytest.approx(f1_score(gold, found, average="macro"))
    assert scores["cats_micro_f"] == pytest.approx(f1_score(gold, found, average="micro"))
    assert scores["cats_score"] == scores["cats_macro_f"]
    assert set(scores["cats_f_per_type"]) == set("abc")


def test_independent_scores() -> None:
    scores = score_cats(INDEPENDENT, labels=["a", "b"], exclusive=False)
    assert scores["cats_acc"] == pytest.approx(2 / 4)
    aucs = [roc_auc_score([1, 1, 0, 0], [0.7, 0.6, 0.65, 0.1]), roc_auc_score([0, 1, 0, 1], [0.2, 0.8, 0.1, 0.4])]
    assert scores["cats_macro_auc"] == pytest.approx(sum(aucs) / 2)
    assert scores["cats_score"] == scores["cats_macro_auc"]
    strict = score_cats(INDEPENDENT, labels=["a", "b"], exclusive=False, threshold=0.66)
    assert strict["cats_acc"] == pytest.approx(2 / 4)
    assert strict["cats_f_per_type"]["a"]["p"] == 1.0
    assert scores["cats_f_per_type"]["a"]["p"] == pytest.approx(2 / 3)


def test_what_spacy_counts_is_what_spacy_counts() -> None:
    for examples, labels, exclusive in ((EXCLUSIVE, "abc", True), (INDEPENDENT, "ab", False)):
        ours = score_cats(examples, labels=list(labels), exclusive=exclusive)
        theirs = Scorer.score_cats(examples, "cats", labels=list(labels), multi_label=not exclusive, threshold=0.5)
        assert {key: ours[key] for key in theirs} == theirs


def test_a_positive_label_sets_the_main_score() -> None:
    examples = [scored({"a": 0.7, "b": 0.3}, one_hot("a", "ab")), scored({"a": 0.6, "b": 0.4}, one_hot("b", "ab"))]
    scores = score_cats(examples, labels=["a", "b"], exclusive=True, positive_label="a")
    assert scores["cats_score"] == pytest.approx(2 / 3)
    assert scores["cats_score_desc"] == "F (a)"


def test_soft_gold_is_rounded() -> None:
    examples = [
        scored({"a": 0.7, "b": 0.3}, {"a": 0.6, "b": 0.4}), scored({"a": 0.2, "b": 0.8}, {"a": 0.2, "b": 0.8}),
    ]  # fmt: skip
    scores = score_cats(examples, labels=["a", "b"], exclusive=True)
    assert scores["cats_acc"] == scores["cats_macro_f"] == 1.0
    independent = score_cats(examples, labels=["a", "b"], exclusive=False)
    assert independent["cats_acc"] == independent["cats_macro_auc"] == 1.0


@pytest.mark.parametrize("exclusive", [True, False])
def test_texts_without_annotation_do_not_count(exclusive: bool) -> None:
    examples = EXCLUSIVE if exclusive else INDEPENDENT
    labels = list("abc" if exclusive else "ab")
    blank = [scored({"a": 0.9, "b": 0.1, "c": 0.0}, {}), scored({"a": 0.9, "b": 0.1, "c": 0.0}, {"other": 1.0})]
    assert score_cats([*examples, *blank], labels=labels, exclusive=exclusive) == score_cats(
        examples, labels=labels, exclusive=exclusive
    )
    nothing = score_cats(blank, labels=labels, exclusive=exclusive)
    assert nothing["cats_acc"] is None
    assert score_cats([], labels=labels, exclusive=exclusive)["cats_acc"] is None


def test_missing_labels_do_not_count() -> None:
    examples = [scored({"a": 0.9, "b": 0.9}, {"a": 1.0}), scored({"a": 0.1, "b": 0.9}, {"a": 0.0})]
    scores = score_cats(examples, labels=["a", "b"], exclusive=False)
    assert scores["cats_acc"] == 1.0
    assert scores["cats_f_per_type"]["a"]["f"] == 1.0
    assert scores["cats_f_per_type"]["b"]["f"] == 0.0
    assert scores["cats_auc_per_type"]["b"] is None


def test_a_gold_label_that_is_not_ours_is_never_right() -> None:
    """spaCy takes a gold of zeros for the first label."""
    scores = score_cats(
        [scored({"a": 0.9, "b": 0.1}, {"a": 0.0, "b": 0.0, "z": 1.0})], labels=["a", "b"], exclusive=True
    )
    assert scores["cats_acc"] == 0.0
    assert scores["cats_macro_f"] == 0.0


def test_a_prefix_goes_before_every_score() -> None:
    plain = score_cats(EXCLUSIVE, labels="abc", exclusive=True)
    prefixed = score_cats(EXCLUSIVE, labels="abc", exclusive=True, score_prefix="topic_")
    assert prefixed == {f"topic_{key}": value for key, value in plain.items()}


# ---- in a pipeline -----------------------------------------------------------------------------------------------

SCORES = {
    "cats_score", "cats_score_desc", "cats_acc", "cats_micro_p", "cats_micro_r", "cats_micro_f", "cats_macro_p",
    "cats_macro_r", "cats_macro_f", "cats_macro_auc", "cats_f_per_type", "cats_auc_per_type",
}  # fmt: skip


@pytest.mark.parametrize("multilabel", [False, True])
def test_evaluate(bert: Path, multilabel: bool) -> None:
    nlp = pipeline(bert, multilabel=multilabel, settings={"threshold": 0.9} if multilabel else None)
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    scores = nlp.evaluate(examples)
    assert set(scores) >= SCORES
    assert scores["cats_score_desc"] == ("macro AUC" if multilabel else "macro F")
    weights = nlp.config["training"]["score_weights"]
    assert weights["cats_score"] == 1.0
    assert set(weights) <= SCORES
    if multilabel:
        # At 0.9 an untrained head predicts nothing.
        assert scores["cats_micro_r"] == 0.0


def two_classifiers(bert: Path, prefix: str) -> Any:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="topic")
    add_classifier(nlp, bert, name="length", settings={"score_prefix": prefix})
    examples = []
    for i, text in enumerate(TEXTS):
        cats = one_hot(LABELS[i % 3]) | one_hot("long" if len(text) > 20 else "short", ["long", "short"])
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    return nlp, examples


def initialize_both(nlp: Any, examples: list[Example]) -> None:
    for name, labels in (("topic", LABELS), ("length", ["long", "short"])):
        nlp.get_pipe(name).initialize(lambda: examples, nlp=nlp, labels=labels)


def test_two_classifiers_keep_out_of_each_others_way(quiet_bert: Path, tmp_path: Path) -> None:
    nlp, examples = two_classifiers(quiet_bert, "length_")
    nlp.config["training"]["score_weights"]["length_cats_score"] = 1.0
    initialize_both(nlp, examples)
    sgd = AdamW(learn_rate=5e-3)
    for _ in range(40):
        losses = nlp.update(examples, sgd=sgd, losses={})
    assert set(losses) == {"topic", "length"}
    doc = nlp("my card is lost")
    assert set(doc.cats) == {*LABELS, "long", "short"}
    assert sum(doc.cats[label] for label in LABELS) == pytest.approx(1.0)
    scores = nlp.evaluate(examples)
    assert set(scores["cats_f_per_type"]) == set(LABELS)
    assert set(scores["length_cats_f_per_type"]) == {"long", "short"}
    assert scores["cats_acc"] > 0.8
    assert scores["length_cats_acc"] > 0.8
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again("my card is lost").cats == pytest.approx(doc.cats, abs=1e-5)
    assert weights_of(again, "topic").keys() == weights_of(again, "length").keys()


def test_without_a_prefix_the_last_one_wins(bert: Path) -> None:
    """What the prefix is for."""
    nlp, examples = two_classifiers(bert, "")
    initialize_both(nlp, examples)
    assert set(nlp.evaluate(examples)["cats_f_per_type"]) == {"long", "short"}


def test_a_prefix_that_no_weight_knows(bert: Path, tmp_path: Path) -> None:
    """Under spacy train every evaluation would count as the best."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, settings={"score_prefix": "topic_"})
    with pytest.raises(ValueError, match=r"T004.*'topic_'.*topic_cats_score = 1.0"):
        nlp.initialize(lambda: exclusive_examples(nlp))
    nlp.config["training"]["score_weights"]["topic_cats_score"] = 1.0
    nlp.initialize(lambda: exclusive_examples(nlp))
    scores = nlp.evaluate(exclusive_examples(nlp))
    assert "topic_cats_score" in scores
    assert "cats_score" not in scores


def test_a_prefix_in_a_config_file(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, settings={"score_prefix": "topic_"})
    config = nlp.config
    config["training"]["score_weights"] = {"topic_cats_score": 1.0}
    other = spacy.util.load_model_from_config(config, auto_fill=True)
    other.initialize(lambda: exclusive_examples(other))
    # spaCy shares the weight with the unprefixed default, which scores nothing.
    assert other.config["training"]["score_weights"]["topic_cats_score"] == 0.5


def test_without_a_scorer_there_are_no_scores(bert: Path) -> None:
    nlp = pipeline(bert, settings={"scorer": None})
    assert not [key for key in nlp.evaluate(exclusive_examples(nlp)) if key.startswith("cats")]
