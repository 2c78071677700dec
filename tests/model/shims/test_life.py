"""A component's life: built empty, initialized, saved, loaded, copied, moved to the next task."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from spacy.language import Language
from spacy.training import Example

from house_kit.pipelines import add_classifier, moved, network_of, pipeline, read_json, scores_of, shim_of, weights_of
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from house_kit.ways import WAYS, fresh
from spacy_transfer.model.shims.forking import _before
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.pipeline.interface import classifier_of
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to reach another machine fails the test, even where the error is caught."""
    tried: list[Any] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        tried.append(args)
        raise AssertionError(f"reached for the network: {args[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not tried


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    """A pipeline after two steps; tests leave it as it is."""
    nlp = pipeline(bert, tuning={"frozen_depth": 1})
    sgd = AdamW(learn_rate=1e-2)
    for _ in range(2):
        nlp.update(exclusive_examples(nlp), sgd=sgd)
    return nlp


@pytest.fixture(scope="module")
def saved(trained: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("saved")
    trained.to_disk(folder)
    return folder


# ---- before initialize -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
def test_building_needs_neither_network_nor_encoder() -> None:
    nlp = spacy.blank("xx")
    for factory in ("transfer_textcat", "transfer_textcat_multilabel"):
        pipe = nlp.add_pipe(factory)
        assert not pipe.model.shims[0].is_built
    nlp.add_pipe("transfer_textcat", name="other", config={"model": {"encoder": {"name": "no/such", "revision": None}}})
    assert spacy.util.load_model_from_config(nlp.config).pipe_names == nlp.pipe_names


def test_use_before_initialize(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert)
    for use in (
        lambda: nlp("text"),
        lambda: list(nlp.pipe(["text"])),
        lambda: nlp.get_pipe(NAME).update(exclusive_examples(nlp), sgd=AdamW()),
    ):
        with pytest.raises(ValueError, match=rf"T006.*'{NAME}'"):
            use()


def test_an_empty_component_is_saved_and_loaded(bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert).add_label("card")
    nlp.to_disk(tmp_path)
    for other in (spacy.load(tmp_path), fresh(nlp).from_bytes(nlp.to_bytes()), pickle.loads(pickle.dumps(nlp))):
        assert other.get_pipe(NAME).labels == ("card",)
        with pytest.raises(ValueError, match="T006"):
            other("text")


def test_initializing_twice_starts_anew(bert: Path) -> None:
    nlp = pipeline(bert)
    first = weights_of(nlp)
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-2))
    torch.manual_seed(0)
    nlp.initialize(lambda: exclusive_examples(nlp))
    assert not moved(first, weights_of(nlp))
    assert nlp.get_pipe(NAME).labels == tuple(LABELS)


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_scores_survive(way: str, trained: Language, tmp_path: Path) -> None:
    other = WAYS[way](trained, tmp_path)
    torch.testing.assert_close(scores_of(other, TEXTS), scores_of(trained, TEXTS), atol=1e-6, rtol=0.0)
    assert not moved(weights_of(trained), weights_of(other))
    assert other.get_pipe(NAME).cfg == trained.get_pipe(NAME).cfg
    assert shim_of(other).n_steps == 2
    assert shim_of(other).id != shim_of(trained).id


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_independent(way: str, trained: Language, tmp_path: Path) -> None:
    other = WAYS[way](trained, tmp_path)
    before = weights_of(trained)
    sgd = AdamW(learn_rate=1e-2)
    other.update(exclusive_examples(other), sgd=sgd)
    other.get_pipe(NAME).add_label("new")
    assert not moved(before, weights_of(trained))
    assert trained.get_pipe(NAME).labels == tuple(LABELS)


