"""spacy-transfer.AdamW.v1 and Thinc's own optimizers on our network."""

from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, RAdam, registry
from torch import nn

from house_kit.pipelines import add_classifier, moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.training.adamw import AdamW

# A large eps, since the gradient of a key's bias is nothing but rounding, which Adam would blow up.
SETTINGS: dict[str, Any] = {"learn_rate": 3e-3, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}


def assert_same_weights(one: dict[str, Any], other: dict[str, Any], atol: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=1e-5, msg=name)


# ---- the formula -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad_clip", [0.0, 0.05, 100.0])
def test_equals_torchs_own(quiet_bert: Path, grad_clip: float) -> None:
    """Bias correction, decoupled decay on matrices alone, clipping by the global norm, over several steps."""
    ours, theirs = pipeline(quiet_bert), pipeline(quiet_bert)
    sgd = AdamW(**SETTINGS, grad_clip=grad_clip)
    network = network_of(theirs)
    weights = list(network.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": SETTINGS["weight_decay"]},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (SETTINGS["beta1"], SETTINGS["beta2"])
    reference = torch.optim.AdamW(groups, lr=SETTINGS["learn_rate"], betas=betas, eps=SETTINGS["eps"])
    norms = []
    for begin in range(0, 20, 4):
        batch = exclusive_examples(ours)[begin : begin + 4]
        ours.update(batch, sgd=sgd)
        theirs.update(batch, sgd=False)
        for weight in weights:
            weight.grad = weight.grad / len(batch)
        norms.append(float(nn.utils.clip_grad_norm_(weights, grad_clip or float("inf"))))
        reference.step()
        reference.zero_grad()
        assert_same_weights(weights_of(ours), weights_of(theirs))
    assert all((norm > grad_clip) == (grad_clip == 0.05) for norm in norms if grad_clip), norms


def test_clipping_is_global(quiet_bert: Path) -> None:
    """All gradients shrink by one factor: with plain betas of 0 and a large eps a step is proportional to them."""
    steps = []
    for grad_clip in (0.0, 0.01):
        nlp = pipeline(quiet_bert)
        before = weights_of(nlp)
        sgd = AdamW(learn_rate=1e3, weight_decay=0.0, beta1=0.0, beta2=0.0, eps=1e3, grad_clip=grad_clip)
        nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
        after = weights_of(nlp)
        steps.append({name: (after[name] - before[name]).norm().item() for name in before})
    free, clipped = steps
    ratios = [clipped[name] / free[name] for name in free if free[name] > 1e-3]
    assert len(ratios) > 10
    assert max(ratios) < 0.2
    assert max(ratios) / min(ratios) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    "values",
    [{"beta1": 1.0}, {"beta2": 1.0}, {"beta1": -0.1}, {"weight_decay": -1.0}, {"grad_clip": -1.0}, {"eps": -1e-8}],
)
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"T005.*optimizer: {next(iter(values))}"):
        AdamW(**values)


def test_numbers_may_come_as_text(quiet_bert: Path) -> None:
    config = {"optimizer": {"@optimizers": "spacy-transfer.AdamW.v1", "weight_decay": "0.1", "grad_clip": "1.0"}}
    sgd = registry.resolve(config)["optimizer"]
    nlp = pipeline(quiet_bert)
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    assert (sgd.L2, sgd.grad_clip) == (0.1, 1.0)


def test_a_weight_that_is_unfrozen_starts_its_own_correction(quiet_bert: Path) -> None:
    """A weight's first step is a full one, however many steps others have made."""
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 3, "unfreeze_every": 3})
    sgd = AdamW(learn_rate=1e-3, weight_decay=0.0, grad_clip=0.0)
    for _ in range(3):
        nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    name = "encoder.body.encoder.layer.2.output.dense.weight"
    size = (weights_of(nlp)[name] - before[name]).abs()
    assert size.median().item() == pytest.approx(1e-3, rel=0.05)


def test_moments_stay_when_labels_are_added(quiet_bert: Path) -> None:
    for sgd in (AdamW(learn_rate=1e-3), Adam(1e-3), RAdam(1e-3)):
        nlp = pipeline(quiet_bert, multilabel=True)
        for _ in range(3):
            nlp.update(multilabel_examples(nlp, 6), sgd=sgd)
        nlp.get_pipe("transfer_textcat_multilabel").add_label("new")
        before = weights_of(nlp)
        examples = multilabel_examples(nlp, 6)
        for example in examples:
            example.reference.cats["new"] = 1.0
        nlp.update(examples, sgd=sgd)
        assert not torch.equal(weights_of(nlp)["head.output.weight"][-1], before["head.output.weight"][-1])


