"""How well `spacy transfer curve` foresees what twice the texts bring.

    python benchmarks/curve.py FOLDER [FOLDER ...] [--shares 0.1 0.25 0.5] [--seeds 5] [--json FILE]

A folder holds train.jsonl and test.jsonl with {"text", "label"} lines. Every seed draws a share of the training texts;
the curve is made of these alone, scored on the test texts, and its forecast of twice as many is compared with what
probes on twice as many texts reach, mean of three draws. The encoder is that of the shipped configs, as it is. Needs
the extra `demo`.
"""

import argparse
import json
import logging
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from kept_vectors import train_and_test

from spacy_transfer.analysis.curve.curve import Data, learning_curve
from spacy_transfer.training.held_out import scores_by_size

N_DRAWS = 3


def main() -> None:
    """Print each folder and share: forecast, interval, what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--vectors", type=Path, help="folder that keeps vectors for the next run")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    results = []
    for folder in args.folders:
        n_training, vectors, gold = train_and_test(folder, args.vectors)
        data = Data(vectors, gold, np.ones_like(gold), exclusive=True)
        for share in args.shares:
            runs = [run(data, n_training, share, seed) for seed in range(args.seeds)]
            results += [{"folder": folder.name, "share": share, **one} for one in runs]
            mean = {key: statistics.mean(one[key] for one in runs) for key in runs[0]}
            errors = [abs(one["forecast"] - one["came"]) for one in runs]
            n_inside = sum(one["inside"] for one in runs)
            print(
                f"{folder.name}: {mean['n']:.0f} texts {mean['now']:.1%}; twice as many: forecast "
                f"{mean['forecast']:.1%} ({mean['low']:.1%} to {mean['high']:.1%}), came {mean['came']:.1%}; off by "
                f"{statistics.mean(errors):.1%} on average, within the interval {n_inside} of {len(runs)}",
                flush=True,
            )
    n_inside = sum(one["inside"] for one in results)
    print(f"{n_inside} of {len(results)} within their intervals")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def run(data: Data, n_training: int, share: float, seed: int) -> dict[str, Any]:
    """Forecast from a share, and train on twice as many."""
    order = np.random.default_rng(seed).permutation(n_training)
    n = round(share * n_training)
    test = np.arange(n_training, len(data.vectors))
    found = learning_curve(data, order[:n], test, steps=10, seed=seed)
    twice = found.forecasts[0]
    targets, came = data.gold.astype(np.float32), []
    for draw in range(N_DRAWS):
        # The texts that there are, and as many others.
        rest = np.random.default_rng(100 * seed + draw).permutation(order[n:])[: twice.n - n]
        (scores,) = scores_by_size(
            data.vectors, targets, np.ones_like(targets), [*order[:n].tolist(), *rest.tolist()], [twice.n],
            test.tolist(), exclusive=True, c=found.penalty,
        )  # fmt: skip
        came.append(float((scores.argmax(axis=1) == data.gold[test].argmax(axis=1)).mean()))
    value = statistics.mean(came)
    return {
        "n": n, "now": found.points[-1].score.value, "forecast": twice.score.value, "low": twice.score.low,
        "high": twice.score.high, "came": value, "inside": twice.score.low <= value <= twice.score.high,
    }  # fmt: skip


if __name__ == "__main__":
    main()
