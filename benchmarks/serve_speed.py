"""A service under load: texts a second of 32 clients against one text at a time, latencies, errors.

    python benchmarks/serve_speed.py --pipeline training/model-best --data test.jsonl

`spacy transfer serve` runs in a process of its own; the clients are in this one, each with a connection that it keeps,
and each text comes once. Against: one client that waits for each answer, the same 32 clients where nothing is scored
together (`--max-batch 1`), and `nlp(text)` in a loop without any service. The order turns with each round.
`--json FILE` writes the rows: work, against, ratio, low, high, runs. The CPU stands in the first line.
"""

import argparse
import asyncio
import json
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

_CLIENTS = 32
_WARM = 64
_JSON = "Content-Type: application/json\r\n"


def texts_of(path: Path) -> list[str]:
    """The different texts of a JSONL file with a field `text`."""
    lines = path.read_text("utf-8").splitlines()
    return list(dict.fromkeys(json.loads(line)["text"] for line in lines if line.strip()))


class Texts:
    """Hands out each text once; numbered where there are too few."""

    def __init__(self, texts: list[str]) -> None:
        self._texts, self._n = texts, 0

    def next(self, n: int) -> list[str]:
        """So many of them."""
        found = []
        for _ in range(n):
            again, place = divmod(self._n, len(self._texts))
            found.append(f"{self._texts[place]} {again}" if again else self._texts[place])
            self._n += 1
        return found


@contextmanager
def service(pipeline: str, *options: str) -> Iterator[tuple[str, int]]:
    """A service in a process of its own. YIELDS (tuple): Host and port."""
    command = [sys.executable, "-m", "spacy", "transfer", "serve", pipeline, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in process.stderr or ():
            said.append(line)
            if found := re.search(r"on http://([\d.]+):(\d+)", line):
                break
        else:
            raise SystemExit("".join(said))
        yield found[1], int(found[2])
    finally:
        process.terminate()
        process.wait(60)


async def client(place: tuple[str, int], texts: Iterator[str], seconds: list[float], errors: list[str]) -> None:
    """Ask one text after the other on one connection."""
    reader, writer = await asyncio.open_connection(*place)
    for text in texts:
        body = json.dumps({"text": text}).encode()
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\n{_JSON}Content-Length: {len(body)}\r\n\r\n"
        begin = perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)[1])  # type: ignore[index]
        content = await reader.readexactly(length)
        seconds.append(perf_counter() - begin)
        if not answer.startswith(b"HTTP/1.1 200"):
            errors.append(content.decode())
    writer.close()


def load(place: tuple[str, int], texts: list[str], n_clients: int) -> dict[str, Any]:
    """Send all texts with so many clients. RETURNS (dict): Texts a second, latencies in seconds, errors."""
    seconds: list[float] = []
    errors: list[str] = []
    # They share it: whoever is free takes the next one.
    waiting = iter(texts)

    async def run() -> None:
        """All clients at once."""
        await asyncio.gather(*(client(place, waiting, seconds, errors) for _ in range(n_clients)))

    begin = perf_counter()
    asyncio.run(run())
    return {"speed": len(texts) / (perf_counter() - begin), "seconds": seconds, "errors": errors}


def loop(pipeline: str, path: Path, n: int) -> float:
    """Texts a second of `nlp(text)`, in a process of its own."""
    command = [sys.executable, __file__, "--loop", str(n), "--pipeline", pipeline, "--data", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def looped(pipeline: str, texts: list[str], n: int) -> float:
    """See `loop`, in this process."""
    import spacy

    nlp = spacy.load(pipeline)
    chosen = list(islice(texts, n))
    for text in chosen[:_WARM]:
        nlp(text)
    begin = perf_counter()
    for text in chosen:
        nlp(text)
    return n / (perf_counter() - begin)


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


def row_of(against: str, ratios: list[float]) -> dict[str, Any]:
    """A row of the table: the median, and between which values it lay."""
    middle = statistics.median(ratios)
    return {"work": f"serve, {_CLIENTS} clients", "against": against, "ratio": round(middle, 3),
            "low": round(min(ratios), 3), "high": round(max(ratios), 3), "runs": len(ratios)}  # fmt: skip


def main() -> int:
    """Print one row for each comparison. RETURNS (int): 1 if a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSONL with a field text")
    parser.add_argument("--texts", type=int, default=1000, help="Of 32 clients; a third of it of one alone")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--option", action="append", default=[], help="More for the service, as --option=--threads=1")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--loop", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    every = texts_of(options.data)
    if options.loop:
        print(looped(options.pipeline, every, options.loop))
        return 0
    print(cpu(), flush=True)
    texts, few = Texts(every), max(1, options.texts // 3)
    speeds: dict[str, list[float]] = {"together": [], "one": [], "unbatched": [], "loop": []}
    seconds: dict[str, list[float]] = {"together": [], "one": [], "unbatched": []}
    errors: list[str] = []
    with (
        service(options.pipeline, *options.option) as batching,
        service(options.pipeline, "--max-batch", "1", *options.option) as single,
    ):
        jobs = {"together": (batching, options.texts, _CLIENTS), "one": (batching, few, 1),
                "unbatched": (single, few, _CLIENTS)}  # fmt: skip
        for place, _, n_clients in jobs.values():
            load(place, texts.next(_WARM), n_clients)
        for run in range(options.runs):
            for key in list(jobs) if run % 2 == 0 else list(reversed(jobs)):
                place, n, n_clients = jobs[key]
                found = load(place, texts.next(n), n_clients)
                speeds[key].append(found["speed"])
                seconds[key] += found["seconds"]
                errors += found["errors"]
    for _ in range(options.runs):
        speeds["loop"].append(loop(options.pipeline, options.data, few))
    against = {"one text at a time": "one", f"{_CLIENTS} clients, --max-batch 1": "unbatched", "nlp(text)": "loop"}
    rows = [
        row_of(name, [a / b for a, b in zip(speeds["together"], speeds[key], strict=True)])
        for name, key in against.items()
    ]
    for key, values in speeds.items():
        print(f"{key}: {statistics.median(values):.1f} texts/s ({min(values):.1f} to {max(values):.1f})")
    for key, values in seconds.items():
        parts = [statistics.quantiles(values, n=100)[share - 1] * 1000 for share in (50, 95, 99)]
        print(f"{key}: latency 50 % {parts[0]:.0f} ms, 95 % {parts[1]:.0f} ms, 99 % {parts[2]:.0f} ms")
    print(f"errors: {len(errors)}", *errors[:3])
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
