"""Which weights move, when and how fast."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from thinc.api import Adam, ConfigValidationError, RAdam, decaying, registry, warmup_linear

from house_kit.encoders import write_encoder
from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.epochs import make_set_epoch

# The tiny BERT has three layers: the head is depth 4.
HEAD = 4


def step(nlp: Language, optimizer: Any = None, n: int = 6) -> None:
    nlp.update(exclusive_examples(nlp, n), sgd=optimizer or AdamW(learn_rate=1e-2, weight_decay=0.1))


def depths_that_move(nlp: Language, optimizer: Any = None) -> set[int]:
    before = weights_of(nlp)
    step(nlp, optimizer)
    return {network_of(nlp).depth_of(name) for name in moved(before, weights_of(nlp))}


# ---- frozen depth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "depths"),
    [(-1, {0, 1, 2, 3, 4}), (0, {1, 2, 3, 4}), (1, {2, 3, 4}), (2, {3, 4}), (3, {4}), ("all", {4})],
)
@pytest.mark.parametrize("optimizer", mostly_slow([AdamW, Adam, RAdam], but=[AdamW]))
def test_frozen_depths_do_not_move(bert: Path, frozen: Any, depths: set[int], optimizer: Any) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": frozen})
    sgd = optimizer(learn_rate=1e-2) if optimizer is AdamW else optimizer(1e-2, L2=0.1, L2_is_weight_decay=True)
    before = weights_of(nlp)
    for _ in range(3):
        step(nlp, sgd)
    network = network_of(nlp)
    assert {network.depth_of(name) for name in moved(before, weights_of(nlp))} == depths
    assert {network.depth_of(n) for n, w in network.named_parameters() if w.requires_grad} == depths


def test_frozen_weights_have_no_gradient(bert: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": 1})
    nlp.update(exclusive_examples(nlp, 6), sgd=False)
    network = network_of(nlp)
    for name, weight in network.named_parameters():
        assert (weight.grad is None) == (network.depth_of(name) <= 1), name


@pytest.mark.parametrize("frozen", [4, 24])
def test_too_many_frozen_layers(bert: Path, frozen: int) -> None:
    with pytest.raises(ValueError, match=rf"T061.*Cannot freeze {frozen} layers.*has 3\..*-1 .*1 to 3"):
        pipeline(bert, tuning={"frozen_depth": frozen})


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"frozen_depth": -2}, "T005"), ({"lr_decay": 0.0}, "T005"), ({"lr_decay": 1.5}, "T005"),
        ({"head_lr_factor": 0.0}, "T005"), ({"embeddings_lr_factor": 0.0}, "T005"), ({"unfreeze_every": -1}, "T005"),
        ({"unfreeze_down_to": -2}, "T005"), ({"frozen_depth": 1, "unfreeze_every": 1, "unfreeze_down_to": 2}, "T062"),
    ],
)  # fmt: skip
def test_settings_out_of_range(bert: Path, values: dict[str, Any], code: str) -> None:
    with pytest.raises(ValueError, match=code):
        pipeline(bert, tuning=values)


@pytest.mark.parametrize(
    "values", [{"frozen_depth": "most"}, {"trainable": "norms"}, {"frozen": 1}, {"unfreeze_unit": "days"}]
)
def test_unknown_keys_and_choices(bert: Path, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigValidationError):
        pipeline(bert, tuning=values)


def test_numbers_may_come_as_text(bert: Path) -> None:
    """The config system hands "0.5" to a float as it is."""
    tuning = {"lr_decay": "0.5", "head_lr_factor": "2"}
    nlp = pipeline(bert, tuning=tuning, head={"dropout": "0.2"}, loss={"label_smoothing": "0.1"})
    step(nlp)
    assert shim_of(nlp).settings.tuning.lr_decay == 0.5
    assert shim_of(nlp).settings.head.dropout == 0.2


# ---- bias and norm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [-1, 1])
def test_bias_and_norm_move_alone(bert: Path, frozen: int) -> None:
    nlp = pipeline(bert, tuning={"trainable": "bias_and_norm", "frozen_depth": frozen})
    network = network_of(nlp)
    before = weights_of(nlp)
    step(nlp)
    changed = moved(before, weights_of(nlp))
    in_encoder = {name for name in changed if network.depth_of(name) < HEAD}
    assert in_encoder
    assert all(before[name].ndim == 1 for name in in_encoder)
    assert {network.depth_of(name) for name in in_encoder} == set(range(frozen + 1, 4))
    still = {n for n in before if before[n].ndim == 1 and network.depth_of(n) > frozen} - changed
    # A key's bias shifts all scores of a softmax alike: its gradient is zero.
    assert all(name.endswith("key.bias") for name in still), still
    assert {"head.output.weight", "head.output.bias"} <= changed


# ---- dropout -----------------------------------------------------------------------------------------------------


def test_frozen_modules_are_in_evaluation_mode(bert: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": 1}, head={"dropout": 0.5})
    network = network_of(nlp)
    step(nlp)
    modes = {name: module.training for name, module in network.named_modules() if isinstance(module, torch.nn.Dropout)}
    for name, training in modes.items():
        assert training == (network.depth_of(name + ".") > 1), name
    assert {False, True} == set(modes.values())
    nlp("a text")
    assert not any(module.training for module in network.modules())


def test_training_dropout_goes_to_the_head_alone(bert: Path) -> None:
    nlp = pipeline(bert)
    network = network_of(nlp)
    own = [m.p for m in network.encoder.modules() if isinstance(m, torch.nn.Dropout)]
    nlp.update(exclusive_examples(nlp, 3), sgd=False, drop=0.3)
    assert [m.p for m in network.encoder.modules() if isinstance(m, torch.nn.Dropout)] == own
    assert [m.p for m in network.head.modules() if isinstance(m, torch.nn.Dropout)] == [0.3]


def test_a_heads_own_dropout_counts(bert: Path) -> None:
    nlp = pipeline(bert, head={"dropout": 0.4, "hidden": [8]})
    nlp.update(exclusive_examples(nlp, 3), sgd=False, drop=0.1)
    assert [m.p for m in network_of(nlp).head.modules() if isinstance(m, torch.nn.Dropout)] == [0.4, 0.4]


# ---- unfreezing --------------------------------------------------------------------------------------------------


def test_unfreezing_by_steps(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": "all", "unfreeze_every": 2, "unfreeze_down_to": 0})
    lowest = []
    for _ in range(5):
        lowest.append(min(depths_that_move(nlp)))
    assert lowest == [4, 4, 3, 3, 2]
    # The steps are stored with the model: the sixth is the second at this depth.
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    from_bytes = spacy.util.load_model_from_config(nlp.config, auto_fill=True).from_bytes(nlp.to_bytes())
    for other in (nlp, again, from_bytes, pickle.loads(pickle.dumps(nlp)), copy.deepcopy(nlp)):
        assert [min(depths_that_move(other)) for _ in range(4)] == [2, 1, 1, 1]


def test_batches_without_a_step_unfreeze_nothing(bert: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": "all", "unfreeze_every": 1})
    for _ in range(3):
        nlp.update(exclusive_examples(nlp, 3), sgd=False)
    nlp.get_pipe("transfer_textcat").finish_update(AdamW())
    assert shim_of(nlp).n_steps == 1


@pytest.mark.parametrize("cache", [{}, {"memory": 0}])
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_predictions_follow_the_unfreezing(bert: Path, tmp_path: Path, cache: dict[str, Any], precision: str) -> None:
    """After every step the pipeline in training predicts what it would when saved and loaded."""
    nlp = pipeline(
        bert, tuning={"frozen_depth": 3, "unfreeze_every": 1}, cache=cache, precision=precision, head={"hidden": [8]}
    )
    optimizer = AdamW(learn_rate=3e-2)
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    for i in range(6):
        step(nlp, optimizer, n=24)
        nlp.to_disk(tmp_path / str(i))
        wanted = scores_of(spacy.load(tmp_path / str(i)), TEXTS)
        torch.testing.assert_close(scores_of(nlp, TEXTS), wanted, atol=tolerance, rtol=0.0, msg=f"after step {i + 1}")


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_freezing_again_forgets_what_was_computed_before(bert: Path, tmp_path: Path, precision: str) -> None:
    """A second training of the same object starts at epoch 0, on weights that the first has moved."""
    tuning = {"frozen_depth": 2, "unfreeze_every": 1, "unfreeze_unit": "epochs"}
    nlp = pipeline(bert, tuning=tuning, precision=precision)
    pipe = nlp.get_pipe("transfer_textcat")
    for epoch in (0, 3, 0):
        pipe.set_epoch(epoch)
        step(nlp, AdamW(learn_rate=3e-2), n=24)
    nlp.to_disk(tmp_path)
    wanted = scores_of(spacy.load(tmp_path), TEXTS)
    torch.testing.assert_close(scores_of(nlp, TEXTS), wanted, atol=1e-5 if precision == "fp32" else 1e-2, rtol=0.0)


EPOCHS = {"frozen_depth": 3, "unfreeze_every": 1, "unfreeze_unit": "epochs", "unfreeze_down_to": 1}


def test_unfreezing_by_epochs_must_be_told(bert: Path) -> None:
    nlp = pipeline(bert, tuning=EPOCHS)
    with pytest.raises(ValueError, match=r"T063.*(?s:.*)set_epoch"):
        step(nlp)
    tell = make_set_epoch()
    lowest = []
    for epoch in range(4):
        tell(nlp, {"epoch": epoch})
        lowest.append(min(depths_that_move(nlp)))
    assert lowest == [4, 3, 2, 2]


def test_a_copy_stands_at_the_same_epoch(bert: Path) -> None:
    nlp = pipeline(bert, tuning=EPOCHS)
    make_set_epoch()(nlp, {"epoch": 2})
    for other in (copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))):
        assert min(depths_that_move(other)) == 2


def test_the_callback_passes_by_other_components(bert: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    make_set_epoch()(nlp, {"epoch": 1})


def train_config(bert: Path, tuning: dict[str, Any], **training: Any) -> dict[str, Any]:
    nlp = spacy.blank("xx")
    nlp.add_pipe("transfer_textcat", config={"model": {
        "encoder": {"name": str(bert), "revision": None}, "tuning": tuning, "precision": "fp32",
        "windows": {"length": 32, "stride": 20},
    }})  # fmt: skip
    config = nlp.config.copy()
    config["training"].update({"max_epochs": 3, "eval_frequency": 100, "patience": 0, "max_steps": 0, **training})
    config["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 8}
    config["training"]["optimizer"] = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 1e-3}
    return config


@pytest.mark.parametrize("told", [True, False])
def test_unfreezing_by_epochs_in_spacys_own_loop(bert: Path, tmp_path: Path, told: bool) -> None:
    from spacy.cli.train import train
    from spacy.tokens import DocBin

    blank = spacy.blank("xx")
    docs = DocBin(docs=[example.reference for example in exclusive_examples(blank)], store_user_data=True)
    docs.to_disk(tmp_path / "train.spacy")
    config = train_config(bert, EPOCHS)
    if told:
        config["training"]["before_update"] = {"@callbacks": "spacy-transfer.set_epoch.v1"}
    config["paths"] |= {"train": str(tmp_path / "train.spacy"), "dev": str(tmp_path / "train.spacy")}
    config.to_disk(tmp_path / "config.cfg")
    if not told:
        with pytest.raises(ValueError, match="T063"):
            train(tmp_path / "config.cfg", tmp_path / "out")
        return
    train(tmp_path / "config.cfg", tmp_path / "out")
    start = pipeline(bert)
    after = weights_of(spacy.load(tmp_path / "out" / "model-last"))
    network = network_of(start)
    changed = {network.depth_of(name) for name in moved(weights_of(start), after)}
    # Three epochs: the head, then layer 3, then layer 2.
    assert changed == {2, 3, 4}


# ---- rates -------------------------------------------------------------------------------------------------------

WANTED = {0: 0.25, 1: 0.25, 2: 0.5, 3: 1.0, 4: 5.0}


@pytest.mark.parametrize("optimizer", ["AdamW.v1", "Adam.v1", "RAdam.v1", "SGD.v1"])
def test_rates_per_depth(tmp_path: Path, optimizer: str) -> None:
    """The first step of each depth is its factor times the step it makes at the full rate."""
    bert = write_encoder(tmp_path, "bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    steps = []
    for tuning in ({}, {"lr_decay": 0.5, "head_lr_factor": 5.0, "embeddings_lr_factor": 2.0}):
        if optimizer == "AdamW.v1":
            sgd = AdamW(learn_rate=1e-3, weight_decay=0.0, grad_clip=0.0)
        else:
            # RAdam begins as SGD does: a step is as small as the gradient.
            rate = 1e-3 if optimizer == "Adam.v1" else 1e-1
            sgd = registry.get("optimizers", optimizer)(learn_rate=rate, L2=0.0, grad_clip=0.0, use_averages=False)
        nlp = pipeline(bert, tuning=tuning)
        before = weights_of(nlp)
        step(nlp, sgd)
        after = weights_of(nlp)
        steps.append({name: (after[name] - before[name]).double().norm().item() for name in before})
    full, scaled = steps
    network = network_of(pipeline(bert))
    seen = set()
    for name, size in full.items():
        # A step of rounding size says nothing.
        if size > 1e-5:
            depth = network.depth_of(name)
            seen.add(depth)
            assert scaled[name] / size == pytest.approx(WANTED[depth], rel=2e-2), name
    assert seen == set(WANTED)


def test_decay_follows_the_rate(bert: Path) -> None:
    """Decoupled decay is a share of the rate, so it too is smaller below."""
    nlp = pipeline(bert, tuning={"lr_decay": 0.5})
    network = network_of(nlp)
    before = weights_of(nlp)
    unused = "encoder.body.embeddings.word_embeddings.weight"
    used = {i for rows in shim_of(nlp).reader.read(TEXTS[:6], remember=False) for row in rows for i in row.ids.tolist()}
    row = min(set(range(60, 90)) - used)
    step(nlp, AdamW(learn_rate=1e-1, weight_decay=0.1))
    factor = (weights_of(nlp)[unused][row] / before[unused][row]).mean().item()
    assert factor == pytest.approx(1 - 1e-1 * 0.1 * 0.5**3, rel=1e-4)
    assert network.depth_of(unused) == 0


@pytest.mark.parametrize(
    "schedule",
    [lambda: warmup_linear(1e-2, 2, 6), lambda: decaying(1e-2, 1e-1), lambda: [1e-2, 1e-3, 0.0], lambda: 1e-2],
)
@pytest.mark.parametrize("optimizer", [AdamW, Adam])
def test_any_schedule_of_thinc(bert: Path, schedule: Any, optimizer: Any) -> None:
    """Schedules are used up, so each run makes its own."""
    nlp = pipeline(bert, tuning={"frozen_depth": 1})
    sgd = optimizer(learn_rate=schedule()) if optimizer is AdamW else optimizer(schedule())
    for _ in range(4):
        before, rate = weights_of(nlp), float(sgd.learn_rate)
        step(nlp, sgd)
        assert bool(moved(before, weights_of(nlp))) == (rate > 0)
        assert float(sgd.learn_rate) == rate
        sgd.step_schedules()


def test_a_schedule_that_starts_at_zero_moves_nothing_first(bert: Path) -> None:
    nlp = pipeline(bert)
    sgd = AdamW(learn_rate=warmup_linear(1e-2, 2, 6))
    assert depths_that_move(nlp, sgd) == set()
    sgd.step_schedules()
    assert depths_that_move(nlp, sgd) == {0, 1, 2, 3, 4}


# ---- survival ----------------------------------------------------------------------------------------------------


def test_freezing_survives_storage_and_copies(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": 2})
    step(nlp)
    nlp.to_disk(tmp_path)
    config = nlp.config
    others = {
        "disk": spacy.load(tmp_path),
        "bytes": spacy.util.load_model_from_config(config, auto_fill=True).from_bytes(nlp.to_bytes()),
        "pickle": pickle.loads(pickle.dumps(nlp)),
        "deepcopy": copy.deepcopy(nlp),
    }
    for how, other in others.items():
        assert depths_that_move(other) == {3, 4}, how
        assert network_of(other).boundary == 2, how


def test_new_labels_leave_the_freezing(bert: Path) -> None:
    nlp = pipeline(bert, multilabel=True, tuning={"frozen_depth": 2})
    nlp.get_pipe("transfer_textcat_multilabel").add_label("new")
    before = weights_of(nlp)
    nlp.update(multilabel_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    assert {network_of(nlp).depth_of(name) for name in moved(before, weights_of(nlp))} == {3, 4}


# ---- the table ---------------------------------------------------------------------------------------------------


def test_the_table_counts_every_weight_once(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": 1, "lr_decay": 0.5, "head_lr_factor": 3.0})
    rows = shim_of(nlp).describe()
    assert [row.name for row in rows] == ["pooling, head", "layer 3", "layer 2", "layer 1", "embeddings"]
    assert [row.lr_factor for row in rows] == [3.0, 1.0, 0.5, 0.25, 0.125]
    assert sum(row.n_weights for row in rows) == sum(w.numel() for w in network_of(nlp).parameters())
    assert [row.n_trainable == row.n_weights for row in rows] == [True, True, True, False, False]
    assert "Trainable weights of 'transfer_textcat'" in caplog.text
    assert "frozen" in caplog.text
    assert caplog.text.count("Trainable weights of") == 1
