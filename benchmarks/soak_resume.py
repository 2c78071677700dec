"""Kill a training again and again by SIGKILL at random moments, resume it, and compare with one that ran through.

    python benchmarks/soak_resume.py --kills 200

A tiny random BERT on made-up texts. Trainings (half frozen, everything frozen, unfreezing by steps, averages with
accumulated gradients), a study of two values and two seeds, a pretraining and a convert take turns. Exit status 1 on
any difference in weights, data, logs or results, and where anything is left over.
"""

import argparse
import json
import os
import random
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import spacy
import torch
import transformers
from soak import Job, soak
from spacy.tokens import DocBin
from thinc.api import Config
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from spacy_transfer.corpora.convert import convert
from spacy_transfer.training.pretraining.pretrain import Pretraining, pretrain
from spacy_transfer.training.search.study import Plan, study
from spacy_transfer.training.state.checkpoint import Checkpoints
from spacy_transfer.training.train import train

WORDS = [
    "the", "card", "is", "lost", "my", "bill", "was", "paid", "twice", "login", "broken", "money", "late", "refund",
]  # fmt: skip
LABELS = ["card", "login", "money"]
# And what differs between two runs that are the same: the folders of a study's runs, markers.
TIMES = {"seconds", "docs_per_second", "speed", "replaced", "peak_memory"}
# Kills of one job, after which it may come to its end.
_MOST_KILLS = 6
MODEL = "transfer_textcat"
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "half frozen": ({"frozen_depth": 1}, {}),
    "frozen": ({"frozen_depth": "all"}, {}),
    "unfreezing": ({"frozen_depth": "all", "unfreeze_every": 7, "unfreeze_down_to": 0}, {}),
    "averages, accumulated": ({}, {"accumulate_gradient": 2, "optimizer": {"use_averages": True}}),
}


