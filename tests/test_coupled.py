"""Training with every loss: through `nlp.update`, stored, filled; whole batches in the memory of a micro-batch."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from conftest import (
    TEXTS,
    add_classifier,
    examples_of,
    exclusive_examples,
    merged,
    model_config,
    moved,
    multilabel_examples,
    network_of,
    pipeline,
    scores_of,
    shim_of,
    weights_of,
)  # fmt: skip
from test_gradients import Exhausted, gradients_of

from spacy_transfer.model.coupled import is_plain
from spacy_transfer.training.adamw import AdamW


def block(name: str, inner: Any = None, **values: Any) -> dict[str, Any]:
    """The block of a loss."""
    return {"@losses": f"spacy-transfer.{name}.v1", **values, **({} if inner is None else {"loss": inner})}


CE, BCE = block("CrossEntropy"), block("BinaryCrossEntropy")
CONTRAST = block("SupervisedContrastive", CE, weight=0.7, temperature=0.5)
NESTED = block("RDrop", block("SupervisedContrastive", block("Mixup", CE, alpha=0.5)), alpha=0.5)
# Name: whether labels are independent, and the block.
LOSSES: dict[str, tuple[bool, dict[str, Any]]] = {
    "focal": (False, block("Focal", exclusive=True, class_weights="balanced")),
    "binary focal": (True, block("Focal", exclusive=False, gamma=1.0, class_weights="balanced")),
    "asymmetric": (True, block("Asymmetric", class_weights=[["card", 2.0]])),
    "squared error": (True, block("SquaredError")),
    "squared earth mover": (False, block("SquaredError", targets="ordinal")),
    "smooth L1": (True, block("SmoothL1", class_weights=[["card", 2.0]])),
    "smooth L1 of ranks": (False, block("SmoothL1", targets="ordinal", class_weights="balanced", beta=0.5)),
    "contrastive": (False, CONTRAST),
    "contrastive of several labels": (True, block("SupervisedContrastive", BCE)),
    "R-Drop": (False, block("RDrop", CE)),
    "R-Drop of several labels": (True, block("RDrop", block("Asymmetric"))),
    "mixup": (False, block("Mixup", CE)),
    "mixup of several labels": (True, block("Mixup", BCE, alpha=1.0)),
    "nested": (False, NESTED),
}
WHOLE = [name for name in LOSSES if list(LOSSES).index(name) >= list(LOSSES).index("contrastive")]
COUPLED = [name for name in WHOLE if not name.startswith("R-Drop")]


def make(folder: Path, name: str, **blocks: Any) -> tuple[Any, list[Any]]:
    """A pipeline with that loss, and its examples."""
    multilabel, loss = LOSSES[name]
    nlp = pipeline(folder, multilabel=multilabel, loss=loss, **blocks)
    return nlp, multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)


def train(nlp: Any, examples: list[Any], n_steps: int = 2, **options: Any) -> float:
    """A few steps. RETURNS: Sum of their losses."""
    sgd = AdamW(**{"learn_rate": 1e-2, "eps": 1e-3, **options})
    torch.manual_seed(7)
    losses: dict[str, float] = {}
    for _ in range(n_steps):
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses[nlp.pipe_names[0]]


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 5e-6) -> None:
    assert set(one) == set(other)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=atol, rtol=1e-4, msg=name)


# ---- every loss in a pipeline ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_it_trains_and_is_stored(name: str, bert: Path, tmp_path: Path) -> None:
    nlp, examples = make(bert, name)
    before = weights_of(nlp)
    first = train(nlp, examples, 1)
    assert {"head.output.weight", "encoder.body.embeddings.word_embeddings.weight"} <= moved(before, weights_of(nlp))
    train(nlp, examples, 25, learn_rate=5e-3)
    assert train(nlp, examples, 1, learn_rate=0.0) < 0.8 * first
    scores = scores_of(nlp, TEXTS)
    assert ((scores >= 0) & (scores <= 1)).all()
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert loaded.config["components"] == nlp.config["components"]
    for other in (loaded, again):
        assert torch.equal(scores_of(other, TEXTS), scores)
        assert shim_of(other).label_weights == shim_of(nlp).label_weights
        other.get_pipe(nlp.pipe_names[0]).add_label("new")
        label = {"new": 1.0} if LOSSES[name][0] else {"new": 1.0, "card": 0.0, "login": 0.0, "money": 0.0}
        assert np.isfinite(train(other, [*examples, *examples_of(other, ["a new one"], [label])], 1))
        assert "new" in other("card").cats


@pytest.mark.parametrize("name", ["nested", "squared error"])
def test_copies_keep_the_loss(name: str, bert: Path) -> None:
    nlp, examples = make(bert, name)
    model = nlp.get_pipe(nlp.pipe_names[0]).model
    wanted = train(nlp, examples, 1)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other.shims[0].loss) is type(model.shims[0].loss)
        assert other.shims[0].settings == model.shims[0].settings
    assert wanted > 0


@pytest.mark.parametrize("name", LOSSES)
def test_fill_config(name: str, bert: Path, tmp_path: Path) -> None:
    """A short block is filled, and the filled config builds the same classifier."""
    multilabel, loss = LOSSES[name]
    nlp = spacy.blank("en")
    add_classifier(nlp, bert, multilabel=multilabel, loss=loss)
    found = nlp.config["components"][nlp.pipe_names[0]]["model"]["loss"]
    assert merged(found, loss) == found
    inmost, depth = found, 0
    while "loss" in inmost:
        assert {"weight", "temperature"} <= set(inmost) or "alpha" in inmost
        inmost, depth = inmost["loss"], depth + 1
    assert "class_weights" in inmost
    assert ("label_smoothing" in inmost) == inmost["@losses"].endswith("CrossEntropy.v1")
    nlp.config.to_disk(tmp_path / "config.cfg")
    config = spacy.util.load_config(tmp_path / "config.cfg")
    assert spacy.util.load_model_from_config(config, auto_fill=False).config["components"] == nlp.config["components"]


def test_init_fill_config(bert: Path, tmp_path: Path) -> None:
    from test_commands import run

    lines = ["[nlp]", 'lang = "en"', 'pipeline = ["transfer_textcat"]', "[components]", "[components.transfer_textcat]",
             'factory = "transfer_textcat"', "[components.transfer_textcat.model]"]  # fmt: skip
    for path, name in (("loss", "RDrop"), ("loss.loss", "SupervisedContrastive"), ("loss.loss.loss", "Focal")):
        lines += [f"[components.transfer_textcat.model.{path}]", f'@losses = "spacy-transfer.{name}.v1"']
    lines += ["exclusive = true", "[components.transfer_textcat.model.encoder]", f"name = {json.dumps(str(bert))}"]
    (tmp_path / "short.cfg").write_text("\n".join(lines))
    run("init", "fill-config", tmp_path / "short.cfg", tmp_path / "full.cfg")
    model = spacy.util.load_config(tmp_path / "full.cfg")["components"]["transfer_textcat"]["model"]
    assert model["loss"]["alpha"] == 1.0
    assert model["loss"]["loss"]["temperature"] == 0.3
    assert model["loss"]["loss"]["loss"]["gamma"] == 2.0


def test_kinds_are_checked(bert: Path) -> None:
    for name, (multilabel, loss) in LOSSES.items():
        with pytest.raises(ValueError, match="T002"):
            add_classifier(spacy.blank("en"), bert, multilabel=not multilabel, name=f"a {name}", loss=loss)


@pytest.mark.parametrize("name", LOSSES)
def test_the_head_is_solved_on_every_loss(name: str, quiet_bert: Path) -> None:
    multilabel, loss = LOSSES[name]
    found = []
    for start in ("RandomStart", "SolvedStart"):
        blocks = {"start": {"@misc": f"spacy-transfer.{start}.v1"}, "tuning": {"frozen_depth": "all"}}
        nlp = pipeline(quiet_bert, multilabel=multilabel, loss=loss, **blocks)
        examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
        logits = shim_of(nlp).logits(TEXTS)
        value, gradient = nlp.get_pipe(nlp.pipe_names[0]).get_loss(examples, logits)
        assert gradient.shape == logits.shape
        found.append(value)
    assert found[1] < 0.8 * found[0]


def test_missing_labels_move_no_row_of_the_head(quiet_bert: Path) -> None:
    for name in LOSSES:
        if not LOSSES[name][0]:
            continue
        nlp, examples = make(quiet_bert, name)
        for example in examples:
            del example.reference.cats["late"]
        before = weights_of(nlp)
        train(nlp, examples, 1, weight_decay=0.0)
        rows = (weights_of(nlp)["head.output.weight"] != before["head.output.weight"]).any(dim=1)
        assert rows.tolist() == [label != "late" for label in nlp.get_pipe(nlp.pipe_names[0]).labels], name


def test_labels_of_no_use_to_the_classifier_are_left_out(quiet_bert: Path) -> None:
    """Documents without annotation change nothing where nothing is drawn."""
    found = []
    for n_blank in (0, 3):
        nlp, examples = make(quiet_bert, "contrastive of several labels")
        loss = train(nlp, [*examples, *examples_of(nlp, ["nothing known"] * n_blank, [{}] * n_blank)], 1)
        found.append((loss, weights_of(nlp)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert_alike(found[0][1], found[1][1])


# ---- whole batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_budgets_change_no_step(quiet_bert: Path, name: str, frozen: Any) -> None:
    """Mixup draws once for the batch, so its numbers do not depend on micro-batches either."""
    found = []
    for budget in (32, 200, 100_000):
        nlp, examples = make(quiet_bert, name, piece_budget=budget, tuning={"frozen_depth": frozen})
        found.append((train(nlp, examples), weights_of(nlp)))
    for loss, weights in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert_alike(found[0][1], weights)


def count_runs(nlp: Any) -> list[int]:
    """Pieces that the encoder gets, run by run, from now on."""
    sizes: list[int] = []
    body = network_of(nlp).encoder.body
    body.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True)
    return sizes


@pytest.mark.parametrize("name", WHOLE)
def test_one_micro_batch_runs_once_and_others_twice(name: str, bert: Path) -> None:
    nlp, examples = make(bert, name)
    sizes = count_runs(nlp)
    train(nlp, examples, 1)
    assert len(sizes) == 1
    nlp, examples = make(bert, name, piece_budget=64)
    sizes = count_runs(nlp)
    documents = shim_of(nlp).reader.read(TEXTS, remember=False)
    n_groups = len(list(shim_of(nlp).pathway.groups(documents, 64 // shim_of(nlp).loss.n_passes)))
    train(nlp, examples, 1)
    assert n_groups > 2
    assert len(sizes) == (2 * n_groups - 1 if name in COUPLED else n_groups)
    assert max(sizes) <= 64


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", COUPLED)
def test_the_second_run_draws_what_the_first_drew(name: str, bert: Path, checkpointing: bool) -> None:
    """Gradients with dropout are those of one graph over all micro-batches."""
    nlp, examples = make(bert, name, piece_budget=64, gradient_checkpointing=checkpointing)
    pipe, shim = nlp.get_pipe(nlp.pipe_names[0]), shim_of(nlp)
    torch.manual_seed(5)
    nlp.update(examples, drop=0.3, sgd=False)
    found = gradients_of(nlp)
    after = torch.rand(3)
    network_of(nlp).zero_grad()
    gold = pipe._gold(examples)
    documents = shim.reader.read(TEXTS, remember=True)
    groups = list(shim.pathway.groups(documents, 64 // shim.loss.n_passes))
    torch.manual_seed(5)
    with shim.network.headless():
        parts = [shim.pathway.learn(documents, group * shim.loss.n_passes, shim.reader) for group in groups]
    parts = [part.unflatten(0, (shim.loss.n_passes, -1)) for part in parts]
    vectors = torch.cat(parts, dim=1)[:, np.argsort(np.concatenate(groups))]
    targets, known = torch.from_numpy(gold.targets), torch.from_numpy(gold.known)
    shim.loss.of_batch(vectors, shim.network.classify, targets, known)[0].sum().backward()
    assert_alike(gradients_of(nlp), found, atol=1e-5)
    # What is drawn next is what would have come after one run.
    assert torch.equal(after, torch.rand(3))
    # With other draws it is another gradient: there was dropout.
    network_of(nlp).zero_grad()
    torch.manual_seed(6)
    nlp.update(examples, drop=0.3, sgd=False)
    other = gradients_of(nlp)["encoder.body.embeddings.word_embeddings.weight"]
    assert not torch.allclose(other, found["encoder.body.embeddings.word_embeddings.weight"], atol=1e-3)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("frozen", [1, "all"])
@pytest.mark.parametrize("cache", [{}, {"memory": 1000}])
def test_cached_is_uncached(name: str, quiet_bert: Path, frozen: Any, cache: dict[str, Any]) -> None:
    found = []
    for memory in (cache, {"memory": 0}):
        nlp, examples = make(quiet_bert, name, cache=memory, tuning={"frozen_depth": frozen}, piece_budget=200)
        train(nlp, examples, 3)
        found.append((weights_of(nlp), shim_of(nlp).pathway._features))
    assert found[0][1] is not None
    assert found[1][1] is None
    if not cache:
        assert found[0][1].hits > found[0][1].misses
    assert_alike(found[0][0], found[1][0], atol=1e-5)


@pytest.mark.parametrize("pooling", ["AttentionPooling", "MaxPooling", "ClsPooling"])
def test_contrast_moves_a_pooling_with_weights(pooling: str, quiet_bert: Path) -> None:
    found = []
    for weight in (0.0, 1.0):
        nlp = pipeline(
            quiet_bert, loss={**CONTRAST, "weight": weight}, tuning={"frozen_depth": "all"}, piece_budget=64,
            pooling={"@layers": f"spacy-transfer.{pooling}.v1"},
        )  # fmt: skip
        nlp.update(exclusive_examples(nlp), sgd=False)
        found.append(gradients_of(nlp))
    names = {name for name in found[0] if not torch.allclose(found[0][name], found[1][name], atol=1e-6)}
    assert all(name.startswith("pooling.") for name in names)
    assert bool(names) == (pooling == "AttentionPooling")


def test_contrast_draws_labels_together(quiet_bert: Path) -> None:
    """More than cross-entropy alone does."""
    found = []
    for weight in (0.0, 2.0):
        nlp = pipeline(quiet_bert, loss={**CONTRAST, "weight": weight})
        examples = exclusive_examples(nlp)
        train(nlp, examples, 15, learn_rate=3e-3)
        shim = shim_of(nlp)
        network_of(nlp).eval()
        points = torch.nn.functional.normalize(shim.pathway.vectors(TEXTS, shim.reader), dim=1)
        same = torch.arange(len(TEXTS))[:, None] % 3 == torch.arange(len(TEXTS)) % 3
        cosines = points @ points.T
        found.append(float(cosines[same].mean() - cosines[~same].mean()))
    assert found[1] > found[0] + 0.1


def test_r_drop_makes_passes_agree(bert: Path) -> None:
    """The head's dropout alone is enough for a difference."""
    found = []
    for alpha in (0.0, 5.0):
        nlp = pipeline(bert, loss=block("RDrop", CE, alpha=alpha), head={"dropout": 0.3})
        train(nlp, exclusive_examples(nlp), 20, learn_rate=3e-3)
        network, shim = network_of(nlp), shim_of(nlp)
        network.train()
        documents = shim.reader.read(TEXTS, remember=True)
        torch.manual_seed(0)
        with torch.no_grad():
            logits = shim.pathway.learn(documents, list(range(len(TEXTS))) * 20, shim.reader)
        found.append(float(logits.softmax(dim=1).view(20, len(TEXTS), 3).std(dim=0).mean()))
    assert found[1] < 0.7 * found[0]


