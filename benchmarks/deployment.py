"""How many torch threads a served pipeline should have: `nlp.pipe` alone, and next to a busy process.

    python benchmarks/deployment.py [--texts 600] [--turns 3] [--encoder NAME] [--data FILE.jsonl] [--threads 1,2]

FILE holds {"text"} lines; without it texts are made up. Each cell is the best of several turns, which are interleaved.
The busy process multiplies matrices with as many threads as there are cores, as another worker would.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memory import pipeline, texts

BUSY = "import torch\nx = torch.full((1024, 1024), 0.5)\nwhile True:\n    torch.mm(x, x)\n"


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data", default="")
    parser.add_argument("--threads", default="1,2")
    args = parser.parse_args()
    import torch

    from spacy_transfer.nn.devices.machine import describe_machine

    nlp = pipeline(args.encoder, "auto")
    lines = Path(args.data).read_text("utf-8").splitlines()[: args.texts] if args.data else []
    inputs = [json.loads(line)["text"] for line in lines] or list(texts(args.texts))
    counts = [int(part) for part in args.threads.split(",")]
    machine = describe_machine(torch.device("cpu"))
    network = nlp.get_pipe("transfer_textcat").model.shims[0].network
    print(
        f"{machine['model']}, {os.cpu_count()} cores, {network.precision}, load {os.getloadavg()[0]:.1f} at the start"
    )
    best: dict[tuple[str, int], float] = {}
    for _ in range(args.turns):
        for where in ("alone", "next to a busy process"):
            other = subprocess.Popen([sys.executable, "-c", BUSY]) if where != "alone" else None
            try:
                # Until the other one has imported torch.
                time.sleep(5.0 if other is not None else 0.0)
                for n_threads in counts:
                    torch.set_num_threads(n_threads)
                    best[where, n_threads] = max(best.get((where, n_threads), 0.0), rate(nlp, inputs))
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    print(f"{'texts/s':24}" + "".join(f"{n} thread(s)".rjust(14) for n in counts))
    for where in ("alone", "next to a busy process"):
        print(f"{where:24}" + "".join(f"{best[where, n]:14.1f}" for n in counts))


def rate(nlp: Any, inputs: list[str]) -> float:
    """Texts a second."""
    start = time.perf_counter()
    for _ in nlp.pipe(inputs, batch_size=256):
        pass
    return len(inputs) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
