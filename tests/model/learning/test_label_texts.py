"""Names of labels as further texts to learn from."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch

from house_kit.pipelines import pipeline, scores_of, shim_of, weights_of
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.model.learning.label_texts import LabelTexts, says_something
from spacy_transfer.nn.losses import CrossEntropy
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.linear_probe import LinearProbe

NAMES = {"@misc": "spacy-transfer.LabelTexts.v1"}
SOLVED = {"@misc": "spacy-transfer.LinearProbe.v1"}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("card_lost", True), ("Sci/Tech", True), ("HUM:ind", True), ("负面", True), ("好", True),
        ("положительный", True),
        ("17", False), ("c3", False), ("LABEL_2", False), ("class-1", False), ("a", False), ("__label__7", False),
    ],
)  # fmt: skip
def test_which_names_say_something(label: str, said: bool) -> None:
    assert says_something(label) == said


def test_texts_that_are_given_replace_the_name_and_others_stay() -> None:
    found = LabelTexts({"b": ["one", "two"]}, weight=2.0).of(["card_lost", "b"])
    assert found.texts == ["card lost", "one", "two"]
    targets, counts = found.rows([0, 2])
    assert targets.tolist() == [[1, 0], [0, 1]]
    assert counts.tolist() == [[2, 2], [2, 2]]
    batch = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).numpy()
    assert found.with_labels(batch) == [1, 2]


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"weight": 0}, "T005"), ({"weight": float("nan")}, "T005"), ({"texts": {"card": ""}}, "T005"),
     ({"texts": {"card": []}}, "T005")],
)  # fmt: skip
def test_what_is_no_text_is_refused(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        LabelTexts(**fields)


def test_labels_without_words_and_texts_without_a_label_are_refused() -> None:
    with pytest.raises(ValueError, match=r"T661.*'3'"):
        LabelTexts().of(["card", "3"])
    with pytest.raises(ValueError, match=r"T660.*'cart'.*'card'"):
        LabelTexts({"cart": "a card"}).of(["card", "bill"])


# ---- the probe ---------------------------------------------------------------------------------------------------


def test_a_probe_learns_from_a_text_of_weight_two_as_from_two_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(40, 5, generator=generator)
    targets = torch.nn.functional.one_hot(torch.arange(40) % 3, 3).float()
    loss, name, its = CrossEntropy().build([1.0] * 3), torch.full((1, 5), 2.0), torch.tensor([[0.0, 1.0, 0.0]])
    options: dict[str, Any] = {"exclusive": True, "tuning_follows": False}
    found = []
    for n, weight in ((1, 2.0), (2, 1.0), (0, 1.0)):
        known = torch.cat([torch.ones(40, 3), torch.full((n, 3), weight)])
        x, wanted = torch.cat([vectors, name.expand(n, 5)]), torch.cat([targets, its.expand(n, 3)])
        found.append(LinearProbe(Cs=[1.0]).solve(x, wanted, known, loss, **options, n_names=n))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(found[0][0], found[2][0], atol=1e-2)


def test_strength_is_chosen_on_texts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    original = CrossEntropy().build([1.0] * 2)

    class Counting(torch.nn.Module):
        def forward(self, logits: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
            held.append(int((known > 1).all(dim=1).sum()) if not logits.requires_grad else 0)
            value: torch.Tensor = original(logits, targets, known)
            return value

    vectors = torch.randn(22, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.nn.functional.one_hot(torch.arange(22) % 2, 2).float()
    known = torch.ones(22, 2)
    known[20:] = 3.0
    LinearProbe(loss_fraction=0.0).solve(
        vectors, targets, known, Counting(), exclusive=True, tuning_follows=False, n_names=2  # type: ignore[arg-type]
    )  # fmt: skip
    assert not any(held)


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_probe_in_a_pipeline_knows_what_a_label_is_called(quiet_bert: Path, multilabel: bool) -> None:
    texts = {"card": "please help the angry", "login": "we order screen", "money": "happy thanks"}
    block = {**NAMES, "texts": {**texts, **({"late": "how broken"} if multilabel else {})}, "weight": 20.0}
    frozen: dict[str, Any] = {"head_init": SOLVED, "tuning": {"frozen_depth": "all"}, "multilabel": multilabel}
    with_names, without = (pipeline(quiet_bert, **frozen, label_texts=one) for one in (block, None))
    places = [["card", "login", "money"].index(label) for label in texts]
    found = [torch.stack([*scores_of(nlp, list(texts.values()))])[range(3), places] for nlp in (with_names, without)]
    assert found[0].sum() > found[1].sum()


# ---- a step ------------------------------------------------------------------------------------------------------


def stepped(nlp: Any, examples: Any) -> dict[str, torch.Tensor]:
    nlp.update(examples, sgd=AdamW(learn_rate=1e-2), drop=0.0)
    return weights_of(nlp)


@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_a_step_learns_from_the_names_of_the_labels_in_its_batch(quiet_bert: Path, frozen: Any) -> None:
    tuning = {"frozen_depth": frozen}
    one, other = pipeline(quiet_bert, tuning=tuning, label_texts=NAMES), pipeline(quiet_bert, tuning=tuning)
    batch = [eg for eg in exclusive_examples(one) if not eg.reference.cats["money"]][:6]
    names = examples_of(other, ["card", "login"], [one_hot("card"), one_hot("login")])
    after = stepped(one, batch)
    beside = stepped(other, [*batch, *names])
    for name, weight in after.items():
        torch.testing.assert_close(weight, beside[name], atol=1e-5, rtol=1e-4)


def test_a_pipeline_of_any_number_of_labels_learns_from_them_too(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, multilabel=True, label_texts=NAMES)
    before = weights_of(nlp)
    stepped(nlp, multilabel_examples(nlp)[:4])
    assert not torch.equal(before["head.output.weight"], weights_of(nlp)["head.output.weight"])


def test_training_goes_on_alike_from_disk_from_bytes_and_in_a_copy(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(quiet_bert, label_texts=NAMES)
    nlp.to_disk(tmp_path)
    copies = [spacy.load(tmp_path), spacy.blank("xx").from_config(nlp.config)]
    copies[1].from_bytes(nlp.to_bytes())
    shim = pickle.loads(pickle.dumps(shim_of(nlp)))
    assert shim.labels == shim_of(nlp).labels == tuple(LABELS)
    batch = exclusive_examples(nlp)[:6]
    wanted = stepped(nlp, batch)
    for copy in copies:
        found = stepped(copy, exclusive_examples(copy)[:6])
        for name, weight in wanted.items():
            torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=0)


def test_a_label_added_later_brings_its_name(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, label_texts=NAMES)
    pipe: Any = nlp.get_pipe("transfer_textcat")
    pipe.add_label("refund")
    stepped(nlp, examples_of(nlp, TEXTS[:2], [one_hot("refund", [*LABELS, "refund"])] * 2))
    assert shim_of(nlp).labels == (*LABELS, "refund")
    pipe.model.attrs["resize_output"](pipe.model, 5)
    with pytest.raises(ValueError, match="T663"):
        nlp.update(exclusive_examples(nlp)[:2])


def test_features_have_no_labels(quiet_bert: Path) -> None:
    features = {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": ["_.n"]}
    with pytest.raises(ValueError, match="T662"):
        pipeline(quiet_bert, label_texts=NAMES, features=features)