@pytest.mark.parametrize("way", WAYS)
def test_storing_moves_no_random_state(way: str, trained: Language, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    WAYS[way](trained, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_models_copy(trained: Language) -> None:
    model = trained.get_pipe(NAME).model
    other = model.copy()
    assert other.shims[0].id != model.shims[0].id
    # Nothing that the copy asks of itself reaches the original.
    assert (classifier_of(other).shim, classifier_of(model).shim) == (other.shims[0], model.shims[0])
    docs = list(map(trained.make_doc, TEXTS))
    torch.testing.assert_close(
        torch.tensor(other.predict(docs)), torch.tensor(model.predict(docs)), atol=1e-6, rtol=0.0
    )
    assert model.from_bytes(model.to_bytes()) is model


def test_saving_over_the_folder_it_came_from(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    again.to_disk(tmp_path)
    assert not moved(weights_of(trained), weights_of(spacy.load(tmp_path)))


@pytest.mark.usefixtures("no_network")
def test_a_saved_pipeline_needs_neither_network_nor_encoder(bert: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(bert, encoder)
    nlp = pipeline(encoder)
    wanted = scores_of(nlp, TEXTS)
    nlp.to_disk(tmp_path / "saved")
    data, config = nlp.to_bytes(), nlp.config
    shutil.rmtree(encoder)
    assert torch.equal(scores_of(spacy.load(tmp_path / "saved"), TEXTS), wanted)
    other = spacy.util.load_model_from_config(config, auto_fill=True).from_bytes(data)
    assert torch.equal(scores_of(other, TEXTS), wanted)
    other.update(exclusive_examples(other), sgd=AdamW())


def test_files_of_a_component(saved: Path) -> None:
    files = {file.relative_to(saved / NAME).as_posix() for file in (saved / NAME).rglob("*") if file.is_file()}
    assert files - {"LICENSE.encoder"} == {"cfg", "weights.safetensors", "tokenizer.json", "encoder.json"}
    for file in files:
        start = (saved / NAME / file).read_bytes()[:2]
        # Neither pickle nor torch's zip.
        assert start[:1] != b"\x80", file
        assert start != b"PK", file


def test_no_path_of_this_machine_is_saved(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(bert, tmp_path / "project" / "assets" / "encoder")
    monkeypatch.chdir(tmp_path / "project")
    for name in ("assets/encoder", str(tmp_path / "project" / "assets" / "encoder")):
        nlp = pipeline(name)
        nlp.to_disk("out")
        # spaCy's own config.cfg repeats what the user wrote.
        files = [
            f for f in Path("out").rglob("*") if f.is_file() and (name == "assets/encoder" or f.name != "config.cfg")
        ]
        assert len(files) > 5
        for file in files:
            assert str(tmp_path).encode() not in file.read_bytes(), file
        assert str(tmp_path).encode() not in nlp.get_pipe(NAME).to_bytes()


def test_nothing_of_the_encoder_stays_on_a_doc(trained: Language) -> None:
    doc = trained("the card is lost")
    assert doc.tensor.size == 0
    assert doc.user_data == {}
    assert not hasattr(doc._, "trf_data") or not doc._.has("trf_data") or doc._.trf_data is None
    assert doc.has_annotation("SENT_START") is False


# ---- damage ------------------------------------------------------------------------------------------------------


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: -(file.stat().st_size // 3)])


def _alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _alter, _empty, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "encoder.json"])
def test_damaged_files_are_refused(name: str, damage: Any, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    damage(tmp_path / "copy" / NAME / name)
    with pytest.raises(OSError, match=rf"T082.*{name}"):
        spacy.load(tmp_path / "copy")


@pytest.mark.parametrize("damage", [_cut, _empty, Path.unlink, lambda file: file.write_text("[]")])
def test_a_damaged_cfg_is_refused(damage: Any, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    damage(tmp_path / "copy" / NAME / "cfg")
    with pytest.raises(OSError, match=r"T082.*cfg"):
        spacy.load(tmp_path / "copy")


def test_weights_of_another_network_are_refused(saved: Path, tmp_path: Path) -> None:
    """Even with a checksum that fits."""
    import hashlib

    shutil.copytree(saved, tmp_path / "copy")
    file, cfg = tmp_path / "copy" / NAME / "weights.safetensors", tmp_path / "copy" / NAME / "cfg"
    for change in (
        lambda w: {n: v for n, v in w.items() if n != "head.output.bias"},
        lambda w: {n: v[:2] if n == "head.output.bias" else v for n, v in w.items()},
        lambda w: {**w, "more": torch.zeros(1)},
    ):
        save_file(change(load_file(saved / NAME / "weights.safetensors")), file)
        values = read_json(cfg)
        values["network"]["sha256"]["weights.safetensors"] = hashlib.sha256(file.read_bytes()).hexdigest()
        cfg.write_text(json.dumps(values))
        with pytest.raises(OSError, match="T082"):
            spacy.load(tmp_path / "copy")


@pytest.mark.parametrize("version", [2, 99, None])
def test_another_form_is_refused(version: int | None, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    cfg = tmp_path / "copy" / NAME / "cfg"
    cfg.write_text(json.dumps({**read_json(cfg), "format": version}))
    with pytest.raises(ValueError, match=rf"T083.*format {version}.*reads 1"):
        spacy.load(tmp_path / "copy")


# ---- other pipelines ---------------------------------------------------------------------------------------------


def test_a_sourced_component(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "one")
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe(NAME, source=spacy.load(tmp_path / "one"), name="topic")
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores_of(trained, TEXTS), atol=1e-6, rtol=0.0)
    losses = nlp.update(exclusive_examples(nlp), sgd=nlp.resume_training())
    assert set(losses) == {"topic"}
    nlp.to_disk(tmp_path / "two")
    assert torch.equal(scores_of(spacy.load(tmp_path / "two"), TEXTS), scores_of(nlp, TEXTS))


def test_a_sourced_components_new_labels_are_told(trained: Language, tmp_path: Path) -> None:
    """Nobody calls `initialize` of a sourced component, so nobody adds its new labels."""
    trained.to_disk(tmp_path)
    nlp = spacy.blank("xx")
    nlp.add_pipe(NAME, source=spacy.load(tmp_path))
    more = [*LABELS, "delivery"]
    examples = examples_of(nlp, ["the card", "box late"], [one_hot("card", more), one_hot("delivery", more)])
    with pytest.warns(UserWarning, match=rf"T038.*'{NAME}'.*\['delivery'\]"):
        losses = nlp.update(examples, sgd=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Told once; the text with a label of its own is learned, the other left out.
        again = nlp.update(examples[1:], sgd=False)
    assert losses[NAME] > 0
    assert again[NAME] == 0


def test_resumed_training_learns(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp), sgd=nlp.resume_training())
    assert moved(before, weights_of(nlp))
    nlp.rehearse(exclusive_examples(nlp))


def test_selected_pipes(trained: Language, bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="one")
    add_classifier(nlp, bert, name="two", multilabel=True)
    nlp.initialize(lambda: multilabel_free(nlp))
    with nlp.select_pipes(disable="one"):
        before = weights_of_all(nlp)
        nlp.update(multilabel_free(nlp), sgd=AdamW(learn_rate=1e-2))
        assert set(nlp("card").cats) == set(LABELS)
    assert not moved(before["one"], weights_of(nlp, "one"))
    assert moved(before["two"], weights_of(nlp, "two"))
    with nlp.select_pipes(enable=[]):
        assert nlp("card").cats == {}


def multilabel_free(nlp: Language) -> list[Example]:
    return exclusive_examples(nlp, 6)


def weights_of_all(nlp: Language) -> dict[str, dict[str, torch.Tensor]]:
    return {name: weights_of(nlp, name) for name in ("one", "two")}


# ---- from one task to the next -----------------------------------------------------------------------------------


def encoder_weights(nlp: Language, name: str | None = None) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights_of(nlp, name).items() if key.startswith("encoder.")}


@pytest.mark.parametrize("part", [".", NAME])
def test_an_encoder_is_taken_over(part: str, trained: Language, saved: Path) -> None:
    nlp = pipeline(saved / part, multilabel=True)
    assert not moved(encoder_weights(trained), encoder_weights(nlp))
    assert shim_of(nlp).tokenizer.text == shim_of(trained).tokenizer.text
    assert nlp.get_pipe("transfer_textcat_multilabel").labels == ("card", "late", "login", "money")
    nlp.update(multilabel_examples(nlp), sgd=AdamW(learn_rate=1e-2))


def test_every_family_is_taken_over(encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    for family in ("t5", "bart", "albert", "mpnet"):
        nlp = pipeline(encoder_folder(family))
        nlp.to_disk(tmp_path / family)
        other = pipeline(tmp_path / family)
        assert not moved(encoder_weights(nlp), encoder_weights(other))


def test_a_pipeline_with_several_of_ours_is_ambiguous(bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="one")
    add_classifier(nlp, bert, name="two")
    nlp.initialize(lambda: exclusive_examples(nlp))
    nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"T018.*one.*two"):
        PretrainedEncoder(str(tmp_path)).load()
    PretrainedEncoder(str(tmp_path / "two")).load()
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match=r"T018.*none"):
        PretrainedEncoder(str(tmp_path / "blank")).load()


def test_a_damaged_component_gives_no_encoder(saved: Path, tmp_path: Path) -> None:
    for damage in (_cut, _empty):
        shutil.copytree(saved, tmp_path / damage.__name__)
        damage(tmp_path / damage.__name__ / NAME / "weights.safetensors")
        with pytest.raises(OSError, match=r"T0(15|82).*weights.safetensors"):
            PretrainedEncoder(str(tmp_path / damage.__name__)).load()


# ---- processes ---------------------------------------------------------------------------------------------------


SCRIPT = """
import os, sys, torch, spacy
torch.set_num_threads(2)
nlp = spacy.load(sys.argv[1])
texts = ["the card is lost", "", "why is my login broken " * 30] * 40
for parallelism in (None, "true"):
    if parallelism:
        os.environ["TOKENIZERS_PARALLELISM"] = parallelism
    alone = [doc.cats for doc in nlp.pipe(texts)]
    doubled = [doc.cats for doc in nlp.pipe(texts, n_process=2, batch_size=20)]
    assert len(doubled) == len(texts)
    assert all(abs(a[l] - b[l]) < 1e-5 for a, b in zip(alone, doubled) for l in a)
    assert torch.get_num_threads() == 2
    print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_two_processes_after_the_parent_has_predicted(saved: Path) -> None:
    """Whether or not the environment says how tokenizers run."""
    env = {key: value for key, value in os.environ.items() if key != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(saved)], env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stdout.split() == ["done", "done"], done.stderr
    assert "fork" not in done.stderr, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("value", [None, "true", "false"])
def test_a_fork_leaves_the_parent_as_it_was(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        good = torch.get_num_threads() == 1 and os.environ["TOKENIZERS_PARALLELISM"] == "false"
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.environ.get("TOKENIZERS_PARALLELISM") == value
    assert not _before


def test_network_of_a_loaded_pipeline_is_in_evaluation_mode(saved: Path) -> None:
    nlp = spacy.load(saved)
    nlp("text")
    assert not network_of(nlp).training


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [-1, 1, "all"])
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_threads_do_not_disturb_each_other(bert: Path, frozen: Any, precision: str, tmp_path: Path) -> None:
    """As in a web server."""
    pipeline(bert, tuning={"frozen_depth": frozen}, precision=precision).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    wanted = scores_of(nlp, TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(lambda text: list(nlp(text).cats.values()), TEXTS))
            torch.testing.assert_close(
                torch.tensor(found), wanted, atol=1e-5 if precision == "fp32" else 1e-2, rtol=0.0
            )
