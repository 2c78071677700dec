"""From annotations to losses: what is checked, masked, weighted and smoothed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
import torch.nn.functional as F

from house_kit.pipelines import add_classifier, moved, pipeline, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.nn.losses import BinaryCrossEntropy, CrossEntropy, label_weights
from spacy_transfer.pipeline.gold import read_gold
from spacy_transfer.training.adamw import AdamW

ML = "transfer_textcat_multilabel"


def docs_with(*cats: dict[Any, Any]) -> list[Any]:
    nlp = spacy.blank("xx")
    docs = []
    for one in cats:
        doc = nlp.make_doc("a text about nothing")
        doc.cats = one
        docs.append(doc)
    return docs


def initialized(folder: Path, cats: list[dict[str, Any]], *, multilabel: bool = False, **initialize: Any) -> Any:
    nlp = spacy.blank("xx")
    pipe = add_classifier(nlp, folder, multilabel=multilabel)
    examples = examples_of(nlp, [f"text {i}" for i in range(len(cats))], cats)
    pipe.initialize(lambda: examples, nlp=nlp, **initialize)
    return pipe


# ---- annotations -------------------------------------------------------------------------------------------------


def test_exclusive_annotations() -> None:
    gold = read_gold(
        docs_with({"a": 1.0, "b": 0.0}, {"b": 1}, {"a": 0.25, "b": 0.75}), ["a", "b"], exclusive=True, name="x"
    )
    assert gold.targets.tolist() == [[1, 0], [0, 1], [0.25, 0.75]]
    assert gold.known.tolist() == [[1, 1]] * 3
    assert gold.unknown == set()


def test_independent_annotations() -> None:
    docs = docs_with({"a": 1.0, "b": 1.0}, {"b": 0.0}, {}, {"a": 0.5, "c": 1.0})
    gold = read_gold(docs, ["a", "b"], exclusive=False, name="x")
    assert gold.targets.tolist() == [[1, 1], [0, 0], [0, 0], [0.5, 0]]
    assert gold.known.tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert gold.unknown == {"c"}
    assert gold.targets.dtype == gold.known.dtype == np.float32


def test_booleans_and_numpy_numbers_are_numbers() -> None:
    docs = docs_with({"a": True, "b": False}, {"a": np.float32(1), "b": np.int64(0)})
    assert read_gold(docs, ["a", "b"], exclusive=True, name="x").targets.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    "cats", [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, {}, {"a": 0.5}, {"a": 0.5, "b": 0.2}, {"a": 1.0, "b": 0.5}]
)
def test_not_exactly_one_label(cats: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"T032.*'x'.*a text about nothing"):
        read_gold(docs_with({"a": 1.0}, cats), ["a", "b"], exclusive=True, name="x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, "1", None, [1.0]])
@pytest.mark.parametrize("exclusive", [True, False])
def test_scores_must_be_shares(value: Any, exclusive: bool) -> None:
    with pytest.raises(ValueError, match=r"T033.*'a' has.*a text about nothing"):
        read_gold(docs_with({"a": value, "b": 1.0}), ["a", "b"], exclusive=exclusive, name="x")


@pytest.mark.parametrize("exclusive", [True, False])
def test_labels_must_be_text(exclusive: bool) -> None:
    with pytest.raises(ValueError, match=r"T036.*7.*int"):
        read_gold(docs_with({7: 1.0, "b": 0.0}), ["a", "b"], exclusive=exclusive, name="x")


def test_a_label_of_another_component_is_not_ours() -> None:
    docs = docs_with({"a": 1.0, "b": 0.0, "z": 1.0}, {"z": 1.0}, {"a": 0.0, "b": 0.0, "z": 1.0}, {"z": 0.0, "b": 1.0})
    gold = read_gold(docs, ["a", "b"], exclusive=True, name="x")
    assert gold.known.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]
    assert (gold.unknown, gold.missed) == ({"z"}, {"z"})
    assert read_gold(docs[:2], ["a", "b"], exclusive=True, name="x").missed == set()


# ---- initialization ----------------------------------------------------------------------------------------------


def test_labels_come_sorted_from_the_data(bert: Path) -> None:
    assert initialized(bert, [{"b": 1.0}, {"a": 1.0}]).labels == ("a", "b")
    pipe = initialized(bert, [{"b": 1.0}, {"a": 1.0}], labels=["b", "c", "a"])
    assert pipe.labels == ("b", "c", "a")
    assert pipe.label_data == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("multilabel", "cats", "labels", "code"),
    [
        (False, [{"a": 1.0}], None, r"T031.*at least 2.*\['a'\]"),
        (False, [{"a": 1.0}], ["a"], r"T031.*at least 2"),
        (True, [{}], None, r"T031.*at least 1.*\[\]"),
        (False, [{"a": 1.0, "b": 1.0}], None, "T032"),
        (True, [{"a": 2.0}], None, "T033"),
        (True, [{"a": 1.0}], [1], "T036"),
        (False, [], None, "T039"),
    ],
)
def test_what_initialize_refuses(multilabel: bool, cats: Any, labels: Any, code: str, bert: Path) -> None:
    with pytest.raises(ValueError, match=code):
        initialized(bert, cats, multilabel=multilabel, labels=labels)


@pytest.mark.parametrize(
    ("multilabel", "cats", "positive"),
    [
        (False, [{"a": 1.0}, {"b": 1.0}, {"c": 1.0}], "a"),
        (False, [{"a": 1.0}, {"b": 1.0}], "z"),
        (True, [{"a": 1.0}, {"b": 1.0}], "a"),
    ],
)
def test_a_positive_label_needs_two(multilabel: bool, cats: Any, positive: str, bert: Path) -> None:
    with pytest.raises(ValueError, match=rf"T037.*'{positive}'"):
        initialized(bert, cats, multilabel=multilabel, positive_label=positive)


def test_one_label_is_enough_for_any_number(bert: Path) -> None:
    assert initialized(bert, [{"a": 1.0}, {"a": 0.0}], multilabel=True).labels == ("a",)


def test_texts_left_out_at_initialize_are_told(bert: Path) -> None:
    cats = [one_hot("a", "abc"), one_hot("b", "abc"), one_hot("c", "abc")]
    with pytest.warns(UserWarning, match=r"T038.*\['c'\]"):
        initialized(bert, cats, labels=["a", "b"])


def test_annotations_are_checked_at_every_update(bert: Path) -> None:
    nlp = pipeline(bert)
    for cats, code in ((one_hot("card") | {"login": 1.0}, "T032"), ({"card": 7.0}, "T033")):
        with pytest.raises(ValueError, match=code):
            nlp.update(examples_of(nlp, ["text"], [cats]), sgd=False)


def test_losses_and_components_go_together(bert: Path) -> None:
    for multilabel, loss in ((False, "BinaryCrossEntropy"), (True, "CrossEntropy")):
        nlp = spacy.blank("xx")
        with pytest.raises(ValueError, match=r"T002.*transfer_textcat"):
            add_classifier(nlp, bert, multilabel=multilabel, loss={"@losses": f"spacy-transfer.{loss}.v1"})


@pytest.mark.parametrize(
    ("block", "other"),
    [
        ("pooling", {"@layers": "spacy-transfer.Head.v1"}), ("head", {"@layers": "spacy-transfer.MeanPooling.v1"}),
        ("loss", {"@losses": "CategoricalCrossentropy.v1"}), ("tuning", {"@misc": "spacy-transfer.Windows.v1"}),
        ("windows", {"@misc": "spacy-transfer.Tuning.v1"}), ("encoder", {"@misc": "spacy-transfer.Windows.v1"}),
        ("pooling", {"@layers": "Relu.v1"}), ("cache", {"@misc": "spacy-transfer.Windows.v1"}),
        ("head_init", {"@misc": "spacy-transfer.Windows.v1"}),
    ],
)  # fmt: skip
def test_a_block_of_another_kind(block: str, other: dict[str, str]) -> None:
    from spacy_transfer.pipeline.factories import _default_config

    config = _default_config("spacy-transfer.CrossEntropy.v1")["model"]
    config[block] = other
    with pytest.raises(ValueError, match=rf"T001.*'{block}'"):
        spacy.registry.resolve({"model": config})


def test_another_architecture() -> None:
    nlp = spacy.blank("xx")
    with pytest.raises(ValueError, match=r"T003.*'transfer_textcat'"):
        nlp.add_pipe("transfer_textcat", config={"model": {"@architectures": "spacy.TextCatBOW.v3", "ngram_size": 1,
                     "exclusive_classes": True, "no_output_layer": False, "length": 64}})  # fmt: skip


# ---- losses against torch's --------------------------------------------------------------------------------------


def logits_and_targets(exclusive: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((6, 4), generator=generator) * 3
    if exclusive:
        return logits, F.one_hot(torch.tensor([0, 1, 2, 3, 0, 2]), 4).float()
    return logits, torch.randint(0, 2, (6, 4), generator=generator).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [[1.0] * 4, [0.5, 2.0, 1.0, 3.0]])
def test_cross_entropy_is_torchs(smoothing: float, weights: list[float]) -> None:
    logits, targets = logits_and_targets(True)
    loss = CrossEntropy(label_smoothing=smoothing).build(weights)
    found = loss(logits, targets, torch.ones_like(targets))
    wanted = F.cross_entropy(
        logits, targets.argmax(1), torch.tensor(weights), label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(found, wanted)


def test_cross_entropy_of_soft_labels_is_torchs() -> None:
    logits, _ = logits_and_targets(True)
    targets = torch.rand((6, 4), generator=torch.Generator().manual_seed(1)).softmax(1)
    found = CrossEntropy().build([1.0] * 4)(logits, targets, torch.ones_like(targets))
    torch.testing.assert_close(found, F.cross_entropy(logits, targets, reduction="none"))


@pytest.mark.parametrize("weights", [[1.0] * 4, [0.5, 2.0, 1.0, 3.0]])
def test_binary_cross_entropy_is_torchs(weights: list[float]) -> None:
    logits, targets = logits_and_targets(False)
    found = BinaryCrossEntropy().build(weights)(logits, targets, torch.ones_like(targets))
    wanted = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.tensor(weights), reduction="none")
    torch.testing.assert_close(found, wanted.mean(dim=1))
    smooth = BinaryCrossEntropy(label_smoothing=0.2).build([1.0] * 4)(logits, targets, torch.ones_like(targets))
    wanted = F.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1, reduction="none")
    torch.testing.assert_close(smooth, wanted.mean(dim=1))


def test_losses_of_sure_logits_are_finite() -> None:
    logits = torch.tensor([[500.0, -500.0], [-500.0, 500.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    for builder in (CrossEntropy(), BinaryCrossEntropy(), CrossEntropy(label_smoothing=0.1)):
        value = builder.build([1.0, 1.0])(logits, targets, torch.ones_like(targets)).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient[0].abs().min() > 0.1


def test_missing_labels_have_no_gradient() -> None:
    logits, targets = logits_and_targets(False)
    logits.requires_grad_()
    known = torch.ones_like(targets)
    known[0, 1] = known[3] = 0.0
    loss = BinaryCrossEntropy().build([1.0] * 4)
    value = loss(logits, targets, known)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert ((gradient == 0) == (known == 0)).all()
    assert value[3] == 0
    # What stands at a missing place plays no part.
    other = torch.where(known == 0, 1 - targets, targets)
    assert torch.equal(loss(logits, other, known), value)


def test_missing_labels_move_no_row_of_the_head(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, multilabel=True)
    labels = list(nlp.get_pipe(ML).labels)
    examples = multilabel_examples(nlp)
    for example in examples:
        del example.reference.cats["late"]
    before = weights_of(nlp)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-2, weight_decay=0.0))
    rows = (weights_of(nlp)["head.output.weight"] != before["head.output.weight"]).any(dim=1)
    assert rows.tolist() == [label != "late" for label in labels]


def test_texts_without_annotation_change_nothing(quiet_bert: Path) -> None:
    found = []
    for n_blank in (0, 3):
        nlp = pipeline(quiet_bert, multilabel=True)
        blank = examples_of(nlp, ["nothing known"] * n_blank, [{}] * n_blank)
        losses = nlp.update(multilabel_examples(nlp) + blank, sgd=AdamW(learn_rate=1e-2, eps=1e-3))
        found.append((losses[ML], weights_of(nlp)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=2e-6, rtol=1e-5, msg=name)


def test_soft_labels_are_learned(quiet_bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert)
    examples = examples_of(nlp, ["the card is lost"] * 2, [{"a": 0.7, "b": 0.3}, {"a": 0.7, "b": 0.3}])
    nlp.initialize(lambda: examples)
    sgd = AdamW(learn_rate=1e-2, weight_decay=0.0)
    for _ in range(60):
        nlp.update(examples, sgd=sgd)
    assert nlp("the card is lost").cats["a"] == pytest.approx(0.7, abs=0.02)


# ---- class weights -----------------------------------------------------------------------------------------------


def test_balanced_weights() -> None:
    """As in scikit-learn: over the training documents the weights have the mean 1."""
    found = CrossEntropy(class_weights="balanced").balanced([6.0, 3.0, 1.0], [10.0] * 3)
    assert found == pytest.approx([10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)])
    assert sum(w * n for w, n in zip(found, [6, 3, 1], strict=True)) == pytest.approx(10)
    assert CrossEntropy(class_weights="balanced").balanced([5.0, 0.0], [5.0, 5.0]) == [0.5, 1.0]
    # Positives weigh as much as negatives; only annotated texts count.
    assert BinaryCrossEntropy(class_weights="balanced").balanced([1.0, 4.0, 0.0], [10.0, 8.0, 5.0]) == [9.0, 1.0, 1.0]


def test_pairs_of_weights() -> None:
    builder = CrossEntropy(class_weights=[("b", 2.0)])
    assert label_weights(builder, ["a", "b"], [1, 1], [2, 2]) == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"T034.*\['z'\].*\['a', 'b'\]"):
        label_weights(CrossEntropy(class_weights=[("z", 2.0)]), ["a", "b"], [1, 1], [2, 2])
    for pair in (["a"], ["a", 1.0, 2.0], [1.0, "a"], ["a", "b"]):
        with pytest.raises(ValueError, match=r"T005.*class_weights"):
            CrossEntropy(class_weights=[pair])
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"T035.*'a'"):
            CrossEntropy(class_weights=[("a", weight)])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range(smoothing: float) -> None:
    for builder in (CrossEntropy, BinaryCrossEntropy):
        with pytest.raises(ValueError, match="T005"):
            builder(label_smoothing=smoothing)


def test_weights_reach_the_loss(quiet_bert: Path) -> None:
    losses = []
    for weights in ("none", [["card", 3.0], ["login", 3.0], ["money", 3.0]]):
        nlp = pipeline(quiet_bert, loss={"class_weights": weights})
        losses.append(nlp.update(exclusive_examples(nlp), sgd=False)["transfer_textcat"])
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)


STRANGE = ["a: b", "x=y", "[section]", 'quo"te', "ünï", "${var}", "comma, no", "#hash", " "]


@pytest.mark.parametrize("multilabel", [False, True])
def test_weights_of_strange_labels_survive_the_config(bert: Path, multilabel: bool, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    # "${var}" is a variable to the config system itself.
    labels = [label for label in STRANGE if "$" not in label]
    pairs = [[label, i + 0.5] for i, label in enumerate(labels)]
    add_classifier(nlp, bert, multilabel=multilabel, loss={"class_weights": pairs})
    examples = examples_of(nlp, ["text"] * len(labels), [one_hot(label, labels) for label in labels])
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    for one in (nlp, again):
        pipe = one.get_pipe(one.pipe_names[0])
        weights = dict(zip(pipe.labels, shim_of(one).label_weights, strict=True))
        assert weights == {label: i + 0.5 for i, label in enumerate(labels)}
    assert again("text").cats == pytest.approx(nlp("text").cats)


def test_strange_labels_are_labels(bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert)
    examples = examples_of(nlp, ["text"] * len(STRANGE), [one_hot(label, STRANGE) for label in STRANGE])
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("transfer_textcat").labels == tuple(sorted(STRANGE))


def test_balanced_weights_are_stored(bert: Path, tmp_path: Path) -> None:
    """Training may go on elsewhere, without the old data."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, loss={"class_weights": "balanced"})
    examples = exclusive_examples(nlp)
    examples = [e for i, e in enumerate(examples) if i % 3 == 0] + examples[1:5:3] + examples[2:3]
    nlp.initialize(lambda: examples)
    n = {"card": 8, "login": 2, "money": 1}
    wanted = [11 / (3 * n[label]) for label in LABELS]
    assert shim_of(nlp).label_weights == pytest.approx(wanted)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert shim_of(again).label_weights == pytest.approx(wanted)
    assert shim_of(again).loss.get_buffer("weights").tolist() == pytest.approx(wanted)
    again.get_pipe("transfer_textcat").add_label("new")
    assert shim_of(again).label_weights == pytest.approx([*wanted, 1.0])


# ---- learning at all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pooling", mostly_slow(["MeanPooling", "ClsPooling", "MaxPooling", "AttentionPooling"], but=["AttentionPooling"])
)
@pytest.mark.parametrize("multilabel", [False, True])
def test_the_texts_can_be_learned(quiet_bert: Path, pooling: str, multilabel: bool) -> None:
    nlp = pipeline(quiet_bert, multilabel=multilabel, pooling={"@layers": f"spacy-transfer.{pooling}.v1"})
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    sgd = AdamW(learn_rate=5e-3, weight_decay=0.0)
    before = weights_of(nlp)
    for _ in range(60):
        nlp.update(examples, sgd=sgd)
    if pooling == "AttentionPooling":
        assert "pooling.score.weight" in moved(before, weights_of(nlp))
    labels = nlp.get_pipe(nlp.pipe_names[0]).labels
    gold = torch.tensor([[example.reference.cats[label] for label in labels] for example in examples])
    assert ((scores_of(nlp, TEXTS) > 0.5) == (gold > 0.5)).float().mean() > 0.8
