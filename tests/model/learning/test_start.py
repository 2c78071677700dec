"""The head solved on the pretrained features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from spacy.tokens import Doc

from house_kit.pipelines import network_of, pipeline, scores_of, weights_of
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.nn.losses import BinaryCrossEntropy, CrossEntropy
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.linear_probe import LinearProbe

SOLVED = {"@misc": "spacy-transfer.LinearProbe.v1"}


def _data(n_docs: int = 200, n_labels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(n_docs, 6, generator=generator) * 3 + 5
    logits = (vectors - 5) @ torch.randn(6, n_labels, generator=generator) / 3
    labels = (logits + torch.randn(n_docs, n_labels, generator=generator)).argmax(dim=1)
    return vectors, torch.nn.functional.one_hot(labels, n_labels).float()


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_is_scikit_learns_multinomial_regression(strength: float) -> None:
    vectors, targets = _data()
    loss = CrossEntropy().build([1.0] * 3)
    weight, bias = LinearProbe(Cs=[strength], loss_fraction=0.0).solve(
        vectors, targets, torch.ones_like(targets), loss, exclusive=True, tuning_follows=True
    )
    scale = (vectors - vectors.mean(dim=0)).square().mean().sqrt()
    x = ((vectors - vectors.mean(dim=0)) / scale).numpy()
    expected = LogisticRegression(C=strength, tol=1e-8, max_iter=2000).fit(x, targets.argmax(dim=1).numpy())
    found = (vectors @ weight.T + bias).softmax(dim=1).numpy()
    assert np.abs(found - expected.predict_proba(x)).max() < 2e-3


def test_missing_labels_do_not_count() -> None:
    vectors, targets = _data()
    known = torch.ones_like(targets)
    known[100:, 0] = 0.0
    loss = BinaryCrossEntropy().build([1.0] * 3)
    start = LinearProbe(Cs=[1.0])
    options: dict[str, Any] = {"exclusive": False, "tuning_follows": False}
    changed = targets.clone()
    changed[100:, 0] = 1.0 - changed[100:, 0]
    one = start.solve(vectors, targets, known, loss, **options)
    other = start.solve(vectors, changed, known, loss, **options)
    torch.testing.assert_close(one, other)
    # One against the rest: the first label is solved on the texts that are annotated for it, half of all.
    assert not torch.allclose(one[0], start.solve(vectors, targets, torch.ones_like(known), loss, **options)[0])


@pytest.mark.parametrize("keep", [0.5, 0.7, 0.9])
def test_softening_keeps_the_share_of_the_loss_that_was_asked_for(keep: float) -> None:
    vectors, targets = _data()
    loss, known = CrossEntropy().build([1.0] * 3), torch.ones(200, 3)
    options: dict[str, Any] = {"exclusive": True, "tuning_follows": True}
    weight, bias = LinearProbe(Cs=[100.0], loss_fraction=keep).solve(vectors, targets, known, loss, **options)
    left = float(loss(vectors @ weight.T + bias, targets, known).mean()) / float(np.log(3))
    assert left == pytest.approx(keep, abs=1e-2)
    hard, hard_bias = LinearProbe(Cs=[100.0], loss_fraction=0.0).solve(vectors, targets, known, loss, **options)
    assert torch.equal((vectors @ weight.T + bias).argmax(dim=1), (vectors @ hard.T + hard_bias).argmax(dim=1))


def test_the_strength_is_chosen_by_cross_validation() -> None:
    """Labels that are noise want the weakest head, labels that are the features' own a strong one."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(300, 20, generator=generator)
    noise = torch.nn.functional.one_hot(torch.randint(0, 2, (300,), generator=generator), 2).float()
    clear = torch.nn.functional.one_hot((vectors[:, 0] > 0).long(), 2).float()
    loss, known = CrossEntropy().build([1.0] * 2), torch.ones(300, 2)
    sizes = []
    for targets in (noise, clear):
        weight, _ = LinearProbe(Cs=[1e-3, 1.0, 100.0], loss_fraction=0.0).solve(
            vectors, targets, known, loss, exclusive=True, tuning_follows=False
        )
        sizes.append(float(weight.norm()))
    assert sizes[1] > 3 * sizes[0]


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("frozen", [1, "all"])
def test_a_pipeline_starts_from_it(quiet_bert: Path, multilabel: bool, frozen: Any) -> None:
    blocks = {"tuning": {"frozen_depth": frozen}}
    solved = pipeline(quiet_bert, multilabel=multilabel, head_init=SOLVED, **blocks)
    random = pipeline(quiet_bert, multilabel=multilabel, **blocks)
    make = multilabel_examples if multilabel else exclusive_examples
    losses = [nlp.update(make(nlp), sgd=False)[nlp.pipe_names[0]] for nlp in (solved, random)]
    # Where tuning follows, 0.85 of what an ignorant head loses is kept.
    assert losses[0] < 0.9 * losses[1]


def test_the_same_data_give_the_same_head(quiet_bert: Path) -> None:
    one, other = (weights_of(pipeline(quiet_bert, seed=seed, head_init=SOLVED)) for seed in (0, 1))
    assert torch.equal(one["head.output.weight"], other["head.output.weight"])


def test_solved_and_saved(quiet_bert: Path, tmp_path: Path) -> None:
    import spacy

    nlp = pipeline(quiet_bert, head_init=SOLVED, tuning={"frozen_depth": "all"})
    nlp.to_disk(tmp_path)
    torch.testing.assert_close(scores_of(spacy.load(tmp_path), TEXTS), scores_of(nlp, TEXTS), atol=1e-6, rtol=0)
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-3))


@pytest.mark.parametrize("names", [None, ["_.n_stars"]])
def test_a_head_with_a_norm_is_solved_behind_it(quiet_bert: Path, names: list[str] | None) -> None:
    """Features of very different size beside the vectors: what is solved is what the output sees."""
    if names:
        Doc.set_extension("n_stars", getter=lambda doc: 100.0 * len(doc.text), force=True)
    features = {"features": {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": names}} if names else {}
    start = {**SOLVED, "Cs": [1000.0]}
    nlp = pipeline(quiet_bert, head_init=start, tuning={"frozen_depth": "all"}, head={"norm": True}, **features)
    examples = exclusive_examples(nlp)
    right = [
        max(doc.cats, key=doc.cats.get) == max(e.reference.cats, key=e.reference.cats.get)
        for doc, e in zip(nlp.pipe([e.text for e in examples]), examples, strict=True)
    ]
    assert np.mean(right) > 0.8
    assert network_of(nlp).head.hidden[0].weight.requires_grad


def test_a_head_with_hidden_layers_cannot_be_solved(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T064.*\[8\]"):
        pipeline(quiet_bert, head_init=SOLVED, head={"hidden": [8]})


@pytest.mark.parametrize("values", [{"Cs": []}, {"Cs": [0.0]}, {"folds": 1}, {"loss_fraction": 1.0}, {"most_texts": 0}])
def test_values_out_of_range(values: Any) -> None:
    with pytest.raises(ValueError, match="T005"):
        LinearProbe(**values)


def test_solving_on_a_part_spreads_over_the_data() -> None:
    assert LinearProbe(most_texts=4).choose(12) == [0, 3, 6, 9]
    assert LinearProbe(most_texts=40).choose(3) == [0, 1, 2]
