"""Accuracy of what `spacy transfer init` writes, untouched, against other ways to train a classifier on the same texts.

    python benchmarks/accuracy.py --data FOLDER [--sets trec,sst2] [--shots 8,64,full] [--seeds 5]
        [--methods ours,probe,spacy,hf] [--peer fastfit=PYTHON] [--encoder NAME] [--most-test 2000] [--cells FILE]
        [--gpu-id 0] [--jobs 1]

FOLDER holds a folder for each set, with train.jsonl and test.jsonl of {"text", "label"} lines. A cell is a set, a
number of texts a label, a seed and a method; each runs in a process of its own and is kept in --cells, one line a
cell, so that a run that was stopped goes on where it was. Every method of a cell sees the same texts, the same encoder
and the same test texts (evenly taken, at most --most-test); a method that wants dev texts takes them from its own.

Methods: `ours` (init, convert, train), `probe` (logistic regression on the frozen encoder's vectors, C by
cross-validation), `spacy` (textcat of spaCy on spacy-transformers), `hf` (the Trainer of transformers). With --peer
NAME=PYTHON, another interpreter runs NAME: `setfit`, `fastfit`, `model2vec` or `autointent`, with its own defaults. How
each is called: accuracy_methods.py. Needs the extra `bench`. Cells beside each other (--jobs) share the machine: their
seconds then say nothing.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from spacy_transfer.repository.resolve import find_encoder

OWN = ("ours", "probe", "spacy", "hf")
PEERS = ("setfit", "fastfit", "model2vec", "autointent")
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
Row = dict[str, str]


@dataclass(frozen=True)
class Cell:
    """One training and its test.

    data (str): Name of the set.
    shots (str): Texts a label, or "full".
    seed (int): Of the draw and the training.
    method (str): Which.
    """

    data: str
    shots: str
    seed: int
    method: str


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="trec,sst2,banking77,agnews")
    parser.add_argument("--shots", default="8,64,full")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(OWN))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--most-test", type=int, default=2000)
    parser.add_argument("--budget", help="of `init`: 90s, 10m")
    parser.add_argument("--cells", type=Path, default=Path("accuracy.jsonl"))
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for a cell")
    parser.add_argument("--gpu-id", type=int, default=-1, help="-1 for the CPU")
    parser.add_argument("--jobs", type=int, default=1, help="cells beside each other")
    args = parser.parse_args()
    pythons = dict.fromkeys(args.methods.split(","), sys.executable) | dict(one.split("=", 1) for one in args.peer)
    if unknown := sorted(set(pythons) - {*OWN, *PEERS}):
        parser.error(f"no method is called {', '.join(unknown)}; there are {', '.join((*OWN, *PEERS))}")
    sets, shots = args.sets.split(","), args.shots.split(",")
    done = finished(args.cells)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    missing = [cell for cell in cells(sets, shots, seeds, list(pythons)) if cell not in done]
    with ThreadPoolExecutor(args.jobs) as pool:
        for cell, found in zip(missing, pool.map(lambda c: run(c, args, pythons[c.method]), missing), strict=True):
            done[cell] = found
            print(json.dumps(asdict(cell) | found), flush=True)
    for line in tables(done, sets, shots, list(pythons)):
        print(line)


def cells(sets: Sequence[str], shots: Sequence[str], seeds: Sequence[int], methods: Sequence[str]) -> Iterator[Cell]:
    """All cells, few texts first."""
    for few in shots:
        for seed in seeds:
            for data in sets:
                for method in methods:
                    yield Cell(data, few, seed, method)


def finished(path: Path) -> dict[Cell, dict[str, object]]:
    """Cells that were run before, those that failed aside; a line that was cut short counts for nothing."""
    found: dict[Cell, dict[str, object]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "accuracy" in row:
            cell = Cell(row["data"], row["shots"], row["seed"], row["method"])
            found[cell] = {key: value for key, value in row.items() if key not in asdict(cell)}
    return found


def run(cell: Cell, args: argparse.Namespace, python: str) -> dict[str, object]:
    """Train and test in a process of its own, and keep what came of it."""
    with tempfile.TemporaryDirectory(prefix="accuracy-") as name:
        folder = Path(name)
        train = draw(read(args.data / cell.data / "train.jsonl"), cell.shots, cell.seed)
        test = read(args.data / cell.data / "test.jsonl")
        write(folder / "train.jsonl", train)
        write(folder / "test.jsonl", test[:: -(-len(test) // args.most_test)])
        here = Path(__file__).with_name("accuracy_methods.py")
        encoder = args.encoder if cell.method in OWN else str(find_encoder(args.encoder, None, download=False).folder)
        command = [python, str(here), cell.method, str(folder), "--encoder", encoder, "--seed", str(cell.seed)]
        command += ["--shots", cell.shots, "--gpu-id", str(args.gpu_id)]
        command += ["--budget", args.budget] if args.budget else []
        threads = os.environ.get("OMP_NUM_THREADS", "")
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=args.limit, check=False)
            last = ended.stdout.strip().splitlines()[-1:] if ended.returncode == 0 else []
            found: dict[str, object] = json.loads(last[0]) if last else {"error": ended.stderr.strip()[-300:]}
        except subprocess.TimeoutExpired:
            found = {"error": f"not done after {args.limit:g} s"}
    found |= {"n_train": len(train), "threads": threads}
    with args.cells.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cell) | found) + "\n")
    return found


# ---- texts -------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Row]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Lines of a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def draw(rows: Sequence[Row], shots: str, seed: int) -> list[Row]:
    """So many texts of each label, or all, in an order of their own."""
    chance = random.Random(seed)
    chosen: list[Row] = []
    for label in sorted({row["label"] for row in rows}):
        mine = [row for row in rows if row["label"] == label]
        chance.shuffle(mine)
        chosen += mine if shots == "full" else mine[: int(shots)]
    chance.shuffle(chosen)
    return chosen


# ---- tables ------------------------------------------------------------------------------------------------------


def tables(
    done: Mapping[Cell, Mapping[str, object]], sets: Sequence[str], shots: Sequence[str], methods: Sequence[str]
) -> Iterator[str]:
    """Mean and standard deviation by set, and over sets; paired differences of ours, seed by seed."""
    for few in shots:
        yield f"\n{few} texts a label" if few != "full" else "\nall texts"
        yield f"| method | {' | '.join(sets)} | mean | seconds | CPU seconds | ours is better by |"
        yield f"|---|{'---|' * (len(sets) + 4)}"
        every = {
            (c.method, c.data, c.seed): one
            for c, one in done.items()
            if c.shots == few and c.data in sets and "accuracy" in one
        }
        for method in methods:
            columns = [[_number(one, "accuracy") for key, one in every.items() if key[:2] == (method, d)] for d in sets]
            if not all(columns):
                yield f"| {method} | {' | '.join(_cell(one) for one in columns)} | | | | |"
                continue
            mean = statistics.mean(statistics.mean(column) for column in columns)
            mine = [one for key, one in every.items() if key[0] == method]
            seconds, cpu = (_mean_of(mine, key) for key in ("seconds", "cpu_seconds"))
            yield (
                f"| {method} | {' | '.join(_cell(one) for one in columns)} | {mean:.1%} | {seconds} | {cpu} | "
                f"{_paired(every, method)} |"
            )


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    deviation = f" ({100 * statistics.stdev(values):.1f})" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


def _mean_of(rows: Sequence[Mapping[str, object]], key: str) -> str:
    """Without a unit; nothing if a cell was run before it was counted."""
    return f"{statistics.mean(_number(row, key) for row in rows):.0f}" if all(key in row for row in rows) else ""


def _paired(every: Mapping[tuple[str, str, int], Mapping[str, object]], method: str) -> str:
    """Mean difference over sets and seeds that both have, and its standard error over the seeds' means."""
    by_seed: dict[int, list[float]] = {}
    for (name, data, seed), one in every.items():
        if name == method != "ours" and ("ours", data, seed) in every:
            difference = _number(every["ours", data, seed], "accuracy") - _number(one, "accuracy")
            by_seed.setdefault(seed, []).append(difference)
    sizes = Counter(len(values) for values in by_seed.values())
    means = [statistics.mean(values) for values in by_seed.values() if len(values) == max(sizes)] if sizes else []
    if not means:
        return ""
    error = f" ± {100 * statistics.stdev(means) / len(means) ** 0.5:.1f}" if len(means) > 1 else ""
    return f"{100 * statistics.mean(means):+.1f}{error}"


def _number(row: Mapping[str, object], key: str) -> float:
    value = row[key]
    assert isinstance(value, int | float)
    return float(value)


if __name__ == "__main__":
    main()