# ---- averages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_averages_average(quiet_bert: Path, n_steps: int) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 1})
    sgd = AdamW(learn_rate=1e-2, use_averages=True)
    wanted: dict[str, torch.Tensor] = {}
    for t in range(1, n_steps + 1):
        nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
        for name, weight in weights_of(nlp).items():
            share = 1 - (1 + t) / (10 + t)
            wanted[name] = weight if t == 1 else wanted[name] + share * (weight - wanted[name])
    owner, network = shim_of(nlp).id, network_of(nlp)
    assert set(sgd.averages) == {(owner, name) for name in wanted if network.depth_of(name) > 1}
    for name, value in wanted.items():
        if network.depth_of(name) > 1:
            torch.testing.assert_close(sgd.averages[owner, name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: AdamW(learn_rate=1e-2, use_averages=True), lambda: Adam(1e-2), lambda: RAdam(1e-1)]
)
def test_evaluation_uses_averages_and_restores(quiet_bert: Path, make: Any) -> None:
    nlp = pipeline(quiet_bert)
    sgd = make()
    for _ in range(4):
        nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    plain, before = scores_of(nlp, TEXTS), weights_of(nlp)
    with nlp.use_params(sgd.averages):
        inside = weights_of(nlp)
        averaged = scores_of(nlp, TEXTS)
        for (owner, name), value in sgd.averages.items():
            assert owner == shim_of(nlp).id
            assert torch.equal(inside[name], torch.as_tensor(value).view_as(inside[name]))
        stored = nlp.to_bytes()
    assert not torch.allclose(averaged, plain, atol=1e-4)
    assert torch.equal(scores_of(nlp, TEXTS), plain)
    assert not moved(before, weights_of(nlp))
    # What is saved within is the average.
    again = spacy.util.load_model_from_config(nlp.config, auto_fill=True).from_bytes(stored)
    assert not moved(inside, weights_of(again))


def test_weights_come_back_after_an_error(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert)
    sgd = AdamW(learn_rate=1e-2, use_averages=True)
    for _ in range(2):
        nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    before = weights_of(nlp)
    with pytest.raises(KeyError, match="stop"), nlp.use_params(sgd.averages):
        raise KeyError("stop")
    assert not moved(before, weights_of(nlp))
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    assert moved(before, weights_of(nlp))


def test_without_averages_there_are_none(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert)
    sgd = AdamW(learn_rate=1e-2)
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    assert sgd.averages is None
    with nlp.use_params(sgd.averages):
        assert not moved(weights_of(nlp), weights_of(nlp))


def trained(folder: Path, out: Path, use_averages: bool) -> tuple[Language, Language]:
    """By spaCy's own loop: the pipeline it leaves, and the one it saved."""
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    nlp = spacy.blank("xx")
    add_classifier(nlp, folder)
    config = nlp.config.copy()
    optimizer = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 1e-2, "use_averages": use_averages}
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": 8}
    config["training"] |= {"max_steps": 5, "eval_frequency": 3, "optimizer": optimizer, "batcher": batcher}
    config["training"]["logger"] = {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False}
    config["corpora"] = {name: {"@readers": "test.three_labels.v1"} for name in ("train", "dev")}
    ready = init_nlp(config)
    out.mkdir()
    live, _ = train(ready, out)
    return live, spacy.load(out / "model-last")


@spacy.registry.readers("test.three_labels.v1")
def _three_labels() -> Any:
    return exclusive_examples


def test_spacys_loop_saves_the_averages(quiet_bert: Path, tmp_path: Path) -> None:
    plain_live, plain_saved = trained(quiet_bert, tmp_path / "plain", False)
    live, saved = trained(quiet_bert, tmp_path / "averaged", True)
    assert not moved(weights_of(plain_live), weights_of(plain_saved))
    # Averaging changes nothing in the training itself.
    assert not moved(weights_of(plain_live), weights_of(live))
    assert "encoder.body.encoder.layer.0.output.dense.weight" in moved(weights_of(live), weights_of(saved))


# ---- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: AdamW(**SETTINGS), lambda: Adam(3e-3, eps=1e-3, grad_clip=0.0)])
def test_accumulated_batches_are_one_batch(quiet_bert: Path, make: Any) -> None:
    one, two = pipeline(quiet_bert), pipeline(quiet_bert)
    sgd_one, sgd_two = make(), make()
    total: dict[str, float] = {}
    for _ in range(3):
        loss_one = one.update(exclusive_examples(one, 12), sgd=sgd_one)["transfer_textcat"]
        total = {}
        # Of different sizes: the mean is over documents, not over batches.
        two.update(exclusive_examples(two)[:4], sgd=False, losses=total)
        two.update(exclusive_examples(two)[4:12], sgd=False, losses=total)
        two.get_pipe("transfer_textcat").finish_update(sgd_two)
        assert total["transfer_textcat"] == pytest.approx(loss_one, rel=1e-5)
        assert_same_weights(weights_of(one), weights_of(two), atol=2e-6)


def test_gradients_are_gone_after_a_step(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert)
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW())
    assert all(weight.grad is None for weight in network_of(nlp).parameters())
    before = weights_of(nlp)
    nlp.get_pipe("transfer_textcat").finish_update(AdamW(learn_rate=1.0))
    assert not moved(before, weights_of(nlp))


