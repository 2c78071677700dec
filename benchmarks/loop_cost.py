"""What our own loop costs: against bare `nlp.update`, against `spacy train`, and what a checkpoint takes.

    python benchmarks/loop_cost.py --data FILE.jsonl [--encoder NAME] [--texts 800] [--runs 3] [--json FILE]

FILE holds {"text", "label"} lines; a tenth becomes the dev part. Three kinds of training (everything moves, three
layers frozen, whole encoder frozen) are run by four contestants on the same texts and batches of 16, each in a process
of its own, one after the other in turns; a ratio is taken within a turn, median and spread are over turns. A
contestant's time is the median of its steps after the first ten (a frozen encoder's vectors are computed by then),
taken by the same callback before each update, so evaluations and loading are out.

    bare      nlp.update, finish_update, step_schedules and nothing else
    spacy     spacy.training.loop.train
    ours      our loop without checkpoints
    saving    our loop with the default cadence; seconds of each checkpoint are counted apart, as a share of the time
              from one to the next: 100 steps, or 30 s if that is later

Needs: pip install 'spacy-transfer[demo]'
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

MODEL = "transfer_textcat"
WHO = ("bare", "spacy", "ours", "own", "saving")
KINDS: dict[str, Any] = {"full": -1, "half": 3, "frozen": "all"}
# work, against, kind, ours, peer, what must be reached
TABLE = [
    *((f"the loop, {kind}", "bare nlp.update", kind, "ours", "bare", "at most 1.02x the time") for kind in KINDS),
    *((f"the loop, {kind}", "spacy train", kind, "ours", "spacy", "at most 1.00x the time") for kind in KINDS),
]


def main() -> None:
    """Run all contestants in turns and print the table."""
    args = arguments()
    if args.worker:
        print("RESULT " + json.dumps(work(*args.worker.split("-"), args)))
        return
    turns: list[dict[str, Any]] = []
    for turn in range(args.runs):
        turns.append({})
        for kind in args.kinds:
            for who in WHO:
                found = turns[-1][f"{who}-{kind}"] = start(f"{who}-{kind}")
                print(
                    f"turn {turn + 1}  {who:7} {kind:7} {1000 * found['step']:8.3f} ms a step {found['note']}",
                    flush=True,
                )
    rows = []
    for work_, against, kind, ours, peer, must in TABLE:
        if kind in args.kinds:
            ratios = sorted(turn[f"{ours}-{kind}"]["step"] / turn[f"{peer}-{kind}"]["step"] for turn in turns)
            rows.append(row(work_, against, ratios, must, turns))
    for kind in args.kinds:
        shares = sorted(turn[f"own-{kind}"]["step"] / turn[f"bare-{kind}"]["step"] for turn in turns)
        rows.append(row(f"the loop's own, {kind}", "bare nlp.update", shares, "at most 0.02 of it", turns))
        shares = sorted(turn[f"saving-{kind}"]["share"] for turn in turns)
        rows.append(row(f"checkpoints, {kind}", "training time", shares, "at most 0.03 of it", turns))
    for one in rows:
        print(
            "{work:22} {against:16} {ratio:7.4f} ({low:.4f} to {high:.4f}, {runs} turns), must be {must}".format(**one)
        )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=2))


def row(work_: str, against: str, values: list[float], must: str, turns: list[Any]) -> dict[str, Any]:
    """A line of the table."""
    middle = statistics.median(values)
    return {
        "work": work_, "against": against, "ratio": middle, "low": values[0], "high": values[-1], "runs": len(turns),
        "must": must,
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def start(worker: str) -> dict[str, Any]:
    """Run a contestant in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", worker]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{worker} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def work(who: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train. RETURNS (dict): Median seconds a step, and of checkpoints their share."""
    import spacy
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import create_train_batches, subdivide_batch
    from spacy.training.loop import train as spacy_train
    from spacy.util import registry, resolve_dot_names

    from spacy_transfer.training import session
    from spacy_transfer.training import train as ours

    ticks: list[float] = []
    spacy.registry.callbacks.register("tick.v1", func=lambda: lambda nlp, info: ticks.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = config_of(folder, kind, args)
        saves: list[float] = []
        if who in ("ours", "own", "saving"):
            original = session.Session.checkpoint

            def timed(self: Any) -> None:
                begin = time.perf_counter()
                original(self)
                saves.append(time.perf_counter() - begin)

            session.Session.checkpoint = timed  # type: ignore[method-assign]
            every = "auto" if who == "saving" else "1000000"
            ours.train(
                config, folder / "out", checkpoint_every=every, show="lines", stdout=io.StringIO(),
                stderr=io.StringIO(), make_update=(lambda nlp: idle) if who == "own" else None,
            )  # fmt: skip
        else:
            nlp = init_nlp(config)
            if who == "spacy":
                (folder / "out").mkdir()
                spacy_train(nlp, folder / "out", stdout=io.StringIO(), stderr=io.StringIO())
            else:
                settings = registry.resolve(nlp.config.interpolate()["training"])
                (corpus,) = resolve_dot_names(nlp.config.interpolate(), ["corpora.train"])
                batches = create_train_batches(nlp, corpus, settings["batcher"], 0)
                for step, (epoch, batch) in enumerate(batches):
                    settings["before_update"](nlp, {"step": step, "epoch": epoch})
                    for part in subdivide_batch(batch, 1):
                        nlp.update(part, drop=0.1, sgd=False)
                    nlp.get_pipe(MODEL).finish_update(settings["optimizer"])
                    settings["optimizer"].step_schedules()
                    if step == args.steps:
                        break
    lengths = [b - a for a, b in pairwise(ticks)][10:]
    step = statistics.median(lengths)
    result = {"step": step, "note": ""}
    if who == "saving":
        interval = max(30.0, 100 * step)
        # The first writes all weights beside; it stands for the others, which write moments as well, with the last.
        save = max(saves)
        result.update(share=save / interval, note=f"a checkpoint {save:.2f} s, one every {interval:.0f} s")
    return result


def idle(batch: list[Any], *, drop: float, losses: dict[str, float]) -> None:
    """An update without work."""
    losses[MODEL] = losses.get(MODEL, 0.0) + 1.0


def config_of(folder: Path, kind: str, args: argparse.Namespace) -> Any:
    """Write the data, make the config."""
    import spacy
    from spacy.tokens import DocBin
    from thinc.api import Config

    rows = [json.loads(line) for line in Path(args.data).read_text("utf-8").splitlines()[: args.texts]]
    labels = sorted({one["label"] for one in rows})
    nlp = spacy.blank("en")
    docs = []
    for one in rows:
        doc = nlp.make_doc(one["text"])
        doc.cats = {label: float(label == one["label"]) for label in labels}
        docs.append(doc)
    n_dev = max(1, len(docs) // 10)
    DocBin(docs=docs[n_dev:]).to_disk(folder / "train.spacy")
    DocBin(docs=docs[:n_dev]).to_disk(folder / "dev.spacy")
    readers = {
        name: {"@readers": "spacy.Corpus.v1", "path": str(folder / f"{name}.spacy"), "max_length": 0, "limit": 0,
               "gold_preproc": False, "augmenter": None} for name in ("train", "dev")
    }  # fmt: skip
    model = {"encoder": {"name": args.encoder, "revision": None}, "tuning": {"frozen_depth": KINDS[kind]}}
    return Config({
        "nlp": {"lang": "en", "pipeline": [MODEL]},
        "components": {MODEL: {"factory": MODEL, "model": model}}, "corpora": readers,
        "training": {
            "seed": 0, "gpu_allocator": None, "max_steps": args.steps, "eval_frequency": 1_000_000, "dropout": 0.1,
            "patience": 0, "before_update": {"@callbacks": "tick.v1"},
            "batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 16, "buffer": 16},
            "optimizer": {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 1e-4},
        },
        "initialize": {"components": {MODEL: {"labels": labels}}},
    })  # fmt: skip


if __name__ == "__main__":
    main()
