"""Exported to ONNX Runtime: the same scores as torch, without torch, and nothing else changes."""

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from house_kit.commands import run
from house_kit.features import STARS, TOK2VEC, give, with_features
from house_kit.pipelines import pipeline, read_json, scores_of
from house_kit.scratches import classifier
from house_kit.shared import shared_pipeline
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer import cli, explain, export
from spacy_transfer.serving.apply.scoring import DirectScoring, make_scoring

# Short and long ones, so that documents have one row and several; none at all, and what no vocabulary has.
SOME = [*TEXTS[:5], "", " \n ", "the card is lost and " * 30, "\u4e2d\u6587 \U0001f600", "refund " * 70]
# Rounding of another order of sums.
NEAR = 1e-4


def exported(nlp: Language, folder: Path, **options: Any) -> Language:
    """A pipeline, exported and loaded."""
    nlp.to_disk(folder / "torch")
    export(folder / "torch", folder / "onnx", **options)
    return spacy.load(folder / "onnx")


def docbin(nlp: Language, path: Path, n: int = 24) -> Path:
    """Annotated texts in a file."""
    DocBin(docs=[eg.reference for eg in exclusive_examples(nlp, n)], store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    return pipeline(bert)


@pytest.fixture(scope="module")
def folder(trained: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an exported pipeline; the one that it was made from is next to it."""
    place = tmp_path_factory.mktemp("exported")
    exported(trained, place)
    return place / "onnx"


@pytest.fixture
def nlp(folder: Path) -> Language:
    return spacy.load(folder)


# ---- scores ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_torch(trained: Language, nlp: Language) -> None:
    torch.testing.assert_close(scores_of(nlp, SOME), scores_of(trained, SOME), atol=NEAR, rtol=0)
    docs = list(nlp.pipe(SOME))
    assert all(list(doc.cats) == LABELS for doc in docs)
    want, found = (
        one.get_pipe("transfer_textcat").vectors([one.make_doc(text) for text in SOME]) for one in (trained, nlp)
    )
    np.testing.assert_allclose(found, want, atol=1e-3)


CASES: dict[str, dict[str, Any]] = {
    "roberta": {"pooling": {"@layers": "spacy-transfer.ClsPooling.v1"}},
    "distilbert": {"pooling": {"@layers": "spacy-transfer.MaxPooling.v1"}, "head": {"hidden": [8], "norm": True}},
    "albert": {
        "pooling": {"@layers": "spacy-transfer.AttentionPooling.v1"}, "windows": {"length": 16, "keep": "head_tail"}
    },
    "mpnet": {"head": {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2, "self_attention": True}},
    "modernbert": {
        "text": {"normalization": {"@misc": "spacy-transfer.Normalization.v1", "lower": True, "urls": "http"}},
        "windows": {"length": 12, "stride": 7},
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*T025")
@pytest.mark.parametrize(("family", "blocks"), CASES.items(), ids=CASES.keys())
def test_families_and_blocks(
    family: str, blocks: dict[str, Any], encoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    nlp = pipeline(encoder_folder(family), **blocks)
    found = exported(nlp, tmp_path)
    torch.testing.assert_close(scores_of(found, SOME), scores_of(nlp, SOME), atol=NEAR, rtol=0)


def with_lora(bert: Path) -> Language:
    pytest.importorskip("peft")
    return pipeline(bert, tuning={"frozen_depth": 0, "adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 2}})


def with_stars(bert: Path) -> Language:
    if not Doc.has_extension("n_stars"):
        Doc.set_extension("n_stars", default=0)
    return with_features(bert, STARS)


MORE: dict[str, Callable[[Path], Language]] = {
    "an adapter": with_lora, "an attribute beside the text": with_stars, "from scratch": lambda bert: classifier(),
    "a tok2vec of spaCy's": lambda bert: with_features(bert, TOK2VEC),
}  # fmt: skip


@pytest.mark.parametrize("make", mostly_slow(MORE.values(), but=[with_stars, with_lora]), ids=MORE.keys())
def test_what_is_not_a_plain_encoder(make: Callable[[Path], Language], bert: Path, tmp_path: Path) -> None:
    """After a step, so that an adapter is not zero."""
    nlp = make(bert)
    nlp.update(exclusive_examples(nlp))
    found = exported(nlp, tmp_path)
    torch.testing.assert_close(scores_of(found, SOME), scores_of(nlp, SOME), atol=NEAR, rtol=0)
    if Doc.has_extension("n_stars"):
        want, got = (list(one(give([one.make_doc("the card")], [2])[0]).cats.values()) for one in (nlp, found))
        np.testing.assert_allclose(got, want, atol=NEAR)


def test_a_shared_encoder_is_refused(bert: Path, tmp_path: Path) -> None:
    """Nothing is written; the way out is named."""
    shared_pipeline(bert).to_disk(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"T542.*transfer_textcat.*spacy transfer detach"):
        export(tmp_path / "shared", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_any_number_of_labels_and_one_that_waits(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, multilabel=True)
    nlp.get_pipe("transfer_textcat_multilabel").add_label("new")
    found = exported(nlp, tmp_path)
    torch.testing.assert_close(scores_of(found, SOME), scores_of(nlp, SOME), atol=NEAR, rtol=0)
    assert found("the card").cats["new"] == 0.0


def test_texts_go_straight_to_the_network(nlp: Language) -> None:
    scoring = make_scoring(nlp, keeps_docs=False)
    assert isinstance(scoring, DirectScoring)


# ---- a pipeline like any other -----------------------------------------------------------------------------------


def test_it_is_explained_by_occlusion(trained: Language, nlp: Language) -> None:
    text = "my card is lost. the bill is late"
    with pytest.raises(ValueError, match=r"T741.*ONNX Runtime.*occlusion"):
        explain(nlp, [text], method="gradients")
    (found,), (ours,) = explain(nlp, [text]), explain(trained, [text], method="occlusion")
    for one, other in zip(found.explanations[0].words, ours.explanations[0].words, strict=True):
        assert one.value == pytest.approx(other.value, abs=NEAR)


def test_every_way_to_keep_and_copy_it(nlp: Language, folder: Path, tmp_path: Path) -> None:
    want = scores_of(nlp, SOME)
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    by_bytes = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    other = spacy.blank("xx", vocab=nlp.vocab)
    other.add_pipe("transfer_textcat", source=nlp)
    copied = spacy.load(folder)
    copied.get_pipe("transfer_textcat").model = copy.deepcopy(nlp.get_pipe("transfer_textcat").model)
    for one in (again, by_bytes, other, copied, pickle.loads(pickle.dumps(nlp))):
        assert torch.equal(scores_of(one, SOME), want)
    assert read_json(tmp_path / "again" / "meta.json")["spacy_transfer"]["transfer_textcat"]["precision"] == "fp32"


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_forked_processes(nlp: Language) -> None:
    want = scores_of(nlp, SOME)
    torch.testing.assert_close(scores_of(nlp, SOME, n_process=2, batch_size=3), want, atol=1e-6, rtol=0)


def test_it_cannot_be_trained(nlp: Language) -> None:
    pipe, examples = nlp.get_pipe("transfer_textcat"), exclusive_examples(nlp)
    for do in (
        lambda: nlp.update(examples), lambda: nlp.initialize(lambda: examples), lambda: pipe.add_label("new"),
        lambda: pipe.rehearse(examples), lambda: pipe.get_loss(examples, np.zeros((24, 3), dtype=np.float32)),
        lambda: pipe.model.begin_update([nlp.make_doc("a")]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"T540.*ONNX Runtime.*export that again"):
            do()
    assert pipe.add_label("card") == 0


def test_commands_read_it(folder: Path, trained: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name is that of a package, which spaCy would take for it."""
    assert cli.export_cli
    monkeypatch.chdir(folder.parent)
    data = docbin(trained, tmp_path / "dev.spacy")
    assert "accuracy" in run("transfer", "evaluate", "onnx", data)
    assert all(word in run("transfer", "show", "onnx") for word in ["exported", "fp32", *LABELS])
    run("transfer", "card", "onnx", "--output", tmp_path / "with_card")
    run("package", tmp_path / "with_card", tmp_path, "--build", "none")
    run("find-threshold", "./onnx", data, "transfer_textcat", "threshold", "cats_score", "--n_trials", "2")
    (tmp_path / "texts.txt").write_text("my card\n", "utf-8")
    run("transfer", "apply", folder, tmp_path / "texts.txt", "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8"))["label"] in LABELS


# ---- without torch -----------------------------------------------------------------------------------------------

WITHOUT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "spacy_transformers", "safetensors", "onnx", "peft"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
import catalogue
class Points:
    every = catalogue.AVAILABLE_ENTRY_POINTS
    def select(self, **group):
        return [one for one in self.every.select(**group) if "spacy_transformers" not in one.value]

catalogue.AVAILABLE_ENTRY_POINTS = Points()
import spacy, json
import spacy_transfer
nlp = spacy.load(sys.argv[1])
texts = json.loads(sys.argv[2])
best = [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(texts)]
assert [label for label, _ in spacy_transfer.classify(nlp, texts)] == best
nlp.to_disk(sys.argv[3])
with open("texts.jsonl", "w") as file:
    file.writelines(json.dumps({"text": text}) + "\\n" for text in texts if text.strip())
spacy_transfer.apply(sys.argv[1], "texts.jsonl", "labels.jsonl")
with open("labels.jsonl") as file:
    assert [json.loads(line)["label"] for line in file] == [b for b, text in zip(best, texts) if text.strip()]
print("RESULT " + json.dumps([list(doc.cats.values()) for doc in nlp.pipe(texts)]))
"""


def test_where_torch_is_not_installed(nlp: Language, folder: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WITHOUT, str(folder), json.dumps(SOME), str(tmp_path / "again")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("RESULT ")[2])
    np.testing.assert_allclose(found, scores_of(nlp, SOME), atol=1e-6)


def test_it_reports_its_use_to_nobody(folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps an id of the machine in the home folder, for telemetry, where it is not told otherwise."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | home
    arguments = [sys.executable, "-c", "import spacy, sys; spacy.load(sys.argv[1])('card')", str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Callable[[str, bytes | None], Path]:
    """A copy of the exported component with one file changed."""

    def change(name: str, data: bytes | None) -> Path:
        spacy.load(folder).to_disk(tmp_path / "damaged")
        file = tmp_path / "damaged" / "transfer_textcat" / name
        file.unlink() if data is None else file.write_bytes(data)
        return tmp_path / "damaged"

    return change


@pytest.mark.parametrize(("name", "data"), [("encoder.onnx", None), ("head.onnx", b""), ("tokenizer.json", b"{}")])
def test_files_that_are_missing_or_others(damaged: Callable[..., Path], name: str, data: bytes | None) -> None:
    with pytest.raises(OSError, match=f"T082.*{name}"):
        spacy.load(damaged(name, data))


def test_values_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    spacy.load(folder).to_disk(tmp_path / "other")
    file = tmp_path / "other" / "transfer_textcat" / "cfg"
    cfg = read_json(file)
    for key, value in (("pad_id", -1), ("reads", "thoughts"), ("precision", "fp8"), ("scores", [[float("inf")]])):
        file.write_text(json.dumps({**cfg, "network": {**cfg["network"], key: value}}), "utf-8")
        with pytest.raises(ValueError, match=f"T45[01].*({key}|cfg)"):
            spacy.load(tmp_path / "other")
    del cfg["network"]["sha256"]["head.onnx"]
    file.write_text(json.dumps(cfg), "utf-8")
    with pytest.raises(OSError, match="T082"):
        spacy.load(tmp_path / "other")


def test_another_machine_that_computes_otherwise_is_reported(folder: Path, tmp_path: Path) -> None:
    spacy.load(folder).to_disk(tmp_path / "other")
    file = tmp_path / "other" / "transfer_textcat" / "cfg"
    cfg = read_json(file)
    cfg["network"]["scores"][0] = cfg["network"]["scores"][0][::-1]
    file.write_text(json.dumps(cfg), "utf-8")
    with pytest.warns(UserWarning, match=r"T550.*Export it again"):
        spacy.load(tmp_path / "other")


def test_pipelines_that_cannot_be_exported(folder: Path, tmp_path: Path) -> None:
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="T543"):
        export(tmp_path / "blank", tmp_path / "out")
    with pytest.raises(ValueError, match=r"T542.*transfer_textcat.*exported network already"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_and_targets(folder: Path, tmp_path: Path) -> None:
    made_from = folder.parent / "torch"
    for options, code in (
        ({"to": "tensorflow"}, "T541"), ({"to": "spacy", "precision": "int8"}, "T549"), ({"max_loss": 0.1}, "T547"),
        ({"layers": 0}, "T548"), ({"layers": 4}, "T548"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=code):
            export(made_from, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="T373"):
        export(made_from, made_from, force=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="T546"):
        export(made_from, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


# ---- int8 --------------------------------------------------------------------------------------------------------


def test_int8(trained: Language, folder: Path, tmp_path: Path) -> None:
    data = docbin(trained, tmp_path / "dev.spacy")
    done = export(folder.parent / "torch", tmp_path / "int8", precision="int8", data=data, max_loss=1.0)
    report = done.reports["transfer_textcat"]
    names = [one.name for one in report.variants]
    assert names[0] == "torch"
    assert {"int8 dynamic", "int8 static"} <= set(names)
    kept = next(one for one in report.variants if one.name == report.chosen)
    assert report.chosen != "torch"
    assert kept.accuracy is not None
    assert report.variants[0].accuracy is not None
    found, want = scores_of(spacy.load(tmp_path / "int8"), TEXTS), scores_of(trained, TEXTS)
    assert not torch.equal(found, want)
    assert float((found - want).abs().mean()) < 0.2
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(TEXTS)))
    meta = read_json(tmp_path / "int8" / "meta.json")["spacy_transfer"]["transfer_textcat"]
    assert (meta["precision"], meta["chosen"]) == ("int8", report.chosen)


def test_a_network_that_loses_too_much_is_not_written(
    trained: Language, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = docbin(trained, tmp_path / "dev.spacy")
    accuracies = iter([0.9, *[0.8] * 9])
    monkeypatch.setattr("spacy_transfer.serving.export.comparison.Sample.accuracy", lambda self, _: next(accuracies))
    with pytest.raises(ValueError, match=r"T545.*0\.8000.*0\.9000.*0\.1000.*--max-loss 0\.01"):
        export(folder.parent / "torch", tmp_path / "out", data=data, max_loss=0.01)
    assert not (tmp_path / "out").exists()


# ---- fewer layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_lowest_layers(family: str, encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    nlp = pipeline(encoder_folder(family), tuning={"frozen_depth": 3})
    nlp.to_disk(tmp_path / "torch")
    done = export(tmp_path / "torch", tmp_path / "short", to="spacy", layers=2)
    assert done.layers == {"transfer_textcat": 2}
    short = spacy.load(tmp_path / "short")
    long, less = (one.get_pipe("transfer_textcat").model.shims[0].network.encoder for one in (nlp, short))
    ids, mask = torch.arange(5, 17).reshape(2, 6), torch.ones(2, 6, dtype=torch.long)
    with torch.no_grad():
        torch.testing.assert_close(less.eval()(ids, mask), long.eval().prefix(ids, mask, 2))
    short.update(exclusive_examples(short))
    assert short.get_pipe("transfer_textcat").model.shims[0].settings.tuning.frozen_depth == 2


def test_an_encoder_whose_layers_share_weights_by_groups(encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    pipeline(encoder_folder("albert-two-groups")).to_disk(tmp_path / "torch")
    with pytest.raises(ValueError, match="T552"):
        export(tmp_path / "torch", tmp_path / "out", layers=2)
