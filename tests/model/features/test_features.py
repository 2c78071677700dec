"""Features joined to the document vector: none, several, stored, beside a shared encoder."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.cli.init_config import fill_config
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.features import LEARNED, SOLVED, STARS, TOK2VEC, layer_of, params, placed, starred, with_features
from house_kit.pipelines import add_classifier, network_of, pipeline, read_json, scores_of, weights_of
from house_kit.repository import REPOSITORY
from house_kit.runs import CNN
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer.model.features.layer import features_of, join_features
from spacy_transfer.model.show import draw
from spacy_transfer.training.adamw import AdamW

# ---- without -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features",
    [
        {"@layers": "spacy-transfer.NoFeatures.v1"},
        {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"a": {"@layers": "spacy-transfer.NoFeatures.v1"}}},
        None,
    ],
)
def test_no_features_change_nothing(bert: Path, features: Any) -> None:
    plain, neutral = pipeline(bert), pipeline(bert, features=features)
    for nlp in (plain, neutral):
        torch.manual_seed(1)
        nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-3), drop=0.1)
    one, other = weights_of(plain), weights_of(neutral)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert features_of(neutral.get_pipe("transfer_textcat").model) is None
    assert torch.equal(scores_of(plain, TEXTS), scores_of(neutral, TEXTS))


def test_a_pipeline_saved_before_there_were_features_loads(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    nlp.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    del config["components"]["transfer_textcat"]["model"]["features"]
    config.to_disk(tmp_path / "config.cfg")
    cfg = tmp_path / "transfer_textcat" / "cfg"
    state = read_json(cfg)
    del state["network"]["n_features"]
    cfg.write_text(json.dumps(state))
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), scores_of(nlp, TEXTS))


# ---- several, foreign and wrong ones -----------------------------------------------------------------------------


def test_several_side_by_side(quiet_bert: Path) -> None:
    block = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"cnn": TOK2VEC, "stars": STARS, "learned": LEARNED}}
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert, features=block)
    nlp.initialize(lambda: starred(nlp))
    docs = [example.predicted for example in starred(nlp)]
    layer = layer_of(nlp)
    parts = [part.predict(docs) for part in layer.layers[0].layers]
    assert [part.shape[1] for part in parts] == [8, 1, 3]
    np.testing.assert_array_equal(layer.predict(docs), np.hstack(parts))
    _, backprop = layer.begin_update(docs)
    gradient = np.zeros((len(docs), 12), dtype="f")
    gradient[0, 9:] = [1, 2, 3]
    backprop(gradient)
    np.testing.assert_array_equal(layer.layers[0].layers[2].get_grad("E")[0], [1, 2, 3])
    nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))
    copied = spacy.blank("xx").from_config(nlp.config)
    copied.from_bytes(nlp.to_bytes())
    one, other = (np.array([list(pipe(doc.copy()).cats.values()) for doc in docs]) for pipe in (nlp, copied))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_layers_of_others_will_do(quiet_bert: Path) -> None:
    """A plain chain of spaCy's and Thinc's layers, and one of ours inside."""
    reduce = {
        "@layers": "chain.v1",
        "*": {
            "cnn": CNN, "ragged": {"@layers": "list2ragged.v1"}, "mean": {"@layers": "reduce_mean.v1"},
        },
    }  # fmt: skip
    squeezed = {
        "@layers": "chain.v1",
        "*": {"stars": STARS, "linear": {"@layers": "Relu.v1", "nO": 4}},
    }
    for block, width in ((reduce, 8), (squeezed, 4)):
        nlp = with_features(quiet_bert, block, starred)
        assert layer_of(nlp).get_dim("nO") == width
        nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))


def test_layers_that_are_none(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T001.*'features'"):
        with_features(quiet_bert, {"@layers": "spacy-transfer.Head.v1"})
    with pytest.raises(ValueError, match="T221"):
        with_features(quiet_bert, CNN)
    with pytest.raises(ValueError, match="T221"):
        with_features(quiet_bert, {**TOK2VEC, "tok2vec": LEARNED})
    with pytest.raises(ValueError, match="T221"):
        join_features("text")  # type: ignore[arg-type]


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(quiet_bert: Path) -> Language:
    nlp = with_features(
        quiet_bert,
        {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"cnn": TOK2VEC, "stars": {**STARS, "missing": "mean"}}},
        starred,
    )
    nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))
    return nlp


def cats(nlp: Language) -> torch.Tensor:
    docs = [example.predicted for example in starred(nlp, 6)]
    return torch.tensor([list(nlp(doc).cats.values()) for doc in docs])


def test_saved_and_loaded(trained: Language, tmp_path: Path) -> None:
    wanted = cats(trained)
    trained.to_disk(tmp_path)
    folder = tmp_path / "transfer_textcat"
    assert (folder / "features.msgpack").is_file()
    loaded = spacy.load(tmp_path)
    assert torch.equal(cats(loaded), wanted)
    mine, theirs = params(layer_of(trained)), params(layer_of(loaded))
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    copies = [spacy.blank("xx").from_config(trained.config).from_bytes(trained.to_bytes())]
    copies.append(copy.deepcopy(trained))
    for other in copies:
        assert torch.equal(cats(other), wanted)
    # Another state is learned apart.
    loaded.update(starred(loaded), sgd=AdamW(learn_rate=1e-2))
    assert torch.equal(cats(trained), wanted)
    assert not torch.equal(cats(loaded), wanted)


def test_a_model_is_copied_with_its_features(trained: Language) -> None:
    model = trained.get_pipe("transfer_textcat").model
    docs = [example.predicted for example in starred(trained, 6)]
    twin = model.copy()
    np.testing.assert_allclose(twin.predict(docs), model.predict(docs), atol=1e-6)
    assert features_of(twin) is not features_of(model)


def test_a_damaged_file_of_features(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    path = tmp_path / "transfer_textcat" / "features.msgpack"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"T082.*features\.msgpack"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("features", [{"@layers": "spacy-transfer.NoFeatures.v1"}, STARS, TOK2VEC])
def test_other_features_than_were_saved(trained: Language, tmp_path: Path, features: Any) -> None:
    trained.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    config["components"]["transfer_textcat"]["model"]["features"] = features
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="T223"):
        spacy.load(tmp_path)


def test_features_where_none_were_saved(quiet_bert: Path, tmp_path: Path) -> None:
    pipeline(quiet_bert).to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    config["components"]["transfer_textcat"]["model"]["features"] = STARS
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="T223"):
        spacy.load(tmp_path)


def test_new_labels_leave_old_logits_alone(trained: Language) -> None:
    pipe = trained.get_pipe("transfer_textcat")
    docs = [example.predicted for example in starred(trained, 6)]
    before = pipe.model.predict(docs)
    pipe.add_label("new")
    np.testing.assert_allclose(pipe.model.predict(docs)[:, :3], before, atol=1e-6)
    trained.update(starred(trained), sgd=AdamW(learn_rate=1e-2))


def test_processes(trained: Language) -> None:
    docs = [example.predicted for example in starred(trained, 6)]
    alone = [list(doc.cats.values()) for doc in trained.pipe([doc.copy() for doc in docs])]
    several = [list(doc.cats.values()) for doc in trained.pipe([doc.copy() for doc in docs], n_process=2, batch_size=3)]
    np.testing.assert_allclose(several, alone, atol=1e-6)


def test_threads_and_batches_do_not_matter(trained: Language) -> None:
    docs = [example.predicted for example in starred(trained, 6)]
    pipe = trained.get_pipe("transfer_textcat")
    whole = pipe.predict(docs)
    np.testing.assert_allclose([pipe.predict([doc])[0] for doc in docs], whole, atol=1e-6)


# ---- on a shared encoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [None, SOLVED])
def test_features_beside_a_shared_encoder(quiet_bert: Path, tmp_path: Path, start: Any) -> None:
    pytest.importorskip("spacy_transformers")
    from house_kit.shared import add_shared, add_transformer
    from spacy_transfer.model.shared.attach import attach, detach

    torch.manual_seed(0)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    block = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"learned": LEARNED, "cnn": TOK2VEC}}
    add_shared(nlp, features=block, **({"head_init": start} if start else {}))
    nlp.initialize(lambda: placed(nlp))
    own = detach(nlp)
    examples, others = placed(nlp), placed(own)
    losses = [one.update(two, sgd=False)["transfer_textcat"] for one, two in ((nlp, examples), (own, others))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    mine, theirs = (list(layer_of(one).walk()) for one in (nlp, own))
    compared = 0
    for one, two in zip(mine, theirs, strict=True):
        for name in one.param_names:
            if one.has_grad(name):
                np.testing.assert_allclose(one.get_grad(name), two.get_grad(name), atol=1e-5)
                compared += 1
    assert compared > 3
    pipe = nlp.get_pipe("transfer_textcat")
    before = params(layer_of(nlp))
    pipe.finish_update(AdamW(learn_rate=1e-2))
    assert any(not np.array_equal(before[name], value) for name, value in params(layer_of(nlp)).items())
    nlp.to_disk(tmp_path)
    wanted = scores_of(nlp, TEXTS)
    for other in (spacy.load(tmp_path), detach(nlp), attach(detach(nlp))):
        torch.testing.assert_close(scores_of(other, TEXTS), wanted, atol=1e-5, rtol=0)
    docs = [nlp.get_pipe("transformer")(example.predicted) for example in examples]
    logits, _ = pipe.model.begin_update(docs)
    np.testing.assert_allclose(logits, pipe.model.predict(docs), atol=1e-5)


# ---- the shipped config ------------------------------------------------------------------------------------------


def test_the_shipped_config_trains_a_step(quiet_bert: Path, tmp_path: Path) -> None:
    DocBin(docs=[example.reference for example in exclusive_examples(spacy.blank("xx"))]).to_disk(tmp_path / "a.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    config = spacy.util.load_config(
        REPOSITORY / "configs" / "features.cfg",
        overrides={
            "paths.train": str(tmp_path / "a.spacy"), "paths.dev": str(tmp_path / "a.spacy"),
            "paths.labels": str(tmp_path / "labels.json"), "paths.encoder": str(quiet_bert),
            "training.max_steps": 2, "training.eval_frequency": 1,
        },
        interpolate=False,
    )  # fmt: skip
    config["components"]["transfer_textcat"]["model"]["windows"] = {
        "@misc": "spacy-transfer.Windows.v1", "length": 32, "stride": 20,
    }  # fmt: skip
    config.to_disk(tmp_path / "config.cfg")
    fill_config(tmp_path / "filled.cfg", tmp_path / "config.cfg")
    train(tmp_path / "filled.cfg", tmp_path / "out")
    nlp = spacy.load(tmp_path / "out" / "model-last")
    layer = layer_of(nlp)
    assert layer.get_dim("nO") == 96
    assert network_of(nlp).head.output.in_features == 16 + 96
    assert scores_of(nlp, TEXTS).isfinite().all()
    assert "features       96 numbers" in draw("transfer_textcat", nlp)
