"""Few texts: trained on texts that augmentation changes anew in every step, against the clean texts.

    python benchmarks/augmentation.py --train TRAIN.jsonl [--test TEST.jsonl] [--per-label 16] [--seeds 3] [--json FILE]

Files hold {"text", "label"} lines. As in `linear_probe.py` every seed draws its own texts and both ways see the same
ones in the same order and with the same schedule, so the difference is paired. Measured are the texts as they are, and
with typing errors in a fifth of their words, drawn from another seed. Without --test the texts of train that were not
drawn, at most 60 a label, serve as dev. Needs the extra `demo`.
"""

import argparse
import json
import logging
import random
import statistics
from pathlib import Path
from typing import Any

import spacy
from linear_probe import BATCH, RATE, Row, draw, examples, read
from thinc.api import fix_random_seed, warmup_linear

from spacy_transfer.corpora.noise.augmentation import Augmentation
from spacy_transfer.training.adamw import AdamW

NOISE = Augmentation(
    clean=0.0, drop=0.0, swap=0.0, repeat=0.0, mask=0.0, typing=0.2, casing=0.0, mixing=0.0, seed=1_000_003
)


def main() -> None:
    """Print each seed, the means and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--per-label", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rates", default="{}", help="Settings of the augmentation as JSON, in place of the defaults")
    parser.add_argument("--only", action="store_true", help="Leave out the run on clean texts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    rows = read(args.train)
    ways = {} if args.only else {"clean": {"@misc": "spacy-transfer.NoAugmentation.v1"}}
    ways["augmented"] = {"@misc": "spacy-transfer.Augmentation.v1", **json.loads(args.rates)}
    found: dict[str, list[float]] = {}
    for seed in range(args.seeds):
        few, rest = draw(rows, args.per_label, seed)
        measured = read(args.test) if args.test else rest
        mistyped = NOISE.draw([row["text"] for row in measured], None, 0)
        noisy = [{**row, "text": text} for row, text in zip(measured, mistyped, strict=True)]
        for name, block in ways.items():
            values = accuracies(few, [measured, noisy], {**block, **seeded(block, seed)}, args.epochs, seed)
            for what, value in zip(("as it is", "mistyped"), values, strict=True):
                found.setdefault(f"{name}, {what}", []).append(value)
        print(f"seed {seed}", {key: round(values[-1], 4) for key, values in found.items()}, flush=True)
    for what in ("as it is", "mistyped") if not args.only else ():
        pairs = zip(found[f"clean, {what}"], found[f"augmented, {what}"], strict=True)
        found[f"difference, {what}"] = [b - a for a, b in pairs]
    for name, values in found.items():
        print(f"{name:22} mean {statistics.mean(values):+.4f}  deviation {statistics.stdev(values):.4f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def seeded(block: dict[str, Any], seed: int) -> dict[str, int]:
    """The seed, where a block takes one."""
    return {"seed": seed} if block["@misc"].endswith(".Augmentation.v1") else {}


def accuracies(few: list[Row], sets: list[list[Row]], block: dict[str, Any], epochs: int, seed: int) -> list[float]:
    """Train and measure on each set."""
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat", config={"model": {"augmentation": block}})
    labels = sorted({row["label"] for row in few})
    train = list(examples(nlp, few, labels))
    nlp.initialize(lambda: train)
    n_steps = epochs * -(-len(train) // BATCH)
    optimizer = AdamW(learn_rate=warmup_linear(RATE, n_steps // 10, n_steps + 1))
    for _ in range(epochs):
        random.shuffle(train)
        for begin in range(0, len(train), BATCH):
            nlp.update(train[begin : begin + BATCH], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
    return [float(nlp.evaluate(list(examples(nlp, rows, labels)))["cats_acc"]) for rows in sets]


if __name__ == "__main__":
    main()
