"""Labels that come later: old logits stay, a new label scores nothing until it is trained."""

import copy
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from house_kit.pipelines import add_classifier, moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from house_kit.ways import WAYS, fresh
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("hidden", [None, [8]])
def test_new_labels_leave_the_old_logits(bert: Path, multilabel: bool, hidden: Any) -> None:
    nlp = pipeline(bert, multilabel=multilabel, head={"hidden": hidden})
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-2))
    pipe = nlp.get_pipe(nlp.pipe_names[0])
    before = torch.tensor(shim_of(nlp).logits(Inputs(TEXTS)))
    assert (pipe.add_label("new"), pipe.add_label("new")) == (1, 0)
    after = torch.tensor(shim_of(nlp).logits(Inputs(TEXTS)))
    assert torch.equal(after[:, :-1], before)
    # It knows nothing of the texts yet.
    assert (after[:, -1] == -torch.inf).all()
    assert list(nlp("card").cats)[-1] == "new"


@pytest.mark.parametrize("way", ["bytes", "disk"])
def test_new_labels_are_stored_and_learned(bert: Path, way: str, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    sgd = AdamW(learn_rate=1e-2)
    nlp.update(exclusive_examples(nlp), sgd=sgd)
    nlp.get_pipe(NAME).add_label("delivery")
    other = WAYS[way](nlp, tmp_path)
    assert other.get_pipe(NAME).labels == (*LABELS, "delivery")
    assert torch.equal(scores_of(other, TEXTS), scores_of(nlp, TEXTS))
    more = [*LABELS, "delivery"]
    examples = [
        Example.from_dict(
            other.make_doc(text), {"cats": one_hot("delivery" if "late" in text else LABELS[i % 3], more)}
        )
        for i, text in enumerate(TEXTS)
    ]
    for _ in range(80):
        other.update(examples, sgd=sgd)
    assert other("why is my box late").cats["delivery"] > 0.5


HEADS = {
    "linear": {},
    "hidden": {"hidden": [8]},
    "label query": {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2, "self_attention": True},
}
LOSSES = {
    "cross-entropy": (False, {}),
    "binary": (True, {}),
    "ordinal": (False, {"@losses": "spacy-transfer.SquaredError.v1", "targets": "ordinal"}),
    "scores": (True, {"@losses": "spacy-transfer.SmoothL1.v1", "targets": "scores"}),
}


def _with_delivery(nlp: Language, n: int = 12) -> list[Example]:
    """The first texts, every third with the label that came later."""
    more = [*LABELS, "delivery"]
    labels = [more[i % 2] if i % 3 else "delivery" for i in range(n)]
    return examples_of(nlp, TEXTS[:n], [one_hot(label, more) for label in labels])


@pytest.mark.parametrize(
    ("head", "loss"), [*((head, "cross-entropy") for head in HEADS), *(("linear", x) for x in LOSSES)]
)
def test_a_new_label_scores_nothing_until_it_is_trained(bert: Path, head: str, loss: str, tmp_path: Path) -> None:
    multilabel, loss_block = LOSSES[loss]
    blocks: dict[str, Any] = {"head": HEADS[head], **({"loss": loss_block} if loss_block else {})}
    nlp = pipeline(bert, multilabel=multilabel, **blocks)
    sgd = AdamW(learn_rate=1e-2)
    nlp.update(multilabel_examples(nlp, 6) if multilabel else exclusive_examples(nlp, 6), sgd=sgd)
    before = scores_of(nlp, TEXTS)
    pipe = nlp.get_pipe(nlp.pipe_names[0])
    for label in ("delivery", "other"):
        pipe.add_label(label)
    nlp.to_disk(tmp_path)
    for one in (nlp, spacy.load(tmp_path), copy.deepcopy(nlp), fresh(nlp).from_bytes(nlp.to_bytes())):
        after = scores_of(one, TEXTS)
        assert torch.equal(after[:, :-2], before)
        assert not after[:, -2:].any()
    # Texts without it change nothing of that; one with it does, and only for it.
    nlp.update(multilabel_examples(nlp, 6) if multilabel else exclusive_examples(nlp, 6), sgd=sgd)
    assert not scores_of(nlp, TEXTS)[:, -2:].any()
    for example in (examples := _with_delivery(nlp)):
        example.reference.cats = {**example.reference.cats, "other": 0.0}
    nlp.update(examples, sgd=False)
    assert not scores_of(nlp, TEXTS)[:, -2:].any()
    nlp.get_pipe(nlp.pipe_names[0]).finish_update(sgd)
    after = scores_of(nlp, TEXTS)
    assert after[:, -2].any()
    assert not after[:, -1].any()


def test_a_new_label_starts_level_with_the_others(bert: Path) -> None:
    """Its logit is the mean of theirs, so it is neither ahead nor far behind."""
    nlp = pipeline(bert)
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-2))
    nlp.get_pipe(NAME).add_label("delivery")
    logits, _ = shim_of(nlp)(Inputs(TEXTS), True)
    logits = torch.tensor(logits)
    torch.testing.assert_close(logits[:, -1], logits[:, :-1].mean(dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_labels", [7, 8, 15, 16, 17])
def test_scores_of_many_labels_stay_to_the_bit(bert: Path, n_labels: int) -> None:
    labels = [f"l{i:02}" for i in range(n_labels)]
    nlp = spacy.blank("xx")
    pipe = add_classifier(nlp, bert)
    examples = examples_of(nlp, TEXTS[:n_labels], [one_hot(label, labels) for label in labels])
    nlp.initialize(lambda: examples)
    before = scores_of(nlp, TEXTS)
    pipe.add_label("new")
    assert torch.equal(scores_of(nlp, TEXTS)[:, :-1], before)


@pytest.mark.parametrize("multilabel", [False, True])
def test_initialize_without_examples(bert: Path, multilabel: bool) -> None:
    """As spaCy's own components: `add_label`, then `nlp.initialize()`."""
    nlp = spacy.blank("xx")
    pipe = add_classifier(nlp, bert, multilabel=multilabel)
    for label in LABELS:
        pipe.add_label(label)
    sgd = nlp.initialize()
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    assert moved(before, weights_of(nlp))
    assert set(nlp("card").cats) == set(LABELS)


def test_initialize_without_examples_says_what_is_made_of_them(bert: Path) -> None:
    nlp = spacy.blank("xx")
    pipe = add_classifier(
        nlp, bert, loss={"class_weights": "balanced"}, head_init={"@misc": "spacy-transfer.LinearProbe.v1"}
    )
    for label in LABELS:
        pipe.add_label(label)
    with pytest.warns(UserWarning, match=r"T345.*loss.class_weights, head_init"):
        nlp.initialize()
    assert network_of(nlp).head.output.weight.any()


def test_labels_before_initialize(bert: Path) -> None:
    nlp = spacy.blank("xx")
    pipe = add_classifier(nlp, bert)
    pipe.add_label("zebra")
    nlp.initialize(lambda: exclusive_examples(nlp))
    assert pipe.labels == ("zebra", *LABELS)
    assert set(nlp("card").cats) == {"zebra", *LABELS}
