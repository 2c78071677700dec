"""How soon a resumed run is under way: seconds to its first step, against those of a new run.

    python benchmarks/resume_time.py --data FILE.jsonl [--texts 100000] [--steps 10000] [--runs 3]
        [--encoder NAME | tiny]

FILE holds {"text", "label"} lines, repeated with a number before each where there are too few. One training with a
frozen encoder goes to --steps and pauses. Then, in turns, a new run and a resumed one are started in a process of their
own and stopped at their first step: seconds are from before the process begins to the callback before that step, so
imports, reading the data and the weights are in both. Must be reached: at most 5 s more. The encoder `tiny` is the
random BERT of soak_resume.py: with it the steps before the pause take minutes.

Needs: pip install 'spacy-transfer[demo]'
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "transfer_textcat"
MOST = 5.0


def main() -> None:
    """Train, then start in turns. Exit status 1 if resuming takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(Path(args.worker), args.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args)
        begin = time.time()
        start(folder, "resumed", "train")
        print(f"{args.steps} steps in {time.time() - begin:.0f} s", flush=True)
        found: dict[str, list[float]] = {"new": [], "resumed": []}
        for turn in range(args.runs):
            shutil.rmtree(folder / "new", ignore_errors=True)
            for kind, seconds in found.items():
                begin = time.time()
                seconds.append(start(folder, kind, "resume" if kind == "resumed" else "begin") - begin)
                print(f"turn {turn + 1}  {kind:8} {seconds[-1]:6.1f} s to the first step", flush=True)
        more = sorted(b - a for a, b in zip(*found.values(), strict=True))
    middle = statistics.median(more)
    print(f"resumed - new: {middle:+.1f} s ({more[0]:+.1f} to {more[-1]:+.1f}), must be at most {MOST:+.0f} s")
    sys.exit(middle > MOST)


def prepare(folder: Path, args: argparse.Namespace) -> None:
    """Write the data and the config."""
    import spacy
    from soak_resume import write_encoder
    from spacy.tokens import DocBin
    from thinc.api import Config

    encoder = args.encoder
    if encoder == "tiny":
        encoder = str(folder / "encoder")
        (folder / "encoder").mkdir()
        write_encoder(folder / "encoder", most_pieces=256)
    rows = [json.loads(line) for line in args.data.read_text("utf-8").splitlines()]
    labels = sorted({one["label"] for one in rows})
    nlp = spacy.blank("en")
    for name, n in (("train", args.texts), ("dev", 100)):
        docs = DocBin()
        for i in range(n):
            row, lap = rows[i % len(rows)], i // len(rows)
            doc = nlp.make_doc(f"{lap} {row['text']}" if lap else row["text"])
            doc.cats = {label: float(label == row["label"]) for label in labels}
            docs.add(doc)
        docs.to_disk(folder / f"{name}.spacy")
    readers = {
        name: {"@readers": "spacy.Corpus.v1", "path": str(folder / f"{name}.spacy"), "max_length": 0, "limit": 0,
               "gold_preproc": False, "augmenter": None} for name in ("train", "dev")
    }  # fmt: skip
    model = {"encoder": {"name": encoder, "revision": None}, "tuning": {"frozen_depth": "all"}}
    Config({
        "nlp": {"lang": "en", "pipeline": [MODEL]},
        "components": {MODEL: {"factory": MODEL, "model": model}}, "corpora": readers,
        "training": {
            "seed": 0, "gpu_allocator": None, "max_steps": 2 * args.steps, "eval_frequency": 1_000_000, "dropout": 0.1,
            "patience": 0, "before_update": {"@callbacks": "tick.v1"},
            "batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 16, "buffer": 16},
            "optimizer": {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 1e-3},
        },
        "initialize": {"components": {MODEL: {"labels": labels}}},
    }).to_disk(folder / "config.cfg")  # fmt: skip


def start(folder: Path, name: str, what: str) -> float:
    """Run a process. RETURNS (float): When its first step began, in seconds since the epoch."""
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", f"{folder}/{what}/{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIRST ")]
    if not lines:
        raise SystemExit(f"{what} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return float(lines[0].removeprefix("FIRST "))


def work(path: Path, steps: int) -> None:
    """Train to the pause, or only to the first step."""
    import spacy

    from spacy_transfer.training.train import train

    folder, what, name = path.parent.parent, path.parent.name, path.name
    told = False

    def tick(nlp: Any, info: Any) -> None:
        nonlocal told
        if not told:
            told = True
            print(f"FIRST {time.time()}", flush=True)
            if what != "train":
                # As a kill: the checkpoint stays as it is.
                os._exit(0)

    spacy.registry.callbacks.register("tick.v1", func=lambda: tick)
    train(
        folder / "config.cfg", folder / name, resume=what == "resume", stop_at=steps if what == "train" else 0,
        show="none",
    )  # fmt: skip


if __name__ == "__main__":
    main()