def write_encoder(folder: Path, most_pieces: int = 40) -> None:
    """A random BERT of two layers."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(vocab[:5])
    special = [(piece, vocab.index(piece)) for piece in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=most_pieces,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_corpus(folder: Path) -> None:
    """60 texts of one to twelve words for training, 20 for dev."""
    nlp, chance = spacy.blank("en"), random.Random(0)
    for name, n in (("train", 60), ("dev", 20)):
        docs = []
        for i in range(n):
            doc = nlp.make_doc(" ".join(chance.choices(WORDS, k=chance.randint(1, 12))))
            doc.cats = {label: float(j == i % 3) for j, label in enumerate(LABELS)}
            docs.append(doc)
        DocBin(docs=docs).to_disk(folder / f"{name}.spacy")


def config_of(folder: Path, kind: str, steps: int) -> Config:
    """The config of a kind of training."""
    tuning, training = KINDS[kind]
    optimizer = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 3e-3, **training.get("optimizer", {})}
    model = {
        "encoder": {"name": str(folder), "revision": None}, "windows": {"length": 32, "stride": 20},
        "piece_budget": 128, "precision": "fp32", "tuning": tuning,
    }  # fmt: skip
    readers = {
        name: {"@readers": "spacy.Corpus.v1", "path": str(folder / f"{name}.spacy"), "max_length": 0, "limit": 0,
               "gold_preproc": False, "augmenter": None} for name in ("train", "dev")
    }  # fmt: skip
    batcher = {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 4, "buffer": 3}
    return Config({
        "nlp": {"lang": "en", "pipeline": [MODEL]},
        "components": {MODEL: {"factory": MODEL, "model": model}}, "corpora": readers,
        "training": {
            "seed": 0, "gpu_allocator": None, "max_steps": steps, "eval_frequency": 5, "batcher": batcher,
            **training, "optimizer": optimizer,
        },
        "initialize": {"components": {MODEL: {"labels": LABELS}}},
    })  # fmt: skip


def train_job(config: Config) -> Job:
    """A training that begins, or goes on."""

    def work(output: Path) -> None:
        resume = Checkpoints(output / "checkpoints").are_there
        train(config, output, resume=resume, force=not resume, checkpoint_every="2", show="none")

    return work


def study_job(config: Config) -> Job:
    """Two values with two seeds each."""

    def make(folder: Path, values: Any, stop_at: int, resume: bool) -> None:
        train(
            config, folder, overrides=values, resume=resume, force=not resume, checkpoint_every="2", show="none",
            stop_at=stop_at,
        )  # fmt: skip

    def work(output: Path) -> None:
        plan = Plan([{"training.dropout": 0.1}, {"training.dropout": 0.3}], [0, 1], keep_one_in=2)
        study(config, output, plan, make, resume=(output / "study.json").exists())

    return work


def pretrain_job(config: Config, texts: list[str]) -> Job:
    """An encoder that learns from raw texts."""

    def work(output: Path) -> None:
        place = output / "work"
        resume = Checkpoints(place / "checkpoints").are_there
        pretrain(
            config, texts, output / "encoder", plan=Pretraining(steps=20, rows=6), work=place, resume=resume,
            force=True, checkpoint_every="2",
        )  # fmt: skip

    return work


def convert_job(folder: Path) -> Job:
    """Three sources, written over what is there, again and again."""

    def work(output: Path) -> None:
        for _ in range(6):
            convert([folder / f"{name}.jsonl" for name in ("a", "b", "c")], output, force=True)

    return work


def write_tables(folder: Path) -> list[str]:
    """Texts in three files. RETURNS (list[str]): All of them."""
    chance, texts = random.Random(1), list[str]()
    for name in ("a", "b", "c"):
        rows = [{"text": " ".join(chance.choices(WORDS, k=8)), "label": LABELS[i % 3]} for i in range(400)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        texts += [row["text"] for row in rows[:60]]
    return texts


def figures(output: Path) -> dict[str, Any]:
    """Everything of a run but times: weights, data, logs, scores; and no leftovers of this package."""
    found: dict[str, Any] = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        # Checkpoints that the last one follows depend on where the run was killed.
        if not path.is_file() or "checkpoints/" in name or path.name == ".spacy-transfer.json":
            continue
        if path.name == "log.jsonl":
            lines = path.read_bytes().split(b"\n")[:-1]
            found[name] = [timeless(json.loads(line)) for line in lines]
        elif path.suffix in (".spacy", ".safetensors", ".npy") or path.name.startswith(".spacy-transfer"):
            found[name] = path.read_bytes()
        elif path.name in ("result.json", "study.json", "labels.json"):
            found[name] = timeless(json.loads(path.read_text("utf-8")))
    return found


def timeless(value: Any) -> Any:
    """Without times, and without what tells one run from the same one again."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def main() -> int:
    """RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=30, help="Of each training")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments")
    options = parser.parse_args()

    def make_jobs(folder: Path) -> list[tuple[str, Job]]:
        write_encoder(folder)
        write_corpus(folder)
        texts = write_tables(folder)
        short = config_of(folder, "half frozen", 10)
        # The half of the kills goes to trainings.
        jobs: list[tuple[str, Job]] = []
        others = [
            ("study", study_job(short)),
            ("pretrain", pretrain_job(short, texts)),
            ("convert", convert_job(folder)),
        ]
        for number, kind in enumerate([*KINDS, *list(KINDS)[:2]]):
            jobs.append((f"train, {kind}", train_job(config_of(folder, kind, options.steps))))
            if number % 2:
                jobs.append(others[number // 2])
        return jobs

    seen = soak(make_jobs, figures, kills=options.kills, seed=options.seed, most_kills=_MOST_KILLS)
    if seen is None:
        return 1
    by = ", ".join(f"{n} of {what}" for what, n in seen.kills.items())
    print(
        f"{seen.n_kills} kills ({by}), {seen.n_finished} jobs finished, {seen.n_differing} differences, "
        f"{seen.minutes:.1f} min"
    )
    return int(seen.n_differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
