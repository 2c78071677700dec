"""Teach a classifier 27 further labels: `update`, with and without old texts, against training on everything at once.

    python benchmarks/update.py --data banking77 --old banking77_oos/train.jsonl --work FOLDER [--seeds 0] [--epochs 6]
        [--per-label 40] [--choose] [--plan '{"epochs": 4}']

DATA holds train.jsonl and test.jsonl of {"text", "label"}; the labels in --old are those that the classifier begins
with, all others are new. Each seed trains a classifier of the old labels and one of all labels as
configs/half_frozen.cfg says, then updates the first one. Trained pipelines in --work are used again. Scores are
accuracies on the test texts of old and of new labels, among all labels that a classifier knows. --choose measures on
training texts that --per-label leaves out, where settings (--plan, fields of `Updating`) are chosen. Needs the extra
`demo`.
"""

import argparse
import json
import logging
import random
import statistics
from functools import partial
from pathlib import Path
from time import perf_counter

import spacy
from finished import is_finished
from spacy.tokens import DocBin

from spacy_transfer import Updating, train, update_pipeline
from spacy_transfer.training.interrupted import to_its_end

CONFIG = Path(__file__).parents[1] / "configs" / "half_frozen.cfg"
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
Row = dict[str, str]


def main() -> None:
    """Print the accuracies of each seed, and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--old", type=Path, required=True, help="rows whose labels are the old ones")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=6, help="of the trainings that updates are compared with")
    parser.add_argument("--per-label", type=int, default=0, help="training texts of each label at most; 0: all")
    parser.add_argument("--choose", action="store_true", help="measure on training texts that were not drawn")
    parser.add_argument("--plan", type=json.loads, default={}, help="JSON: how pipelines are updated")
    parser.add_argument("--ways", nargs="+", default=["all at once", *WAYS])
    args = parser.parse_args()
    logging.getLogger("spacy_transfer").setLevel("WARNING")
    old = {row["label"] for row in read(args.old)}
    rows, test = read(args.data / "train.jsonl"), read(args.data / "test.jsonl")
    if args.choose and not args.per_label:
        parser.error("--choose needs texts that --per-label leaves out")
    if args.per_label:
        every, rows = rows, draw(rows, args.per_label)
        if args.choose:
            drawn = {row["text"] for row in rows}
            test = [row for row in every if row["text"] not in drawn]
    args.work.mkdir(parents=True, exist_ok=True)
    parts = {
        "old": [row for row in rows if row["label"] in old],
        "new": [row for row in rows if row["label"] not in old],
    }
    # Texts without labels: a quarter of the old ones, which then are no texts with labels.
    parts["raw"] = [{"text": row["text"]} for row in parts["old"][::4]]
    parts["few"] = parts["old"][::4]
    tests = {part: [row for row in test if (row["label"] in old) == (part == "old")] for part in ("old", "new")}
    known = {row["text"] for row in test}
    for name, some in {**parts, "test-old": tests["old"], "test-new": tests["new"]}.items():
        kept = [row for row in some if name.startswith("test") or row["text"] not in known]
        lines = "".join(f"{json.dumps(row)}\n" for row in kept)
        (args.work / f"{name}.jsonl").write_text(lines, "utf-8")
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in args.seeds:
        start = fitted(args.work, "old", parts["old"], seed, args.epochs)
        show(found, "old labels alone", (accuracy(start, tests["old"]), 0.0), 0.0)
        for way in args.ways:
            began = perf_counter()
            if way == "all at once":
                folder = fitted(args.work, "all", rows, seed, args.epochs)
            else:
                folder = args.work / f"{way.replace(' ', '-')}-{seed}"
                files = {key: args.work / value for key, value in WAYS[way].items()}
                texts = [files.pop("texts")] if "texts" in files else []
                update_pipeline(
                    start, args.work / "new.jsonl", folder, texts=texts, **files, force=True, max_forgetting=1.0,
                    old_test=args.work / "test-old.jsonl", new_test=args.work / "test-new.jsonl",
                    plan=Updating(**args.plan, seed=seed),
                )  # fmt: skip
            show(found, way, (accuracy(folder, tests["old"]), accuracy(folder, tests["new"])), perf_counter() - began)
    if len(args.seeds) > 1:
        for name, values in found.items():
            columns = [spread(column) for column in zip(*values, strict=True)]
            print(f"mean {name:34} old {columns[0]}  new {columns[1]}")


WAYS = {
    "update, all old texts": {"replay": "old.jsonl"},
    "update, a quarter of the old texts": {"replay": "few.jsonl"},
    "update, texts without labels": {"texts": "raw.jsonl"},
    "update, new texts alone": {},
}


def draw(rows: list[Row], per_label: int) -> list[Row]:
    """Some texts of each label, two thirds of them at most: the others were there to choose settings on."""
    chance, drawn = random.Random(7), []
    for label in sorted({row["label"] for row in rows}):
        mine = [row for row in rows if row["label"] == label]
        chance.shuffle(mine)
        drawn += mine[: min(per_label, len(mine) * 2 // 3)]
    chance.shuffle(drawn)
    return drawn


def read(path: Path) -> list[Row]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def fitted(work: Path, name: str, rows: list[Row], seed: int, epochs: int) -> Path:
    """A pipeline that was trained from the encoder; once."""
    folder = work / f"{name}-{seed}"
    if not is_finished(folder):
        vocab = spacy.blank("en")
        for part, some in (("train", rows), ("dev", rows[::40])):
            docs = DocBin(attrs=["ORTH"])
            for row in some:
                doc = vocab.make_doc(row["text"])
                doc.cats = {row["label"]: 1.0}
                docs.add(doc)
            docs.to_disk(work / f"{part}.spacy")
        values = {
            "paths.train": str(work / "train.spacy"), "paths.dev": str(work / "dev.spacy"), "paths.labels": None,
            "paths.encoder": ENCODER, "training.seed": seed, "training.max_epochs": epochs,
            # Only the last weights are looked at.
            "training.eval_frequency": 10**6,
            "initialize.components.transfer_textcat.labels": sorted({row["label"] for row in rows}),
        }  # fmt: skip
        # A signal ends everything: half a classifier is none to compare with.
        to_its_end(partial(train, CONFIG, folder, overrides=values, show="none", force=True))
    return folder / "model-last"


def accuracy(pipeline: Path, rows: list[Row]) -> float:
    """Share of the texts whose best label is theirs."""
    nlp = spacy.load(pipeline)
    docs = nlp.pipe(row["text"] for row in rows)
    return sum(max(doc.cats, key=doc.cats.get) == row["label"] for doc, row in zip(docs, rows, strict=True)) / len(rows)


def show(found: dict[str, list[tuple[float, float]]], name: str, values: tuple[float, float], seconds: float) -> None:
    """Print a line and keep its numbers."""
    found.setdefault(name, []).append(values)
    print(f"{name:39} old {100 * values[0]:5.1f}  new {100 * values[1]:5.1f}  {seconds:5.0f} s", flush=True)


def spread(values: tuple[float, ...]) -> str:
    """Mean and standard deviation, in percent."""
    return f"{100 * statistics.mean(values):5.1f} ({100 * statistics.stdev(values):.1f})"


if __name__ == "__main__":
    main()
