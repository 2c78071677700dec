"""spaCy's own commands on a tiny pipeline of ours, from `init config` to `package`."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import model_config, moved, pipeline, read_json, scores_of, weights_of
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples

MODEL = "transfer_textcat"
ML = "transfer_textcat_multilabel"


def write_config(path: Path, encoder: Path, factory: str, corpus: Path) -> None:
    """A short config: what is not here, spaCy fills in."""
    model = model_config(encoder, tuning={"frozen_depth": 1})
    lines = []
    for key, value in model.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {json.dumps(value)}")
    for key, value in model.items():
        if isinstance(value, dict):
            lines += [f"[components.{factory}.model.{key}]", *(f"{k} = {json.dumps(v)}" for k, v in value.items())]
    path.write_text(f"""
[paths]
train = {json.dumps(str(corpus / "train.spacy"))}
dev = {json.dumps(str(corpus / "dev.spacy"))}
labels = {json.dumps(str(corpus / "labels.json"))}

[nlp]
lang = "en"
pipeline = ["{factory}"]

[components]
[components.{factory}]
factory = "{factory}"
[components.{factory}.model]
{chr(10).join(lines)}

[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${{paths.train}}
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${{paths.dev}}

[training]
seed = 0
gpu_allocator = null
max_steps = 12
eval_frequency = 6
[training.batcher]
@batchers = "spacy.batch_by_sequence.v1"
size = 8
get_length = null
[training.optimizer]
@optimizers = "spacy-transfer.AdamW.v1"
learn_rate = 5e-3

[initialize]
[initialize.components]
[initialize.components.{factory}]
[initialize.components.{factory}.labels]
@readers = "spacy.read_labels.v1"
path = ${{paths.labels}}
""")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    nlp = spacy.blank("en")
    for factory, make in ((MODEL, exclusive_examples), (ML, multilabel_examples)):
        (folder / factory).mkdir()
        docs = [example.reference for example in make(nlp)]
        DocBin(docs=docs).to_disk(folder / factory / "train.spacy")
        DocBin(docs=docs[:9]).to_disk(folder / factory / "dev.spacy")
        labels = sorted(docs[0].cats)
        (folder / factory / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def configs(corpus: Path, quiet_bert: Path) -> dict[str, Path]:
    """Filled configs."""
    found = {}
    for factory in (MODEL, ML):
        write_config(corpus / f"{factory}.short.cfg", quiet_bert, factory, corpus / factory)
        run("init", "fill-config", corpus / f"{factory}.short.cfg", corpus / f"{factory}.cfg")
        found[factory] = corpus / f"{factory}.cfg"
    return found


@pytest.fixture(scope="module")
def trained(configs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of trained pipelines."""
    found = {}
    for factory, config in configs.items():
        out = tmp_path_factory.mktemp(factory)
        printed = run("train", config, "--output", out)
        assert "Saved pipeline to output directory" in printed
        assert "CATS_SCORE" in printed
        found[factory] = out
    return found


def test_fill_config(configs: dict[str, Path]) -> None:
    filled = spacy.util.load_config(configs[MODEL])
    model = filled["components"][MODEL]["model"]
    assert model["tuning"]["frozen_depth"] == 1
    assert model["tuning"]["lr_decay"] == 1.0
    assert model["pooling"] == {"@layers": "spacy-transfer.MeanPooling.v1"}
    assert filled["training"]["score_weights"]["cats_score"] == 1.0


@pytest.mark.parametrize("factory", [MODEL, ML])
def test_init_config(factory: str, tmp_path: Path) -> None:
    run("init", "config", tmp_path / "config.cfg", "-p", factory, "--force")
    config = spacy.util.load_config(tmp_path / "config.cfg")
    assert config["nlp"]["pipeline"] == [factory]
    assert config["components"][factory]["model"]["@architectures"] == "spacy-transfer.TransferClassifier.v1"
    assert "[paths]" in (tmp_path / "config.cfg").read_text()


def test_debug_config(configs: dict[str, Path]) -> None:
    for config in configs.values():
        assert "Config validation for [initialize]" in run("debug", "config", config)


@pytest.mark.parametrize("override", ["tuning.frozen_dept=1", "tuning.trainable=some", "piece_budget=many"])
def test_debug_config_finds_mistakes(override: str, configs: dict[str, Path]) -> None:
    key, value = override.split("=")
    run("debug", "config", configs[MODEL], f"--components.{MODEL}.model.{key}", value, code=1)


def test_debug_model(configs: dict[str, Path]) -> None:
    assert "transfer_classifier" in run("debug", "model", configs[MODEL], MODEL, "-P0", "-DIM")


def test_debug_data_knows_only_spacys_own_factories(configs: dict[str, Path]) -> None:
    # The error that it ends with is that the data are few.
    printed = run("debug", "data", configs[MODEL], code=1)
    assert "Pipeline can be initialized with data" in printed
    assert "Low number of examples" in printed
    assert "1 error" in printed


def test_init_labels(configs: dict[str, Path], tmp_path: Path) -> None:
    run("init", "labels", configs[MODEL], tmp_path)
    assert read_json(tmp_path / f"{MODEL}.json") == LABELS


def test_init_nlp_and_train_from_it(configs: dict[str, Path], tmp_path: Path) -> None:
    run("init", "nlp", configs[MODEL], tmp_path / "start")
    assert set(spacy.load(tmp_path / "start")("card").cats) == set(LABELS)


def test_train(trained: dict[str, Path], quiet_bert: Path) -> None:
    nlp = spacy.load(trained[MODEL] / "model-last")
    start = pipeline(quiet_bert)
    changed = {name for name in moved(weights_of(start), weights_of(nlp)) if "layer.0" in name or "embeddings" in name}
    assert not changed
    assert "encoder.body.encoder.layer.1.output.dense.weight" in moved(weights_of(start), weights_of(nlp))
    meta = read_json(trained[MODEL] / "model-best" / "meta.json")
    assert {"cats_score", "cats_acc", f"{MODEL}_loss"} <= set(meta["performance"])
    assert meta["labels"] == {MODEL: LABELS}


@pytest.mark.slow
def test_train_in_a_process_of_its_own(configs: dict[str, Path], tmp_path: Path) -> None:
    """As users start it; the table is shown once, and nothing is warned about."""
    command = [
        sys.executable,
        "-m",
        "spacy",
        "train",
        configs[MODEL],
        "--output",
        tmp_path,
        "--training.max_steps",
        "2",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert printed.count("Trainable weights of 'transfer_textcat'") == 1
    assert "Warning" not in printed
    assert (tmp_path / "model-last" / MODEL / "weights.safetensors").is_file()


def test_training_again_gives_the_same_weights(
    configs: dict[str, Path], trained: dict[str, Path], tmp_path: Path
) -> None:
    run("train", configs[MODEL], "--output", tmp_path)
    one, two = spacy.load(trained[MODEL] / "model-last"), spacy.load(tmp_path / "model-last")
    assert not moved(weights_of(one), weights_of(two))


def test_evaluate(trained: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    for factory in (MODEL, ML):
        out = tmp_path / f"{factory}.json"
        run("evaluate", trained[factory] / "model-best", corpus / factory / "dev.spacy", "--output", out)
        scores = read_json(out)
        assert 0.0 <= scores["cats_acc"] <= 1.0
        assert scores["cats_score"] is not None
        assert set(scores["cats_f_per_type"]) == set(read_json(corpus / factory / "labels.json"))


@pytest.mark.slow
def test_benchmark_speed(trained: dict[str, Path], corpus: Path) -> None:
    data = corpus / MODEL / "dev.spacy"
    assert "Mean" in run("benchmark", "speed", trained[MODEL] / "model-best", data, "--batches", "30", "--warmup", "1")


def test_apply(trained: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    run("apply", trained[MODEL] / "model-best", tmp_path / "texts.jsonl", tmp_path / "out.spacy")
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab))
    assert [doc.text for doc in docs] == TEXTS
    assert all(set(doc.cats) == set(LABELS) for doc in docs)


def test_assemble(trained: dict[str, Path], configs: dict[str, Path], tmp_path: Path) -> None:
    """A new pipeline from a trained component."""
    source = trained[MODEL] / "model-best"
    config = spacy.util.load_config(configs[MODEL])
    config["components"][MODEL] = {"source": str(source)}
    config["initialize"]["components"] = {}
    config["nlp"]["pipeline"] = ["sentencizer", MODEL]
    config["components"]["sentencizer"] = {"factory": "sentencizer"}
    config.to_disk(tmp_path / "assemble.cfg")
    run("assemble", tmp_path / "assemble.cfg", tmp_path / "out")
    nlp = spacy.load(tmp_path / "out")
    assert nlp.pipe_names == ["sentencizer", MODEL]
    assert (scores_of(nlp, TEXTS) - scores_of(spacy.load(source), TEXTS)).abs().max() < 1e-6


def test_find_threshold(trained: dict[str, Path], corpus: Path) -> None:
    data = corpus / ML / "dev.spacy"
    printed = run(
        "find-threshold", trained[ML] / "model-best", data, ML, "threshold", "cats_micro_f", "--n_trials", "5"
    )
    assert "Best threshold" in printed


def test_package(trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args: list[Any] = ["--name", "tiny_topics", "--version", "1.2.3", "--build", "none"]
    run("package", trained[MODEL] / "model-best", tmp_path, *args)
    root = tmp_path / "en_tiny_topics-1.2.3"
    meta = read_json(root / "meta.json")
    assert any(line.startswith("spacy-transfer") for line in meta["requirements"])
    data = root / "en_tiny_topics" / "en_tiny_topics-1.2.3"
    assert (data / MODEL / "weights.safetensors").is_file()
    # As the package's own setup.py does when a wheel is built.
    shutil.copy(root / "meta.json", root / "en_tiny_topics" / "meta.json")
    monkeypatch.syspath_prepend(str(root))
    assert set(importlib.import_module("en_tiny_topics").load()("card").cats) == set(LABELS)
    # The next task may start from its encoder, by the package's name.
    other = pipeline("en_tiny_topics")
    same = {name for name in weights_of(other) if name.startswith("encoder.")}
    assert not moved(weights_of(spacy.load(data)), weights_of(other)) & same


def test_find_function() -> None:
    assert "scorer.py" in run("find-function", "spacy-transfer.scorer.v1", "-r", "scorers")
