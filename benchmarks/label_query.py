"""Many labels: one decoded query per label (LabelQueryHead) against a linear head on the mean of the states.

    python benchmarks/label_query.py --train TRAIN.jsonl --dev DEV.jsonl --test TEST.jsonl
        [--texts 10000] [--seeds 0 1 2] [--json FILE]

Files hold {"text", "labels"} lines (GoEmotions: 28 labels). Every seed draws its own training texts; both heads see the
same ones in the same order, over the same encoder (all-MiniLM-L6-v2, the lower 4 of its 6 layers frozen) with the same
schedule, so the difference is paired. The threshold of each label is the one with its best F-score on the first
--dev-texts of dev, then macro-F1 is measured on test. Without --test only dev is measured: choose settings on that.
Needs the extra `demo`.
"""

import argparse
import json
import logging
import random
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import spacy
from numpy.typing import NDArray
from spacy.training import Example
from thinc.api import fix_random_seed, warmup_linear

from spacy_transfer.training.adamw import AdamW

Row = dict[str, Any]
NAME = "transfer_textcat_multilabel"
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"@layers": "spacy-transfer.Head.v1"},
    "query": {"@layers": "spacy-transfer.LabelQueryHead.v1"},
    "query, names": {"@layers": "spacy-transfer.LabelQueryHead.v1", "init": "names"},
}


def main() -> None:
    """Print each run, the means and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--dev-texts", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--layers", type=int, default=1, help="of the decoder")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4, help="of the encoder")
    parser.add_argument(
        "--head-lr-factors", type=float, nargs=2, default=[5.0, 5.0], help="of linear and query, as factors"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    rows, dev = read(args.train), read(args.dev)[: args.dev_texts]
    test = read(args.test) if args.test else []
    labels = sorted({label for row in rows for label in row["labels"]})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in args.heads}
    with tempfile.TemporaryDirectory() as cache:
        for seed in args.seeds:
            drawn = random.Random(seed).sample(rows, min(args.texts, len(rows)))
            for name in args.heads:
                found[name].append(run(name, drawn, dev, test, labels, seed, cache, args))
                print(f"seed {seed}  {name:14}", figures(found[name][-1]), flush=True)
    measured = "test" if test else "dev"
    for name, runs in found.items():
        print(f"{name:14} {measured}", spread([one[measured] for one in runs]))
        if name != "linear" and "linear" in found:
            pairs = zip(found["linear"], runs, strict=True)
            print(f"{name} - linear: {spread([b[measured] - a[measured] for a, b in pairs])}")
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        args.json.write_text(json.dumps({"settings": settings, "runs": found}, indent=2) + "\n", "utf-8")


def read(path: Path) -> list[Row]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def run(
    name: str, drawn: list[Row], dev: list[Row], test: list[Row], labels: list[str], seed: int, cache: str, args: Any
) -> dict[str, float]:
    """Train and measure. RETURNS (dict): Macro-F1 on dev and test, at 0.5 on test, and seconds of training."""
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    head = HEADS[name] if name == "linear" else {**HEADS[name], "layers": args.layers}
    tuning = {"frozen_depth": 4, "head_lr_factor": args.head_lr_factors[name != "linear"]}
    model = {"head": head, "tuning": tuning, "cache": {"cache_dir": cache}}
    nlp.add_pipe(NAME, config={"model": model})
    train = []
    for row in drawn:
        cats = {label: float(label in row["labels"]) for label in labels}
        train.append(Example.from_dict(nlp.make_doc(row["text"]), {"cats": cats}))
    nlp.initialize(lambda: train)
    n_steps = args.epochs * -(-len(train) // args.batch)
    optimizer = AdamW(learn_rate=warmup_linear(args.rate, n_steps // 10, n_steps + 1))
    start = perf_counter()
    for _ in range(args.epochs):
        random.shuffle(train)
        for begin in range(0, len(train), args.batch):
            nlp.update(train[begin : begin + args.batch], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
    seconds = perf_counter() - start
    order = nlp.get_pipe(NAME).labels
    scores, gold = scores_of(nlp, dev, order)
    thresholds = best_thresholds(scores, gold)
    result = {"dev": macro_f1(scores >= thresholds, gold), "seconds": seconds}
    if test:
        scores, gold = scores_of(nlp, test, order)
        result["test"] = macro_f1(scores >= thresholds, gold)
        result["test_at_half"] = macro_f1(scores >= 0.5, gold)
    return result


def scores_of(nlp: Any, rows: list[Row], labels: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores and gold, (n_texts, n_labels) each."""
    docs = nlp.pipe(row["text"] for row in rows)
    scores = np.array([[doc.cats[label] for label in labels] for doc in docs])
    return scores, np.array([[label in row["labels"] for label in labels] for row in rows])


def best_thresholds(scores: NDArray[Any], gold: NDArray[Any]) -> NDArray[Any]:
    """The threshold of each label with the best F-score, half way between two scores, (n_labels,)."""
    thresholds = np.full(scores.shape[1], 0.5)
    for j in range(scores.shape[1]):
        order = np.argsort(-scores[:, j], kind="stable")
        sorted_scores, hits = scores[order, j], np.cumsum(gold[order, j])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + max(int(gold[:, j].sum()), 1))
        # A threshold cannot part equal scores.
        f1[:-1][sorted_scores[:-1] == sorted_scores[1:]] = -1.0
        best = int(f1.argmax())
        below = sorted_scores[best + 1] if best + 1 < len(order) else 0.0
        thresholds[j] = (sorted_scores[best] + below) / 2
    return thresholds


def macro_f1(predicted: NDArray[Any], gold: NDArray[Any]) -> float:
    """Mean F-score of the labels; 0 for one that is neither predicted nor there."""
    right = (predicted & gold).sum(axis=0)
    return float(np.mean(2 * right / np.maximum(predicted.sum(axis=0) + gold.sum(axis=0), 1)))


def figures(result: dict[str, float]) -> str:
    """One line."""
    return "  ".join(
        f"{key} {value:.0f}" if key == "seconds" else f"{key} {value:.4f}" for key, value in result.items()
    )


def spread(values: list[float]) -> str:
    """Mean and deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"mean {statistics.mean(values):+.4f}  deviation {deviation:.4f}"


if __name__ == "__main__":
    main()