def test_a_loop_through_begin_update(quiet_bert: Path) -> None:
    """Thinc's own protocol trains like `update`, with a loss averaged over the documents."""
    ours, theirs = pipeline(quiet_bert), pipeline(quiet_bert)
    examples = exclusive_examples(ours, 9)
    loss = ours.update(examples, sgd=AdamW(**SETTINGS))["transfer_textcat"]
    pipe = theirs.get_pipe("transfer_textcat")
    logits, backprop = pipe.model.begin_update([example.predicted for example in examples])
    value, gradient = pipe.get_loss(examples, logits)
    backprop(gradient)
    pipe.model.finish_update(AdamW(**SETTINGS))
    assert value == pytest.approx(loss / 9, rel=1e-5)
    assert_same_weights(weights_of(ours), weights_of(theirs))


# ---- beside other components -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("averages", [False, True])
def test_trains_beside_a_component_of_spacys(quiet_bert: Path, averages: bool) -> None:
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("tagger")
    add_classifier(nlp, quiet_bert)
    examples = []
    for i, text in enumerate(TEXTS):
        doc = nlp.make_doc(text)
        tags = ["LONG" if len(token) > 4 else "SHORT" for token in doc]
        examples.append(Example.from_dict(doc, {"tags": tags, "cats": one_hot(LABELS[i % 3])}))
    nlp.initialize(lambda: examples)
    sgd = AdamW(learn_rate=5e-3, use_averages=averages)
    history = []
    for _ in range(40):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=sgd, losses=losses)
        history.append(losses)
    assert history[-1]["tagger"] < 0.5 * history[0]["tagger"]
    assert history[-1]["transfer_textcat"] < 0.5 * history[0]["transfer_textcat"]
    with nlp.use_params(sgd.averages):
        scores = nlp.evaluate(examples)
    assert scores["tag_acc"] > 0.8
    assert scores["cats_acc"] > 0.8


def test_two_of_our_components_share_an_optimizer(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="one")
    add_classifier(nlp, bert, name="two", tuning={"frozen_depth": "all"})
    nlp.initialize(lambda: exclusive_examples(nlp))
    sgd = AdamW(learn_rate=1e-2, use_averages=True)
    before = weights_of(nlp, "one"), weights_of(nlp, "two")
    nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
    assert moved(before[0], weights_of(nlp, "one")) >= {"encoder.body.encoder.layer.0.output.dense.weight"}
    assert moved(before[1], weights_of(nlp, "two")) == {"head.output.weight", "head.output.bias"}
    assert len({owner for owner, _ in sgd.averages}) == 2


# ---- tables of static encoders -----------------------------------------------------------------------------------


def test_rows_without_a_gradient_stay_and_the_others_step_as_torch_steps_them(bert: Path) -> None:
    blocks = {"@misc": "spacy-transfer.StaticEncoder.v1", "width": 8, "bigrams": 20}
    nlp = pipeline(bert, encoder=blocks)
    sgd = AdamW(learn_rate=0.01, weight_decay=0.1, grad_clip=0.0)
    network, batches = network_of(nlp), exclusive_examples(nlp)
    table = network.encoder.body.embeddings.pieces.weight
    reference = nn.Parameter(table.detach().clone())
    adam = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1)
    for begin in (0, 4, 0):
        batch = batches[begin : begin + 4]
        nlp.update(batch, sgd=False)
        grad = table.grad.detach() / len(batch)
        rows = (grad != 0).any(dim=1)
        assert 0 < int(rows.sum()) < len(table)
        before = table.detach().clone()
        nlp.get_pipe(nlp.pipe_names[-1]).finish_update(sgd)
        assert torch.equal(table[~rows], before[~rows])
        # Of torch's own step the rows that are known; moments of the others wait.
        old = {key: value.clone() for key, value in adam.state[reference].items()}
        reference.grad = grad
        kept = reference.detach().clone()
        adam.step()
        with torch.no_grad():
            reference[~rows] = kept[~rows]
            for key in ("exp_avg", "exp_avg_sq"):
                value = adam.state[reference][key]
                value[~rows] = old[key][~rows] if old else 0.0
        torch.testing.assert_close(table, reference)
    moments = sgd.network_moments(network)["encoder.body.embeddings.pieces.weight"]
    torch.testing.assert_close(moments["exp_avg"], adam.state[reference]["exp_avg"])
    assert float(moments["step"]) == 3.0


def test_a_gradient_that_is_not_finite_leaves_tables_as_they_are(bert: Path) -> None:
    nlp = pipeline(bert, encoder={"@misc": "spacy-transfer.StaticEncoder.v1", "width": 8})
    sgd = AdamW(learn_rate=0.01)
    nlp.update(exclusive_examples(nlp), sgd=sgd)
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp), sgd=False)
    network_of(nlp).encoder.body.embeddings.pieces.weight.grad[3, 0] = float("nan")
    nlp.get_pipe(nlp.pipe_names[-1]).finish_update(sgd)
    assert not moved(before, weights_of(nlp))
