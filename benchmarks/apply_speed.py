"""Files against texts in memory: what `spacy transfer apply` costs next to `nlp.pipe`, what repeated texts save, and
how its memory grows with the file.

    python benchmarks/apply_speed.py --pipeline training/model-best --data test.jsonl

Each measurement runs in a process of its own, with the pipeline loaded and warm before the clock starts; the order
turns with each round. `--json FILE` writes the rows: work, against, ratio, low, high, runs. The CPU stands in the first
line.
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
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

_WARM = 64
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


def measure(kind: str, pipeline: str, table: Path) -> dict[str, Any]:
    """One measurement, in this process. RETURNS (dict): Documents a second, and the highest resident memory."""
    import spacy

    from spacy_transfer import apply

    nlp = spacy.load(pipeline)
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        texts = [row["text"] for row in islice(rows, None if kind == "pipe" else _WARM)]
        # The file, not this script, is to say how much memory it takes.
        n_docs = len(texts) + sum(1 for _ in rows)
    work: Callable[[], Any]
    if kind == "pipe":
        for _ in nlp.pipe(texts[:_WARM]):
            pass
        work = lambda: sum(1 for _ in nlp.pipe(texts))  # noqa: E731
    else:
        few, output = table.with_name("few.csv"), table.with_name("out.csv")
        write_table(few, texts)
        apply(nlp, few, table.with_name("few-out.csv"), force=True)
        work = lambda: apply(nlp, table, output, force=True)  # noqa: E731
    begin = perf_counter()
    work()
    seconds = perf_counter() - begin
    return {"speed": n_docs / seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def in_process(kind: str, pipeline: str, table: Path) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, "--pipeline", pipeline, "--data", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
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
    parser.add_argument("--data", type=Path, required=True, help="JSONL with a field text")
    parser.add_argument("--docs", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.pipeline, options.data)))
        return
    print(cpu(), flush=True)
    texts = texts_of(options.data, 10 * options.docs)
    chance = random.Random(0)
    distinct = texts[: options.docs]
    n_repeated = round(_SHARE_REPEATED * options.docs)
    repeated = distinct[: options.docs - n_repeated]
    repeated += chance.choices(repeated, k=n_repeated)
    chance.shuffle(repeated)
    with tempfile.TemporaryDirectory() as name:
        tables = {key: Path(name) / key / "in.csv" for key in ("distinct", "repeated", "ten times")}
        for key, rows in (("distinct", distinct), ("repeated", repeated), ("ten times", texts)):
            tables[key].parent.mkdir()
            write_table(tables[key], rows)
        jobs = {"pipe": ("pipe", "distinct"), "apply": ("apply", "distinct"), "again": ("apply", "repeated")}
        speeds: dict[str, list[float]] = {key: [] for key in jobs}
        memory: dict[str, float] = {}
        for run in range(options.runs):
            for key in list(jobs) if run % 2 == 0 else list(reversed(jobs)):
                kind, table = jobs[key]
                found = in_process(kind, options.pipeline, tables[table])
                speeds[key].append(found["speed"])
                memory[key] = found["memory"]
        large = in_process("apply", options.pipeline, tables["ten times"])["memory"]
    rows = [
        row_of("apply on CSV", "nlp.pipe", [a / b for a, b in zip(speeds["apply"], speeds["pipe"], strict=True)]),
        row_of("30 % repeated", "none", [a / b for a, b in zip(speeds["again"], speeds["apply"], strict=True)]),
        row_of("memory, 10x the file", "1x", [large / memory["apply"]]),
    ]
    for key, values in speeds.items():
        print(f"{key}: {statistics.median(values):.1f} docs/s ({min(values):.1f} to {max(values):.1f})")
    print(f"memory: {memory['apply']:.0f} MB, with 10 times the file {large:.0f} MB")
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
