"""How many labels `spacy transfer suggest` saves against random choice, by simulation.

    python benchmarks/suggest.py FOLDER [FOLDER ...] [--start 50] [--step 50] [--rounds 15] [--seeds 5]
        [--pool 10000] [--vectors FOLDER] [--json FILE]

A folder holds train.jsonl and test.jsonl with {"text", "label"} lines. The training texts play the unlabeled ones: a
linear probe learns from --start texts drawn at random, the strategy chooses --step more, whose labels are then looked
up, and so on. After each round the probe is scored on the test texts. Every seed draws its own first texts, the same
for all strategies. The encoder is that of the shipped configs, as it is. Needs the extra `demo`.
"""

import argparse
import json
import logging
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from kept_vectors import train_and_test

from spacy_transfer.analysis.suggest.choosing import STRATEGIES, choose
from spacy_transfer.training.held_out import scores_by_size

RANDOM = "random"
C = 1.0


def main() -> None:
    """Print the learning curves, and what each strategy saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--start", type=int, default=50)
    parser.add_argument("--step", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pool", type=int, default=10_000, help="training texts at most, drawn by each seed")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--vectors", type=Path, help="folder that keeps vectors for the next run")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    results: dict[str, dict[str, list[list[float]]]] = {}
    for folder in args.folders:
        n_training, vectors, gold = train_and_test(folder, args.vectors)
        found = results[folder.name] = {name: [] for name in (RANDOM, *args.strategies)}
        for seed in range(args.seeds):
            for name in found:
                found[name].append(simulate(vectors, gold, n_training, name, seed, args))
            print(
                f"{folder.name}, seed {seed}",
                {name: round(runs[-1][-1], 4) for name, runs in found.items()},
                flush=True,
            )
        show(folder.name, found, args)
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        args.json.write_text(json.dumps({"settings": settings, "runs": results}, indent=1) + "\n", "utf-8")


def simulate(vectors: Any, gold: Any, n_pool: int, strategy: str, seed: int, args: Any) -> list[float]:
    """Accuracy on the test texts after each round."""
    generator = np.random.default_rng(seed)
    # The test texts stay at the end.
    kept = generator.choice(n_pool, min(n_pool, args.pool), replace=False)
    rows = np.concatenate([kept, np.arange(n_pool, len(vectors))])
    vectors, gold, n_pool = vectors[rows], gold[rows], len(kept)
    labeled = generator.choice(n_pool, args.start, replace=False).tolist()
    targets, every = gold.astype(np.float32), list(range(len(vectors)))
    found = []
    for turn in range(args.rounds + 1):
        (scores,) = scores_by_size(
            vectors, targets, np.ones_like(targets), labeled, [len(labeled)], every, exclusive=True, c=C
        )  # fmt: skip
        right = scores[n_pool:].argmax(axis=1) == gold[n_pool:].argmax(axis=1)
        found.append(float(right.mean()))
        rest = np.setdiff1d(np.arange(n_pool), labeled)
        if strategy == RANDOM:
            labeled += generator.choice(rest, args.step, replace=False).tolist()
            continue
        chosen = choose(
            scores[rest], vectors[rest], args.step, strategy, exclusive=True, covered=vectors[labeled],
            seed=1000 * seed + turn,
        )  # fmt: skip
        labeled += rest[chosen].tolist()
    return found


def show(name: str, found: dict[str, list[list[float]]], args: Any) -> None:
    """Print means and standard deviations, and the labels with which a strategy is as good as random choice."""
    budgets = [args.start + args.step * i for i in range(args.rounds + 1)]
    means = {key: np.mean(runs, axis=0) for key, runs in found.items()}
    print(f"\n{name}: accuracy on test, mean of {args.seeds} seeds (standard deviation)")
    print(f"{'labels':>8}", *(f"{key:>16}" for key in found))
    for i, budget in enumerate(budgets):
        cells = []
        for key, runs in found.items():
            deviation = statistics.pstdev(run[i] for run in runs)
            cells.append(f"{100 * means[key][i]:9.1f} ({100 * deviation:.1f})".rjust(16))
        print(f"{budget:>8}", *cells)
    for part in (0.5, 1.0):
        at = round(part * args.rounds)
        wanted = means[RANDOM][at]
        for key in found:
            if key != RANDOM:
                needed = labels_needed(budgets, means[key], wanted)
                said = (
                    "more than were tried" if needed is None else f"{needed:.0f}, {1 - needed / budgets[at]:.0%} fewer"
                )
                print(f"  as good as random with {budgets[at]} labels ({wanted:.1%}): {key} with {said}")
    print(flush=True)


def labels_needed(budgets: list[int], scores: Any, wanted: float) -> float | None:
    """With how many labels a curve first reaches a score, between two budgets by a straight line."""
    for i, score in enumerate(scores):
        if score >= wanted:
            if i == 0:
                return float(budgets[0])
            share = (wanted - scores[i - 1]) / (score - scores[i - 1])
            return float(budgets[i - 1] + share * (budgets[i] - budgets[i - 1]))
    return None


if __name__ == "__main__":
    main()
