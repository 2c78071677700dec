"""Every loss in a pipeline: trained through `nlp.update`, stored, copied, filled, solved."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from spacy.schemas import ConfigSchemaTraining

from house_kit.losses import CONTRAST, LOSSES, assert_alike, make, train
from house_kit.pipelines import add_classifier, merged, model_config, moved, pipeline, scores_of, shim_of, weights_of
from house_kit.repository import REPOSITORY
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, examples_of, exclusive_examples, multilabel_examples
from spacy_transfer.model.features.joining import Inputs

SOME = {"focal", "asymmetric", "squared earth mover", "R-Drop", "contrastive of several labels", "nested"}


@pytest.mark.parametrize("name", mostly_slow(LOSSES, but=SOME))
def test_it_trains_and_is_stored(name: str, bert: Path, tmp_path: Path) -> None:
    nlp, examples = make(bert, name)
    before = weights_of(nlp)
    first = train(nlp, examples, 1)
    assert {"head.output.weight", "encoder.body.embeddings.word_embeddings.weight"} <= moved(before, weights_of(nlp))
    train(nlp, examples, 12, learn_rate=5e-3)
    assert train(nlp, examples, 1, learn_rate=0.0) < 0.98 * first
    scores = scores_of(nlp, TEXTS)
    assert ((scores >= 0) & (scores <= 1)).all()
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    again = spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes())
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


@pytest.mark.parametrize("name", mostly_slow(LOSSES, but=SOME))
def test_fill_config(name: str, bert: Path, tmp_path: Path) -> None:
    """A short block is filled, and the filled config builds the same classifier."""
    multilabel, loss = LOSSES[name]
    nlp = spacy.blank("xx")
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
    from house_kit.commands import run

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
    nlp = spacy.blank("xx")
    for name, (multilabel, loss) in LOSSES.items():
        with pytest.raises(ValueError, match="T002"):
            add_classifier(nlp, bert, multilabel=not multilabel, name=f"a {name}", loss=loss)


@pytest.mark.parametrize("name", mostly_slow(LOSSES, but=SOME))
def test_the_head_is_solved_on_every_loss(name: str, quiet_bert: Path) -> None:
    multilabel, loss = LOSSES[name]
    found = []
    for start in ({}, {"@misc": "spacy-transfer.LinearProbe.v1", "Cs": [100.0]}):
        nlp = pipeline(quiet_bert, multilabel=multilabel, loss=loss, head_init=start, tuning={"frozen_depth": "all"})
        examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
        logits = shim_of(nlp).logits(Inputs(TEXTS))
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


def test_an_unknown_setting_is_refused(bert: Path) -> None:
    with pytest.raises(Exception, match="temprature"):
        spacy.registry.resolve({"model": {**model_config(bert), "loss": {**CONTRAST, "temprature": 1.0}}})


# ---- the project's configs ---------------------------------------------------------------------------------------

CONFIGS = REPOSITORY / "configs"


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="the project's configs are not part of the package")
@pytest.mark.parametrize(("file", "multilabel"), [("imbalanced", True), ("contrastive", False)])
def test_the_configs_fill_and_train_a_step(file: str, multilabel: bool, bert: Path) -> None:
    name = "transfer_textcat_multilabel" if multilabel else "transfer_textcat"
    config = spacy.util.load_config(CONFIGS / f"{file}.cfg", overrides={"paths.encoder": str(bert)}, interpolate=True)
    config["components"][name]["model"]["windows"] = {"length": 32, "stride": 20}
    config["initialize"]["components"] = {}
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    training = spacy.registry.resolve(nlp.config["training"], schema=ConfigSchemaTraining)
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    nlp.initialize(lambda: examples)
    before = weights_of(nlp)
    # The rate is 0 at step 0.
    training["optimizer"].step_schedules()
    nlp.update(examples, sgd=training["optimizer"], drop=training["dropout"])
    assert "encoder.body.encoder.layer.0.output.dense.weight" in moved(before, weights_of(nlp))
