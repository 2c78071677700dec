"""Labels flipped at random: how many of them `spacy transfer doctor` puts first.

    python benchmarks/doctor.py DATA.jsonl [DATA.jsonl ...] [--share 0.05] [--first 0.07] [--seeds 5] [--texts 10000]
        [--json FILE]

Files hold {"text", "label"} lines. Every seed flips the labels of its own texts, each to any of the others with the
same chance, and the ranking is the one that the command shows. With --share 0, what is estimated to be wrong is a false
alarm, but for the labels that are wrong in the file. The encoder is that of the shipped configs, as it is.
Needs the extra `demo`.
"""

import argparse
import json
import logging
import random
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from kept_vectors import read, vectors_of_rows

from spacy_transfer.analysis.doctor.confident import confident_joint
from spacy_transfer.analysis.doctor.suspects import find_doubts
from spacy_transfer.training.held_out import held_out_scores


def main() -> None:
    """Print each file with means and standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are flipped")
    parser.add_argument("--first", type=float, default=0.07, help="of the ranking that is looked at")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=10_000, help="of each file at most, drawn at random")
    parser.add_argument("--vectors", type=Path, help="folder that keeps vectors for the next run")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    results: dict[str, list[dict[str, float]]] = {}
    for path in args.data:
        every = read(path)
        chosen = random.Random(0).sample(range(len(every)), min(args.texts, len(every)))
        vectors = vectors_of_rows(path, every, args.vectors)[chosen]
        rows = [every[i] for i in chosen]
        labels = sorted({row["label"] for row in rows})
        name = str(path.relative_to(path.parent.parent))
        results[name] = [run(vectors, rows, labels, seed, args) for seed in range(args.seeds)]
        print(f"{name}: {len(rows):,} texts, {len(labels)} labels, {args.share:.0%} flipped", flush=True)
        for key in results[name][0]:
            values = [one[key] for one in results[name]]
            print(f"  {key:40} {statistics.mean(values):8.3f}  deviation {statistics.pstdev(values):.3f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def run(vectors: Any, rows: list[dict[str, str]], labels: list[str], seed: int, args: Any) -> dict[str, float]:
    """Flip labels, and look for them."""
    chance = random.Random(seed)
    flipped = set(chance.sample(range(len(rows)), round(args.share * len(rows))))
    given = [
        chance.choice([label for label in labels if label != row["label"]]) if i in flipped else row["label"]
        for i, row in enumerate(rows)
    ]
    gold = np.array([[one == label for label in labels] for one in given])
    known = np.ones_like(gold)
    start = perf_counter()
    scores = held_out_scores(vectors, gold.astype(np.float32), known.astype(np.float32), exclusive=True)
    doubts = find_doubts(scores.astype(np.float64), gold, known, labels, exclusive=True)
    seconds = perf_counter() - start
    joint = confident_joint(scores.astype(np.float64), gold.argmax(axis=1)).joint
    estimate = {
        "counted to another label, share": float(joint.sum() - np.trace(joint)) / len(rows),
        "estimated wrong, share of the texts": doubts.n_wrong / len(rows),
        "accuracy of the probes": doubts.accuracy,
        "seconds without vectors": seconds,
    }
    if not flipped:
        return estimate
    ranking = [one.text for one in doubts.ranked]
    first, exact = ranking[: round(args.first * len(rows))], ranking[: len(flipped)]
    return {
        f"flipped found in the first {args.first:.0%}": len(flipped & set(first)) / len(flipped),
        f"flipped found in the first {args.share:.0%}": len(flipped & set(exact)) / len(flipped),
        "flipped among as many as are estimated wrong": len(flipped & set(ranking[: doubts.n_wrong]))
        / max(1, doubts.n_wrong),
        "right labels suggested for them": statistics.mean(
            one.suggested == rows[one.text]["label"] for one in doubts.ranked if one.text in flipped
        ),
        **estimate,
    }


if __name__ == "__main__":
    main()
