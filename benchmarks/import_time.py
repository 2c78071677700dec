"""What installing spacy-transfer costs every `import spacy` and `spacy --help`.

    python benchmarks/import_time.py [--runs 10] [--json FILE]

Makes two virtual environments that share this one's packages, one with and one without this package's entry points, and
starts each command in turns in both. Prints the medians in milliseconds, their difference and the spread. Must: at most
50 ms each.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path

WORK = {
    "import spacy": ["-c", "import spacy"],
    "spacy.blank('en')": ["-c", "import spacy; spacy.blank('en')"],
    "spacy --help": ["-m", "spacy", "--help"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        without = shadow(Path(folder))
        rows = [measure(work, command, without, args.runs) for work, command in WORK.items()]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {args.runs} runs each")
    for row in rows:
        print(
            f"{row['work']:20} without {row['without_ms']:7.0f} ms   with {row['with_ms']:7.0f} ms   "
            f"difference {row['difference_ms']:+5.0f} ms (quartiles {row['low_ms']:+.0f} to {row['high_ms']:+.0f})"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


def shadow(folder: Path) -> Path:
    """A folder of links to this environment's packages, all but spacy-transfer's own metadata and code."""
    own = Path(str(distribution("spacy-transfer")._path))  # type: ignore[attr-defined]
    for entry in Path(distribution("spacy").locate_file("")).iterdir():
        if "spacy_transfer" not in entry.name and entry != own:
            (folder / entry.name).symlink_to(entry)
    return folder


def measure(work: str, command: list[str], without: Path, runs: int) -> dict[str, object]:
    """Median milliseconds of a command with and without the package, started in turns."""
    times: dict[str, list[float]] = {"with": [], "without": []}
    for run in range(runs + 1):
        for kind in times:
            # -I -S: no site-packages but the ones named here.
            site = str(Path(distribution("spacy").locate_file(""))) if kind == "with" else str(without)
            extra = [str(Path(__file__).parents[1])] if kind == "with" else []
            code = f"import sys; sys.path[:0] = {[*extra, site]!r}; sys.argv = ['spacy', *{command[1:]!r}]\n"
            code += command[1] if command[0] == "-c" else "import runpy; runpy.run_module('spacy', run_name='__main__')"
            if command[0] == "-m":
                code = code.replace(f"*{command[1:]!r}", f"*{command[2:]!r}")
            start = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, stdout=subprocess.DEVNULL)
            # The first run of each fills the file cache.
            if run:
                times[kind].append((time.perf_counter() - start) * 1000)
    differences = [a - b for a, b in zip(times["with"], times["without"], strict=True)]
    low, _, high = statistics.quantiles(differences, n=4)
    return {
        "work": work,
        "without_ms": statistics.median(times["without"]),
        "with_ms": statistics.median(times["with"]),
        "difference_ms": statistics.median(times["with"]) - statistics.median(times["without"]),
        "low_ms": low,
        "high_ms": high,
        "runs": runs,
    }


if __name__ == "__main__":
    main()
