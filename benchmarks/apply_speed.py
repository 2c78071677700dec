"""Files against texts in memory: what `spacy transfer apply` costs next to `nlp.pipe`, what repeated texts save, and
how its memory grows with the file.

    python benchmarks/apply_speed.py --pipeline FOLDER --data test.jsonl [--make] [--docs 1000] [--runs 5]

`--make` writes a pipeline over all-MiniLM-L6-v2 with an untrained head to FOLDER, if nothing is there. Speeds are
measured in one process, warm, in turns whose order alternates; a ratio is taken within a turn. Each figure of memory
has a process of its own. `--json FILE` writes the rows: work, against, ratio, low, high, runs. The CPU stands in the
first line.

Needs: pip install 'spacy-transfer[demo]'
"""

import argparse
import csv
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

_WARM = 64
_LABELS = ("a", "b", "c", "d")
_SHARE_REPEATED = 0.3


def texts_of(path: Path, n: int) -> list[str]:
    """So many different texts, from a JSONL file with a field `text`, numbered where it has fewer."""
    lines = path.read_text("utf-8").splitlines()
    found = list(dict.fromkeys(json.loads(line)["text"] for line in lines if line.strip()))
    return [found[i] if i < len(found) else f"{found[i % len(found)]} {i // len(found)}" for i in range(n)]


def write_table(path: Path, texts: list[str]) -> None:
    """As an analyst has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(texts))


def read_texts(path: Path) -> list[str]:
    """The texts of such a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def make_pipeline(folder: Path) -> None:
    """All-MiniLM-L6-v2 with a head that nobody has trained, which changes no arithmetic."""
    import spacy
    from spacy.training import Example
    from train_speed import default_encoder

    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat", config={"model": {"encoder": {"name": str(default_encoder())}}})
    cats = [{label: float(label == one) for label in _LABELS} for one in _LABELS]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a text"), {"cats": one}) for one in cats])
    nlp.to_disk(folder)


def speeds(pipeline: str, folder: Path, runs: int) -> dict[str, list[float]]:
    """Documents a second of each job in turns, in this process, warm."""
    import spacy

    from spacy_transfer import apply

    nlp = spacy.load(pipeline)
    texts = {name: read_texts(folder / f"{name}.csv") for name in ("distinct", "repeated")}
    write_table(folder / "few.csv", texts["distinct"][:_WARM])
    apply(nlp, folder / "few.csv", folder / "few-out.csv", force=True)
    for _ in nlp.pipe(texts["distinct"][:_WARM]):
        pass
    jobs: dict[str, Callable[[], Any]] = {
        "pipe": lambda: sum(1 for _ in nlp.pipe(texts["distinct"])),
        "apply": lambda: apply(nlp, folder / "distinct.csv", folder / "out.csv", force=True),
        "again": lambda: apply(nlp, folder / "repeated.csv", folder / "out.csv", force=True),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for run in range(runs):
        for name in list(jobs) if run % 2 == 0 else list(reversed(jobs)):
            begin = perf_counter()
            jobs[name]()
            found[name].append(len(texts["distinct"]) / (perf_counter() - begin))
    return found


def memory(pipeline: str, table: Path) -> float:
    """The highest resident memory of a run over a table, in MB."""
    import spacy

    from spacy_transfer import apply

    apply(spacy.load(pipeline), table, table.with_name("out.csv"), force=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(kind: str, pipeline: str, place: Path, runs: int) -> Any:
    """Measure in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--one",
        kind,
        "--pipeline",
        pipeline,
        "--data",
        str(place),
        "--runs",
        str(runs),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cpu() -> str:
    """Model and the flags that decide."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = [flag for flag in facts.get("flags", "").split() if flag.startswith(("avx2", "avx512_bf16", "amx"))]
    return f"{facts.get('model name', '?')} ({', '.join(flags)})"


def row_of(work: str, against: str, ratios: list[float]) -> dict[str, Any]:
    """A row of the table: the median, and between which values it lay."""
    middle = statistics.median(ratios)
    return {"work": work, "against": against, "ratio": round(middle, 3), "low": round(min(ratios), 3),
            "high": round(max(ratios), 3), "runs": len(ratios)}  # fmt: skip


def main() -> None:
    """Print one row for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--make", action="store_true", help="Make the pipeline first, where it is not there")
    parser.add_argument("--data", type=Path, required=True, help="JSONL with a field text")
    parser.add_argument("--docs", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one = speeds(options.pipeline, options.data, options.runs) if options.one == "speeds" else None
        print(json.dumps(memory(options.pipeline, options.data) if one is None else one))
        return
    if options.make and not Path(options.pipeline).exists():
        make_pipeline(Path(options.pipeline))
    print(cpu(), flush=True)
    texts = texts_of(options.data, 10 * options.docs)
    chance = random.Random(0)
    distinct = texts[: options.docs]
    n_repeated = round(_SHARE_REPEATED * options.docs)
    repeated = distinct[: options.docs - n_repeated]
    repeated += chance.choices(repeated, k=n_repeated)
    chance.shuffle(repeated)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key, rows in (("distinct", distinct), ("repeated", repeated), ("ten-times", texts)):
            write_table(folder / f"{key}.csv", rows)
        found = in_process("speeds", options.pipeline, folder, options.runs)
        for key, values in found.items():
            print(f"{key}: {statistics.median(values):.1f} docs/s ({min(values):.1f} to {max(values):.1f})", flush=True)
        small, large = (
            in_process("memory", options.pipeline, folder / f"{key}.csv", 1) for key in ("distinct", "ten-times")
        )
    rows = [
        row_of("apply on CSV", "nlp.pipe", [a / b for a, b in zip(found["apply"], found["pipe"], strict=True)]),
        row_of("30 % repeated", "none", [a / b for a, b in zip(found["again"], found["apply"], strict=True)]),
        row_of("memory, 10x the file", "1x", [large / small]),
    ]
    print(f"memory: {small:.0f} MB, with 10 times the file {large:.0f} MB")
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
