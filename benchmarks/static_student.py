"""A static student against its teacher: accuracy on test, and with --speed texts a second on one core.

    python benchmarks/static_student.py --data FOLDER [--sets banking77 agnews trec] [--seeds 1] [--work FOLDER]
        [--texts 8000] [--variants 2] [--teacher half_frozen] [--epochs 3] [--speed]

FOLDER holds a folder for each set with train.jsonl and test.jsonl of {"text", "label"} lines. A tenth of train, drawn
by seed 0, is dev; of the rest, at most --texts are learned from. The teacher is trained with --teacher, a config of
configs/, the student with `spacy transfer distill` and configs/static.cfg on the same texts, with their labels and
--variants copies that the teacher scores. Both are taken at their best step on dev. What is trained stays in --work, so
that a run goes on where it was ended. --speed times `spacy_transfer.classify` on the test texts, made different each
turn, student and teacher in turns, with one thread; only for a quiet machine. Needs the extra `demo`.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import spacy
import torch
from finished import is_finished
from spacy.tokens import DocBin

from spacy_transfer import Distillation, classify, distill, train
from spacy_transfer.training.interrupted import to_its_end

CONFIGS = Path(__file__).parent.parent / "configs"
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# Texts that a turn times at least; the teacher needs seconds for them.
N_FAST, N_SLOW, TURNS = 40_000, 1_000, 5


def main() -> None:
    """Train what is not there, print accuracy and speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["banking77", "agnews", "trec"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--texts", type=int, default=8000)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--teacher", default="half_frozen")
    parser.add_argument("--epochs", type=int, default=0, help="of the teacher; 0: as its config says")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            compare(args, name, (args.work or Path(folder)) / name)
    print(f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")


def compare(args: argparse.Namespace, name: str, work: Path) -> None:
    """One set: both classifiers, for each seed."""
    test = read(args.data / name / "test.jsonl")
    labels = split(read(args.data / name / "train.jsonl"), work, args.texts)
    found: dict[str, list[float]] = {"teacher": [], "student": []}
    for seed in range(args.seeds):
        teacher, student = work / f"teacher-{seed}", work / f"student-{seed}"
        paths: dict[str, Any] = {
            "paths.train": str(work / "train.spacy"), "paths.dev": str(work / "dev.spacy"),
            "paths.labels": str(labels), "paths.encoder": ENCODER, "training.seed": seed,
        }  # fmt: skip
        if args.epochs:
            paths["training.max_epochs"] = args.epochs
        # Half a teacher is no teacher: a signal ends everything.
        if not is_finished(teacher):
            to_its_end(
                partial(train, CONFIGS / f"{args.teacher}.cfg", teacher, overrides=paths, show="none", force=True)
            )
        if not is_finished(student):
            plan = Distillation(variants=args.variants, seed=seed)
            distill(
                teacher / "model-best", CONFIGS / "static.cfg", [], student, labeled=work / "train.spacy",
                dev=work / "dev.spacy", plan=plan, force=True,
                overrides={"paths.encoder": ENCODER, "training.seed": seed},
            )  # fmt: skip
        for who, folder in (("teacher", teacher), ("student", student)):
            found[who].append(accuracy(folder / "model-best", test))
        print(f"{name} seed {seed}: teacher {found['teacher'][-1]:.4f}  student {found['student'][-1]:.4f}", flush=True)
    gaps = [a - b for a, b in zip(found["teacher"], found["student"], strict=True)]
    for who, values in (found | {"teacher - student": gaps}).items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name} {who:18} mean {statistics.mean(values):.4f}  standard deviation {spread:.4f}", flush=True)
    if args.speed:
        speed(name, work, [row["text"] for row in test])


def speed(name: str, work: Path, texts: list[str]) -> None:
    """Texts a second, in turns; the ratio is taken within a turn."""
    pipes = {who: spacy.load(work / f"{who}-0" / "model-best") for who in ("teacher", "student")}
    rates: dict[str, list[float]] = {who: [] for who in pipes}
    for turn in range(TURNS + 1):
        for who, nlp in pipes.items():
            n = N_FAST if who == "student" else N_SLOW
            # Different texts: nothing may be known from before.
            timed = [f"{texts[i % len(texts)]} {turn}.{i}" for i in range(n)]
            begin = time.perf_counter()
            for _ in classify(nlp, timed, batch_size=1024 if who == "student" else 256):
                pass
            if turn:
                rates[who].append(n / (time.perf_counter() - begin))
    ratios = [a / b for a, b in zip(rates["student"], rates["teacher"], strict=True)]
    for who, values in rates.items():
        print(
            f"{name} {who}: {statistics.median(values):,.0f} texts a second ({min(values):,.0f} to {max(values):,.0f})"
        )
    print(f"{name} ratio: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})", flush=True)


def read(path: Path) -> list[dict[str, str]]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def split(rows: list[dict[str, str]], work: Path, n_texts: int) -> Path:
    """Write train.spacy and dev.spacy. RETURNS (Path): labels.json."""
    random.Random(0).shuffle(rows)
    n_dev = len(rows) // 10
    labels = sorted({row["label"] for row in rows})
    work.mkdir(parents=True, exist_ok=True)
    nlp = spacy.blank("en")
    for file, part in (("dev", rows[:n_dev]), ("train", rows[n_dev : n_dev + n_texts])):
        docs = []
        for row in part:
            doc = nlp.make_doc(row["text"])
            doc.cats = {label: float(label == row["label"]) for label in labels}
            docs.append(doc)
        DocBin(docs=docs).to_disk(work / f"{file}.spacy")
    (work / "labels.json").write_text(json.dumps(labels), "utf-8")
    return work / "labels.json"


def accuracy(pipeline: Path, test: list[dict[str, str]]) -> float:
    """Share of the test texts whose best label is right."""
    nlp = spacy.load(pipeline)
    best = [label for label, _ in classify(nlp, [row["text"] for row in test])]
    return sum(a == row["label"] for a, row in zip(best, test, strict=True)) / len(test)


if __name__ == "__main__":
    main()
