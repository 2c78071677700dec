"""Kill `apply` again and again by SIGKILL at random moments, resume it, and compare its files with those of a run that
was not killed, byte for byte.

    python benchmarks/soak_apply.py --kills 100 [--engine ray]

A tiny random BERT on made-up texts, a third of which come again, with rows that cannot be used. CSV, JSONL, Parquet and
`.spacy`, one component alone and together with another one, take turns. Exit status 1 on any difference, and where
anything is left over.

With `--engine ray` it is the process that reads and writes that is killed, with the cluster that it has started. Files
are compared with those of a run without Ray too. About ten seconds a start.
"""

import argparse
import os
import random
from pathlib import Path
from typing import Literal

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import spacy
import torch
from soak import Job, soak
from soak_resume import LABELS, MODEL, WORDS, write_encoder
from spacy.training import Example

from spacy_transfer import apply

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


def make_job(folder: Path, pipeline: str, kind: str, engine: Literal["local", "ray"]) -> Job:
    """A run that begins, or goes on."""

    def work(output: Path) -> None:
        output.mkdir(exist_ok=True)
        source, place = folder / "in.csv", output / f"out.{kind}"
        try:
            apply(folder / pipeline, source, place, look_ahead=64, resume=True, engine=engine)
        except FileExistsError as error:
            # It was killed after its last step.
            if "T531" not in str(error):
                raise
        local = folder / f"local-{pipeline}" / place.name
        if engine == "ray" and not local.exists():
            # The first start is the one that nobody kills.
            local.parent.mkdir(exist_ok=True)
            apply(folder / pipeline, source, local, look_ahead=64)
            if local.read_bytes() != place.read_bytes():
                raise ValueError(f"{kind}, {pipeline}: Ray and one process differ")

    return work


def files_of(output: Path) -> dict[str, bytes]:
    """Everything in a folder, but not what a killed process has left of its locks."""
    return {
        path.name: path.read_bytes() if path.is_file() else b"a folder"
        for path in output.iterdir()
        if not path.name.startswith(".spacy-transfer")
    }


def is_resumed(output: Path) -> bool:
    """Whether a run was left unfinished."""
    return output.exists() and any(path.name.endswith(_UNFINISHED) for path in output.iterdir())


def main() -> int:
    """RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=3000, help="Of the table")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    options = parser.parse_args()

    def make_jobs(folder: Path) -> list[tuple[str, Job]]:
        write_pipelines(folder)
        write_table(folder / "in.csv", options.rows)
        return [
            (f"{kind}, {pipeline}", make_job(folder, pipeline, kind, options.engine))
            for pipeline in ("alone", "together")
            for kind in ("csv", "jsonl", "parquet", "spacy")
        ]

    seen = soak(
        make_jobs, files_of, kills=options.kills, seed=options.seed, most_kills=_MOST_KILLS, is_resumed=is_resumed
    )
    if seen is None:
        return 1
    print(
        f"{seen.n_kills} kills, {seen.n_resumed} resumptions, {seen.n_finished} runs finished, "
        f"{seen.n_differing} differences, {seen.minutes:.1f} min"
    )
    return int(seen.n_differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
