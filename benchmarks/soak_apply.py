"""Kill `apply` again and again by SIGKILL at random moments, resume it, and compare its files with those of a run that
was not killed, byte for byte.

    python benchmarks/soak_apply.py --kills 100

A tiny random BERT on made-up texts, a third of which come again, with rows that cannot be used. CSV, JSONL, Parquet and
`.spacy`, one component alone and together with another one, take turns. Exit status 1 on any difference, and where
anything is left over.
"""

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import spacy
import torch
from soak_resume import LABELS, MODEL, WORDS, write_encoder
from spacy.training import Example

from spacy_transfer import apply

Job = Callable[[Path], None]
# Kills of one job, after which it may come to its end.
_MOST_KILLS = 8
_UNFINISHED = ".unfinished"


def write_pipelines(folder: Path) -> None:
    """One component alone, and after a sentencizer."""
    write_encoder(folder / "encoder")
    for name in ("alone", "together"):
        nlp = spacy.blank("en")
        model = {
            "encoder": {"name": str(folder / "encoder"), "revision": None},
            "windows": {"length": 32, "stride": 20},
        }
        if name == "together":
            nlp.add_pipe("sentencizer")
        nlp.add_pipe(MODEL, config={"model": model})
        examples = [
            Example.from_dict(nlp.make_doc(word), {"cats": {label: float(label == LABELS[i % 3]) for label in LABELS}})
            for i, word in enumerate(WORDS)
        ]
        torch.manual_seed(0)
        nlp.initialize(lambda examples=examples: examples)
        nlp.to_disk(folder / name)


def write_table(path: Path, n_rows: int) -> None:
    """Texts of one to forty words; every fiftieth row has a cell too many."""
    chance, texts = random.Random(1), list[str]()
    lines = ["id,text\n"]
    for i in range(n_rows):
        if not texts or chance.random() > 1 / 3:
            texts.append(" ".join(chance.choices(WORDS, k=chance.randint(1, 40))))
        text = texts[-1] if i % 2 else chance.choice(texts)
        lines.append(f"{i},{text}{',one too many' if i % 50 == 7 else ''}\n")
    path.write_text("".join(lines), "utf-8")


def make_job(folder: Path, pipeline: str, kind: str) -> Job:
    """A run that begins, or goes on."""

    def work(output: Path) -> None:
        apply(folder / pipeline, folder / "in.csv", output / f"out.{kind}", look_ahead=64, resume=True)

    return work


def start(work: Job, output: Path) -> int:
    """Begin or go on, in a process of its own. RETURNS (int): Its id."""
    process = os.fork()
    if process:
        return process
    try:
        work(output)
    except FileExistsError as error:
        # It was killed behind its last step.
        os._exit(0 if "T531" in str(error) else 1)
    except BaseException as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def files_of(output: Path) -> dict[str, bytes]:
    """Everything in a folder, but not what a killed process has left of its locks."""
    return {
        path.name: path.read_bytes() if path.is_file() else b"a folder"
        for path in output.iterdir()
        if not path.name.startswith(".spacy-transfer")
    }


def main() -> int:
    """RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=3000, help="Of the table")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spacy.blank("en")
    logging.getLogger("spacy_transfer").setLevel("ERROR")
    chance = random.Random(options.seed)
    n_kills = n_differing = n_finished = n_resumed = 0
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name), Path(name) / "out"
        write_pipelines(folder)
        write_table(folder / "in.csv", options.rows)
        jobs = [
            (f"{kind}, {pipeline}", make_job(folder, pipeline, kind))
            for pipeline in ("alone", "together")
            for kind in ("csv", "jsonl", "parquet", "spacy")
        ]
        whole: dict[str, tuple[dict[str, bytes], float]] = {}
        while n_kills < options.kills:
            kind, work = jobs[n_finished % len(jobs)]
            if kind not in whole:
                output.mkdir()
                begin = time.perf_counter()
                if os.waitpid(start(work, output), 0)[1]:
                    return 1
                whole[kind] = files_of(output), time.perf_counter() - begin
                shutil.rmtree(output)
            output.mkdir()
            status, n_here = -1, 0
            while status:
                n_resumed += any(path.name.endswith(_UNFINISHED) for path in output.iterdir())
                process = start(work, output)
                if n_kills < options.kills and n_here < _MOST_KILLS:
                    time.sleep(chance.uniform(0, 0.9 * whole[kind][1]))
                    os.kill(process, signal.SIGKILL)
                status = os.waitpid(process, 0)[1]
                if os.WIFEXITED(status) and status:
                    print(f"after {n_kills} kills a run that went on failed: {kind}")
                    return 1
                n_here += os.WIFSIGNALED(status)
                n_kills += os.WIFSIGNALED(status)
            n_finished += 1
            now, then = files_of(output), whole[kind][0]
            if now != then:
                n_differing += 1
                print(f"  other: {sorted(key for key in {*now, *then} if now.get(key) != then.get(key))}")
            shutil.rmtree(output)
            print(f"{n_kills} kills, {n_finished} runs, {n_differing} differ ({kind})", flush=True)
    minutes = (time.perf_counter() - begun) / 60
    print(
        f"{n_kills} kills, {n_resumed} resumptions, {n_finished} runs finished, {n_differing} differences, "
        f"{minutes:.1f} min"
    )
    return int(n_differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
