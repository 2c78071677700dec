"""Few texts: a head solved on the pretrained features and then tuned, against one tuned from random weights.

    python benchmarks/linear_probe.py --train TRAIN.jsonl --test TEST.jsonl [--per-label 16] [--seeds 5]
        [--loss-fraction 0.5 0.85] [--json FILE]

Files hold {"text", "label"} lines. Every seed draws its own texts; both starts see the same ones, in the same order and
with the same schedule (15 epochs, batch 16, rate 1e-4, a tenth warm-up, linear decay), so the difference is paired.
Without --test the texts of train that were not drawn, at most 60 a label, serve as dev: choose settings on those.
Needs the extra `demo`.
"""

import argparse
import json
import logging
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spacy
from spacy.training import Example
from thinc.api import fix_random_seed, warmup_linear

from spacy_transfer.training.adamw import AdamW

EPOCHS, BATCH, RATE = 15, 16, 1e-4
Row = dict[str, str]


def main() -> None:
    """Print each seed, the means and the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--per-label", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--loss-fraction", nargs="+", default=["auto"], help="settings of the linear probe to compare")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    rows = read(args.train)
    starts: dict[str, dict[str, Any]] = {"random": {"@misc": "spacy-transfer.RandomInit.v1"}}
    for keep in args.loss_fraction:
        value = keep if keep == "auto" else float(keep)
        starts[f"solved {keep}"] = {"@misc": "spacy-transfer.LinearProbe.v1", "loss_fraction": value}
    found: dict[str, list[float]] = {name: [] for name in starts}
    for seed in range(args.seeds):
        few, rest = draw(rows, args.per_label, seed)
        measured = read(args.test) if args.test else rest
        for name, start in starts.items():
            found[name].append(accuracy(few, measured, start, seed))
        print(f"seed {seed}", *(f" {name} {values[-1]:.4f}" for name, values in found.items()), flush=True)
    differences = {
        f"{name} - random": [b - a for a, b in zip(found["random"], values, strict=True)]
        for name, values in found.items()
        if name != "random"
    }
    for name, values in (found | differences).items():
        print(f"{name:24} mean {statistics.mean(values):+.4f}  deviation {statistics.stdev(values):.4f}")
    if args.json:
        args.json.write_text(json.dumps(found | differences, indent=2) + "\n", "utf-8")


def read(path: Path) -> list[Row]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def draw(rows: list[Row], per_label: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Some texts of each label, and up to 60 others of each."""
    chance = random.Random(seed)
    few, rest = [], []
    for label in sorted({row["label"] for row in rows}):
        mine = [row for row in rows if row["label"] == label]
        chance.shuffle(mine)
        few += mine[:per_label]
        rest += mine[per_label : per_label + 60]
    return few, rest


def accuracy(few: list[Row], measured: list[Row], start: dict[str, Any], seed: int) -> float:
    """Train and measure."""
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat", config={"model": {"head_init": start}})
    labels = sorted({row["label"] for row in few})
    train, dev = list(examples(nlp, few, labels)), list(examples(nlp, measured, labels))
    nlp.initialize(lambda: train)
    n_steps = EPOCHS * -(-len(train) // BATCH)
    optimizer = AdamW(learn_rate=warmup_linear(RATE, n_steps // 10, n_steps + 1))
    for _ in range(EPOCHS):
        random.shuffle(train)
        for begin in range(0, len(train), BATCH):
            nlp.update(train[begin : begin + BATCH], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
    return float(nlp.evaluate(dev)["cats_acc"])


def examples(nlp: Any, rows: list[Row], labels: list[str]) -> Iterator[Example]:
    """Texts as Examples."""
    for row in rows:
        cats = {label: float(label == row["label"]) for label in labels}
        yield Example.from_dict(nlp.make_doc(row["text"]), {"cats": cats})


if __name__ == "__main__":
    main()
