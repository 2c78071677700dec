"""Whether a training step takes as long as in another checkout: two processes that step in turns.

    python benchmarks/step_time.py --other FOLDER --data FILE.jsonl [--python FILE] [--turns 40] [--json FILE]

FOLDER is a checkout of another commit (`git worktree add FOLDER COMMIT`), --python an interpreter whose environment has
that checkout installed. FILE holds {"text", "label"} lines. Whole runs of one checkout differ by 40 % on a shared
machine, which hides what a change costs; here each process does one step (50 where the encoder is frozen) while the
other waits, over the same batches of 16, and a ratio is taken within such a turn. Printed: the median ratio here to
there, its quartiles, the ratio of the processes' CPU time, milliseconds a step of both, and what the first epoch cost
more than as many median steps, since some things are measured there once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from train_speed import default_encoder, machine

KINDS: dict[str, tuple[int | str, float, int]] = {
    "full": (-1, 1e-4, 1),
    "half": (3, 2e-4, 1),
    "frozen": ("all", 1e-2, 50),
}
N_DOCS, BATCH = 320, 16
Timed = tuple[float, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--python", type=Path, help="default: OTHER/.venv/bin/python")
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=list(KINDS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.encoder = args.encoder or default_encoder()
    if args.worker:
        work(args.worker, args.data, args.encoder)
        return
    if args.other is None:
        parser.error("--other is missing")
    here, there = Path(__file__).resolve().parent.parent, args.other.resolve()
    python = {here: Path(sys.executable), there: args.python or there / ".venv/bin/python"}
    print(machine())
    rows = []
    for kind in args.kinds:
        sides = {folder: Side(folder, python[folder], kind, args.data, args.encoder) for folder in (here, there)}
        rows.append(compare(kind, sides[here], sides[there], args.turns))
        for side in sides.values():
            side.end()
        print("{work:8} here/there {ratio:.3f} (quartiles {low:.3f} to {high:.3f}), CPU {cpu:.3f}; "
              "{ms:.1f} and {ms_other:.1f} ms a step; first epoch {first:+.1f} and {first_other:+.1f} s"
              .format(**rows[-1]), flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


class Side:
    """A process that steps when it is told to."""

    def __init__(self, folder: Path, python: Path, kind: str, data: Path, encoder: Path) -> None:
        command = [python, Path(__file__).resolve(), "--data", data.resolve(), "--encoder", encoder, "--worker", kind]
        # The one that waits must not turn in a loop for work.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def steps(self, n_steps: int) -> Timed:
        """Seconds, and seconds of CPU, of so many steps."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self.process.stdin.write(f"{n_steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} ended with {self.process.wait()}")
        seconds, cpu = map(float, line.split())
        return seconds, cpu

    def end(self) -> None:
        """The process is not needed any more."""
        self.process.kill()
        self.process.wait()


def compare(kind: str, here: Side, there: Side, turns: int) -> dict[str, object]:
    """One row: the ratios over turns."""
    n_steps, epoch = KINDS[kind][2], N_DOCS // BATCH
    first = {side: side.steps(epoch)[0] for side in (here, there)}
    times: dict[Side, list[Timed]] = {here: [], there: []}
    for turn in range(turns):
        for side in (here, there) if turn % 2 else (there, here):
            times[side].append(side.steps(n_steps))
    low, ratio, high = statistics.quantiles(ratios(times[here], times[there], 0), n=4)
    step = {side: statistics.median(seconds for seconds, _ in times[side]) / n_steps for side in times}
    return {
        "work": kind, "ratio": ratio, "low": low, "high": high, "runs": turns,
        "cpu": statistics.median(ratios(times[here], times[there], 1)),
        "ms": 1e3 * step[here], "ms_other": 1e3 * step[there],
        "first": first[here] - epoch * step[here], "first_other": first[there] - epoch * step[there],
    }  # fmt: skip


def ratios(here: Sequence[Timed], there: Sequence[Timed], which: int) -> list[float]:
    """Of each turn."""
    return [mine[which] / other[which] for mine, other in zip(here, there, strict=True)]


def work(kind: str, data: Path, encoder: Path) -> None:
    """Step as often as each line of standard input says; only what every commit has is used."""
    import spacy
    from spacy.training import Example
    from thinc.api import fix_random_seed

    from spacy_transfer.training.adamw import AdamW

    with data.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(N_DOCS), strict=False)]
    labels = sorted({row["label"] for row in rows})
    frozen, rate, _ = KINDS[kind]
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {"encoder": {"name": str(encoder)}, "tuning": {"frozen_depth": frozen}}
    nlp.add_pipe("transfer_textcat", config={"model": model})
    cats = [{label: float(label == row["label"]) for label in labels} for row in rows]
    docs = [nlp.make_doc(row["text"]) for row in rows]
    examples = [Example.from_dict(doc, {"cats": one}) for doc, one in zip(docs, cats, strict=True)]
    nlp.initialize(lambda: examples)
    optimizer = AdamW(learn_rate=rate)
    done = 0
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            at = done * BATCH % len(examples)
            nlp.update(examples[at : at + BATCH], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
            done += 1
        print(time.perf_counter() - start, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main()