# ---- memory, scale, accumulation, repeatability ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contrastive", "R-Drop"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_step_that_ran_out_of_memory_is_run_again(name: str, quiet_bert: Path, earlier: bool) -> None:
    blocks: dict[str, Any] = {"piece_budget": 64, "windows": {"length": 16, "stride": 12}}
    (plain, examples), (failing, _) = make(quiet_bert, name, **blocks), make(quiet_bert, name, **blocks)
    if earlier:
        for nlp in (plain, failing):
            nlp.update(examples[12:18], sgd=False)
    Exhausted(failing, {1})
    losses = [nlp.update(examples[:12], sgd=False)["transfer_textcat"] for nlp in (plain, failing)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert_alike(gradients_of(plain), gradients_of(failing), atol=1e-5)


@pytest.mark.parametrize("name", ["contrastive", "R-Drop", "mixup"])
def test_a_loss_scale_changes_nothing(name: str, quiet_bert: Path) -> None:
    found = []
    for scale in (1.0, 1024.0):
        nlp, examples = make(quiet_bert, name, piece_budget=64)
        gradients = shim_of(nlp).gradients
        gradients.half, gradients.loss_scale = scale != 1.0, scale
        sgd = AdamW(learn_rate=1e-2, eps=1e-3)
        torch.manual_seed(1)
        # Two parts of a step: each is a batch of its own, both are counted once.
        for begin in (0, 12):
            nlp.update(examples[begin : begin + 12], sgd=False)
        nlp.get_pipe(nlp.pipe_names[0]).finish_update(sgd)
        found.append(weights_of(nlp))
    assert_alike(found[0], found[1])


@pytest.mark.parametrize("name", ["nested", "mixup", "R-Drop"])
def test_the_same_seed_gives_the_same_weights(name: str, bert: Path) -> None:
    found = []
    for _ in range(2):
        nlp, examples = make(bert, name, piece_budget=64)
        spacy.util.fix_random_seed(3)
        sgd = AdamW(learn_rate=1e-2)
        for _ in range(3):
            nlp.update(examples, sgd=sgd, drop=0.2)
        found.append(weights_of(nlp))
    assert not moved(found[0], found[1])


def test_neutral_wrappers_change_no_bit_of_a_step(quiet_bert: Path) -> None:
    found = []
    for loss in (CE, block("SupervisedContrastive", CE, weight=0.0), block("Mixup", CE, alpha=0.0)):
        nlp = pipeline(quiet_bert, loss=loss)
        assert is_plain(shim_of(nlp).loss) == (loss is CE)
        train(nlp, exclusive_examples(nlp), 3)
        found.append(weights_of(nlp))
    for other in found[1:]:
        assert_alike(found[0], other, atol=1e-7)


# ---- heads -------------------------------------------------------------------------------------------------------


def test_a_head_that_reads_states_goes_with_no_coupled_loss(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_transfer.nn.head import LabelHead

    monkeypatch.setattr(LabelHead, "reads", "states")
    for name in COUPLED:
        with pytest.raises(ValueError, match=r"T100.*LabelHead"):
            make(bert, name)
    for name in set(LOSSES) - set(COUPLED):
        make(bert, name)


@pytest.mark.parametrize("name", ["contrastive", "nested"])
def test_hidden_layers_and_dropout_of_the_head(name: str, quiet_bert: Path) -> None:
    found = []
    for budget in (64, 100_000):
        nlp, examples = make(quiet_bert, name, piece_budget=budget, head={"hidden": [8], "dropout": 0.4})
        torch.manual_seed(2)
        found.append((nlp.update(examples, sgd=False), gradients_of(nlp)))
    # The head draws once for the whole batch, in the order of the documents.
    assert found[0][0]["transfer_textcat"] == pytest.approx(found[1][0]["transfer_textcat"], rel=1e-5)
    assert_alike(found[0][1], found[1][1], atol=1e-5)


def test_an_unknown_setting_is_refused(bert: Path) -> None:
    with pytest.raises(Exception, match="temprature"):
        spacy.registry.resolve({"model": {**model_config(bert), "loss": {**CONTRAST, "temprature": 1.0}}})
