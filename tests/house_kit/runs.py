"""Short runs of our own loop on the tiny BERT, and what they leave."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from house_kit.pipelines import merged, model_config, read_json
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.training.loop.loop import Run
from spacy_transfer.training.session import Trained
from spacy_transfer.training.train import train

MODEL = "transfer_textcat"
# What differs between two runs that are the same.
TIMES = {"seconds", "docs_per_second", "speed", "peak_memory"}


def write_corpus(folder: Path) -> Path:
    """23 texts to train on, so that the last batch of an epoch is short; 9 for dev, five of them in both."""
    vocab = spacy.blank("xx").vocab
    docs = []
    for i, text in enumerate([*TEXTS, "the box arrived broken", "help, the screen", "why pay twice?"]):
        doc = spacy.blank("xx", vocab=vocab)(text)
        doc.cats = one_hot(LABELS[i % 3])
        docs.append(doc)
    DocBin(docs=docs[:23]).to_disk(folder / "train.spacy")
    DocBin(docs=docs[18:]).to_disk(folder / "dev.spacy")
    return folder


ADAMW = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 3e-3}
SIZES = {
    "@batchers": "spacy.batch_by_sequence.v1", "get_length": None,
    "size": {"@schedules": "compounding.v1", "start": 3.0, "stop": 7.0, "compound": 1.1},
}  # fmt: skip
WARM = {"@schedules": "warmup_linear.v1", "initial_rate": 5e-3, "warmup_steps": 4, "total_steps": 12}
CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 50, "window_size": 1,
    "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None,
}  # fmt: skip
# Name: model blocks, training blocks.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full, averages, accumulated": ({}, {"accumulate_gradient": 2, "optimizer": {**ADAMW, "use_averages": True}}),
    "half frozen, sizes and rates on schedules": (
        {"tuning": {"frozen_depth": 1, "lr_decay": 0.8}},
        {"batcher": SIZES, "dropout": 0.3, "optimizer": {**ADAMW, "learn_rate": WARM}},
    ),
    "frozen, by pieces": (
        {"tuning": {"frozen_depth": "all"}},
        {"batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 4, "buffer": 3}},
    ),
    "frozen, linear probe, little memory": (
        {
            "tuning": {"frozen_depth": "all"}, "cache": {"memory": 1000},
            "head_init": {"@misc": "spacy-transfer.LinearProbe.v1", "Cs": [1.0]},
        },
        {},
    ),
    "unfreezing by steps, Adam": (
        {"tuning": {"frozen_depth": "all", "unfreeze_every": 3, "unfreeze_down_to": 0}},
        {"optimizer": {"@optimizers": "Adam.v1", "learn_rate": 3e-3, "use_averages": True}},
    ),
    "unfreezing by epochs, two epochs": (
        {"tuning": {"frozen_depth": 2, "unfreeze_every": 1, "unfreeze_unit": "epochs"}},
        {"before_update": {"@callbacks": "spacy-transfer.set_epoch.v1"}, "max_epochs": 2, "max_steps": 0},
    ),
    "augmented": (
        {
            "tuning": {"frozen_depth": "all"},
            "augmentation": {"@misc": "spacy-transfer.Augmentation.v1", "drop": 0.2, "clean": 0.5},
        },
        {},
    ),
    "frozen beside a tok2vec, averages, accumulated": (
        {
            "tuning": {"frozen_depth": "all"},
            "features": {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "lr_factor": 0.5, "tok2vec": CNN},
        },
        {"accumulate_gradient": 2, "optimizer": {**ADAMW, "use_averages": True}, "dropout": 0.2},
    ),
    "half frozen, streamed": ({"tuning": {"frozen_depth": 1}}, {"max_epochs": -1}),
    "patience, RAdam": (
        {"tuning": {"frozen_depth": 1}},
        {"patience": 4, "max_steps": 0, "optimizer": {"@optimizers": "RAdam.v1", "learn_rate": 1e-9}},
    ),
    "beside a component of spaCy's": ({"tuning": {"frozen_depth": 1}}, {}),
}  # fmt: skip
BOW = {
    "@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": True, "ngram_size": 1, "no_output_layer": False,
    "length": 64,
}  # fmt: skip


def config_of(
    encoder: Path, corpus: Path, kind: str = "half frozen, streamed", steps: int = 12, **changes: Any
) -> Config:
    """A whole config; changes go in block by block."""
    readers = {
        name: {"@readers": "spacy.Corpus.v1", "path": str(corpus / f"{name}.spacy"), "max_length": 0, "limit": 0,
               "gold_preproc": False, "augmenter": None} for name in ("train", "dev")
    }  # fmt: skip
    blocks, settings = KINDS[kind]
    training = {
        "seed": 3, "gpu_allocator": None, "max_steps": steps, "max_epochs": 0, "eval_frequency": 4, "patience": 0,
        "dropout": 0.1, "accumulate_gradient": 1, "optimizer": ADAMW,
        "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 5, "get_length": None}, **settings,
    }  # fmt: skip
    config: dict[str, Any] = {
        "nlp": {"lang": "xx", "pipeline": [MODEL]},
        "components": {MODEL: {"factory": MODEL, "model": model_config(encoder, **blocks)}},
        "corpora": readers, "training": training,
        "initialize": {"components": {MODEL: {"labels": LABELS}}},
    }  # fmt: skip
    if kind.startswith("beside"):
        config["nlp"]["pipeline"].insert(0, "textcat")
        config["components"]["textcat"] = {"factory": "textcat", "model": BOW}
    # Of its own: tests change values in it.
    return Config(copy.deepcopy(merged(config, changes)))


def run(config: Config, output: Path, **options: Any) -> Trained:
    """Train and show nothing."""
    return train(config, output, **{"show": "none", **options})


class Killed(BaseException):
    """As SIGKILL: nothing may catch it."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Within: a run ends when this step is half done, and with it the block."""
    original = Run._finish_update

    def finish(self: Run) -> Any:
        if self.at.n_done == step:
            raise Killed
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish_update", finish)
        with pytest.raises(Killed):
            yield


def everything(folder: Path) -> dict[str, bytes]:
    """Content of every file, by its path in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def log_of(output: Path) -> list[dict[str, Any]]:
    """Every figure but times."""

    def timeless(value: Any) -> Any:
        return {k: timeless(v) for k, v in value.items() if k not in TIMES} if isinstance(value, dict) else value

    return [timeless(json.loads(line)) for line in (output / "log.jsonl").read_text("utf-8").splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    """Weights as they lie on disk."""
    found = [path for path in folder.rglob("*") if path.name in ("weights.safetensors", "features.msgpack", "model")]
    assert found
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, log and scores of two outputs."""
    assert log_of(one) == log_of(other)
    for name in ("model-last", "model-best"):
        assert files_of(one / name) == files_of(other / name)
        first, second = (read_json(folder / name / "meta.json")["performance"] for folder in (one, other))
        assert first == second
