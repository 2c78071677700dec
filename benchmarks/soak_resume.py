"""Kill a training again and again by SIGKILL at random moments, resume it, and compare with one that ran through.

    python benchmarks/soak_resume.py --kills 200

A tiny random BERT on made-up texts; four kinds of training take turns: half frozen, everything frozen, unfreezing by
steps, averages with accumulated gradients. Exit status 1 on any difference in the weights or in a figure of the log.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import spacy
import torch
import transformers
from spacy.tokens import DocBin
from thinc.api import Config
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from spacy_transfer.training.checkpoint import Checkpoints
from spacy_transfer.training.train import train

WORDS = [
    "the", "card", "is", "lost", "my", "bill", "was", "paid", "twice", "login", "broken", "money", "late", "refund",
]  # fmt: skip
LABELS = ["card", "login", "money"]
TIMES = {"seconds", "docs_per_second", "speed"}
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


def start(config: Config, output: Path) -> int:
    """Begin or go on, in a process of its own. RETURNS (int): Its id."""
    process = os.fork()
    if process:
        return process
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        resume = Checkpoints(output / "checkpoints").are_there
        train(config, output, resume=resume, force=not resume, checkpoint_every="2", show="none")
    except BaseException as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def figures(output: Path) -> tuple[Any, ...]:
    """Everything of a run but times."""

    def timeless(value: Any) -> Any:
        return {k: timeless(v) for k, v in value.items() if k not in TIMES} if isinstance(value, dict) else value

    log = [timeless(json.loads(line)) for line in (output / "log.jsonl").read_text("utf-8").splitlines()]
    weights = {
        name: (output / name / MODEL / "weights.safetensors").read_bytes() for name in ("model-last", "model-best")
    }
    return log, weights


def main() -> int:
    """RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=30, help="Of each training")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spacy.blank("en")
    import logging

    logging.getLogger("spacy_transfer").setLevel("ERROR")
    chance = random.Random(options.seed)
    kills = differing = finished = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_encoder(folder)
        write_corpus(folder)
        whole: dict[str, tuple[tuple[Any, ...], float]] = {}
        while kills < options.kills:
            kind = list(KINDS)[finished % len(KINDS)]
            config, output = config_of(folder, kind, options.steps), folder / "out"
            shutil.rmtree(output, ignore_errors=True)
            if kind not in whole:
                begin = time.perf_counter()
                if os.waitpid(start(config, output), 0)[1]:
                    return 1
                whole[kind] = figures(output), time.perf_counter() - begin
                shutil.rmtree(output)
            status = -1
            while status:
                process = start(config, output)
                if kills < options.kills:
                    time.sleep(chance.uniform(0, 1.1 * whole[kind][1]))
                    os.kill(process, signal.SIGKILL)
                status = os.waitpid(process, 0)[1]
                if os.WIFEXITED(status) and status:
                    print(f"after {kills} kills a resumed run failed")
                    return 1
                kills += os.WIFSIGNALED(status)
            finished += 1
            same = figures(output) == whole[kind][0]
            differing += not same
            print(f"{kills} kills, {finished} trainings, {differing} differ ({kind})", flush=True)
    print(f"{kills} kills, {finished} trainings finished, {differing} differences")
    return int(differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
