"""Mutate the files that commands read, and count how the commands end.

Each trial takes valid files (configs, corpora, tables, an encoder, pipelines, checkpoints), changes one of them at
random and runs a command on it, in this process. It passes, ends in an error with a code, or in a bare one (T445, or
whatever passes by the one function that decides: a fault). A trial above --seconds is a hang; it ends the
worker process, and another goes on behind it.

    OMP_NUM_THREADS=1 python benchmarks/fuzz.py --trials 10000 --seed 0 --workers 2
"""

import argparse
import contextlib
import copy
import functools
import gc
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("SPACY_TRANSFER_PRECISION", "fp32")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

JUNK = [
    b'"', b"'", b"\n", b"\r", b"\x00", b",", b"\t", b";", b"\xff", b"\xe9", b"\xef\xbb\xbf", b"{", b"[", b"]", b"}",
    b"\\ud800", b"1e999", b"null", b"-1", b"NaN", b"9" * 30, b"[" * 2000, b"\xe2\x80\xa8", b"${a.b}", b"true", b"..",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 10**9, 10**400, 1e308, float("nan"), "", "x", "../x", "/dev/zero", "\ud800",
    "a" * 5000, [], [1], ["x", "x"], {}, {"a": 1}, [[[[]]]],
]  # fmt: skip
MEMORY = 6 * 2**30
_CODE = re.compile(r"\[(T\d{3})\]")


# ---- mutations ---------------------------------------------------------------------------------------------------


def mutate(data: bytes, r: random.Random, suffix: str) -> bytes:
    """Change a file: bytes of any file, values of a JSON file, values and lines of a config.

    data (bytes): The valid file. r (Random): Draws. suffix (str): Of its name.
    RETURNS (bytes): Another file, nearly always.
    """
    if suffix == ".spacy" and r.random() < 0.6:
        return zlib.compress(_mutate_bytes(zlib.decompress(data), r))
    if suffix == ".safetensors" and r.random() < 0.7:
        return _mutate_header(data, r)
    if suffix in (".json", "") and r.random() < 0.7:
        with contextlib.suppress(ValueError):
            return _mutate_json(json.loads(data), r)
    if suffix == ".cfg" and r.random() < 0.8:
        return _mutate_lines(data, r)
    return _mutate_bytes(data, r)


def _mutate_bytes(data: bytes, r: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(r.randint(1, 4)):
        kind, i = r.randrange(5), r.randrange(len(out) + 1)
        if kind == 0:
            out[i:i] = r.choice(JUNK)
        elif kind == 1:
            del out[i : i + r.randint(1, 30)]
        elif kind == 2 and out:
            out[i % len(out)] = r.randrange(256)
        elif kind == 3:
            del out[i:]
        else:
            out[i : i + 3] = r.choice(JUNK)
    return bytes(out)


def _mutate_json(value: Any, r: random.Random) -> bytes:
    """Change, remove or repeat values, anywhere in the tree."""
    for _ in range(r.randint(1, 2)):
        places = list(_places(value))
        if not places:
            return json.dumps(r.choice(VALUES)).encode("ascii")
        holder, key = r.choice(places)
        kind = r.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.append(holder[key])
        elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * r.choice([-1, 0, 2, 1000, 0.5]) + r.choice([0, 1])
        else:
            # Copied: what a later change puts into a list would be there in all later trials.
            holder[key] = copy.deepcopy(r.choice(VALUES))
    return json.dumps(value).encode("ascii")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    # Of a vocabulary a few; otherwise it would get all the changes.
    keys = list(value if isinstance(value, dict) else range(len(value))) if isinstance(value, dict | list) else []
    for key in keys[:40]:
        yield value, key
        yield from _places(value[key])


def _mutate_header(data: bytes, r: random.Random) -> bytes:
    """Of safetensors: names, dtypes, shapes and offsets; the size of the header follows."""
    size = int.from_bytes(data[:8], "little")
    header = _mutate_json(json.loads(data[8 : 8 + size]), r)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _mutate_lines(data: bytes, r: random.Random) -> bytes:
    """Values, keys and sections of a config."""
    lines = data.decode("utf-8").split("\n")
    for _ in range(r.randint(1, 2)):
        i, kind = r.randrange(len(lines)), r.randrange(5)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(r.randrange(len(lines) + 1), lines[i])
        elif "=" in lines[i]:
            key, _, old = lines[i].partition("=")
            if kind == 2:
                others = [line.partition("=")[2] for line in lines if "=" in line]
                lines[i] = f"{key}={r.choice(others)}"
            elif kind == 3:
                lines[i] = f"{key}x ={old}"
            else:
                lines[i] = f"{key}= {json.dumps(r.choice(VALUES))}"
        if not lines:
            lines = [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# ---- valid files and commands ------------------------------------------------------------------------------------


@dataclass
class Case:
    """A command and the files it reads.

    name (str): Of the kind of file. files (list[str]): Of which one is changed. arguments (Callable): Gives the command
    line for a folder of files and another for what is written.
    """

    name: str
    command: str
    files: list[str]
    arguments: Callable[[Path, Path], list[Any]]


@dataclass
class Counts:
    """How trials ended."""

    ends: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    bare: dict[str, str] = field(default_factory=dict)


def write_files(folder: Path) -> None:
    """Write one valid file of each kind, on tiny encoders. folder (Path): Empty."""
    import openpyxl

    from house_kit.encoders import write_encoder
    from house_kit.pipelines import pipeline
    from house_kit.quick import one_blank, remember_entry_points
    from house_kit.runs import config_of, run, write_corpus
    from house_kit.texts import LABELS
    from spacy_transfer.corpora import convert

    # Making one takes most of the time of converting a few rows; it holds nothing of them.
    convert._blank = one_blank
    remember_entry_points()
    texts = [{"text": f'text {i}, "q" é', "label": LABELS[i % 3]} for i in range(12)]
    lines = "".join(f'"text {i}, ""q"" é",{LABELS[i % 3]}\n' for i in range(12))
    (folder / "t.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in texts), "utf-8")
    (folder / "t.json").write_text(json.dumps(texts), "utf-8")
    (folder / "t.csv").write_text(f"text,label\n{lines}", "utf-8")
    (folder / "t.tsv").write_text(f"text\tlabel\n{lines.replace(',', chr(9))}", "utf-8")
    (folder / "u.csv").write_text(f"text,label\n{lines}", "utf-16")
    (folder / "t.txt").write_text("".join(f"text {i}\n" for i in range(12)), "utf-8")
    if find_spec("pyarrow"):
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), folder / "t.parquet")
    book = openpyxl.Workbook()
    for row in [["text", "label"], *([one["text"], one["label"]] for one in texts)]:
        book.active.append(row)
    book.save(folder / "t.xlsx")
    (folder / "labels.json").write_text(json.dumps(LABELS), "utf-8")
    write_corpus(folder)
    write_encoder(folder / "encoder", "bert")
    augmentation = {"@misc": "spacy-transfer.Augmentation.v1", "drop": 0.2}
    config = config_of(folder / "encoder", folder, "frozen, by pieces", 2)
    config["components"]["transfer_textcat"]["model"]["augmentation"] = augmentation
    config["training"]["eval_frequency"] = 2
    config["initialize"]["components"]["transfer_textcat"]["labels"] = {
        "@readers": "spacy.read_labels.v1", "path": str(folder / "labels.json"),
    }  # fmt: skip
    config.to_disk(folder / "c.cfg")
    pipeline(folder / "encoder").to_disk(folder / "pipeline")
    pipeline(folder / "encoder", tuning={"adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 2}}).to_disk(
        folder / "adapted"
    )
    run(config, folder / "run", stop_at=1)
    # With another one to go back to, hardly any damage would show.
    shutil.rmtree(folder / "run" / "checkpoints" / "step-00000000")


def _under(folder: Path, name: str, *suffixes: str) -> list[str]:
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    return [str(path.relative_to(folder)) for path in files if not suffixes or path.suffix in suffixes]


def cases(folder: Path) -> list[Case]:
    """What is tried, in the files that `write_files` has made."""
    tables = ["t.jsonl", "t.json", "t.csv", "t.tsv", "u.csv", "t.parquet", "t.xlsx"]
    tables = [name for name in tables if (folder / name).exists()]
    train = ["--training.max_steps", "1", "--show", "none"]

    def each(
        name: str, command: str, files: list[str], arguments: Callable[[str, Path, Path], list[Any]]
    ) -> list[Case]:
        return [Case(name, command, [file], lambda d, o, file=file: arguments(file, d, o)) for file in files]

    encoder = _under(folder, "encoder")
    checkpoint = _under(folder, "run/checkpoints")
    return [
        *each("table", "convert", tables, lambda f, d, o: [d / f, o]),
        *each("table", "convert", tables, lambda f, d, o: [d / f, o, "--skip-bad"]),
        Case("labels", "convert", ["labels.json"], lambda d, o: [d / "t.csv", o, "--labels", d / "labels.json"]),
        Case("corpus", "check", ["train.spacy"], lambda d, o: [d / "train.spacy", d / "dev.spacy"]),
        *each("encoder", "check", encoder, lambda f, d, o: [d / "train.spacy", "--encoder", d / "encoder"]),
        Case("corpus", "evaluate", ["dev.spacy"], lambda d, o: [d / "pipeline", d / "dev.spacy"]),
        *each("pipeline", "evaluate", _under(folder, "pipeline"), lambda f, d, o: [d / "pipeline", d / "dev.spacy"]),
        Case("config", "show", ["c.cfg"], lambda d, o: [d / "c.cfg"]),
        *each("pipeline", "show", _under(folder, "pipeline"), lambda f, d, o: [d / "pipeline"]),
        *each("encoder", "show", encoder, lambda f, d, o: [d / "c.cfg"]),
        Case("config", "augment", ["c.cfg"], lambda d, o: [d / "c.cfg", "-n", "3"]),
        Case("corpus", "augment", ["train.spacy"], lambda d, o: [d / "c.cfg", "-n", "3"]),
        Case("config", "train", ["c.cfg"], lambda d, o: [d / "c.cfg", "--output", o, *train]),
        *each(
            "corpus", "train", ["train.spacy", "dev.spacy", "labels.json"],
            lambda f, d, o: [d / "c.cfg", "--output", o, *train],
        ),
        *each("encoder", "train", encoder, lambda f, d, o: [d / "c.cfg", "--output", o, *train]),
        *each(
            "checkpoint", "train", checkpoint,
            lambda f, d, o: [d / "c.cfg", "--output", d / "run", "--resume", "--show", "none"],
        ),
        *each("encoder", "fetch", encoder, lambda f, d, o: [d / "encoder", o]),
        *each("adapted", "merge", _under(folder, "adapted"), lambda f, d, o: [d / "adapted", o]),
        *each("pipeline", "attach", _under(folder, "pipeline"), lambda f, d, o: [d / "pipeline", o]),
        *each(
            "raw", "pretrain", ["t.txt", *tables],
            lambda f, d, o: [d / "c.cfg", d / f, o, "--steps", "1", "--rows", "2", "--show", "none"],
        ),
        Case(
            "config", "pretrain", ["c.cfg"],
            lambda d, o: [d / "c.cfg", d / "t.txt", o, "--steps", "1", "--rows", "2", "--show", "none"],
        ),
    ]  # fmt: skip


# ---- trials ------------------------------------------------------------------------------------------------------


@functools.cache
def _command_line(app: Any) -> Any:
    import typer.main

    return typer.main.get_command(app)


def _sign(run: Path) -> None:
    """Let the SHA-256 of a checkpoint be those of its files, as whoever alters them would. run (Path): The output."""
    for folder in sorted((run / "checkpoints").glob("step-*")):
        state, sums = folder / "state.json", folder / "sha256.json"
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            start = hashlib.sha256((run / "checkpoints" / "start.safetensors").read_bytes()).hexdigest()
            text = json.loads(state.read_bytes())
            if text.get("start") not in (None, start):
                state.write_text(json.dumps({**text, "start": start}), "utf-8")
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            listed = json.loads(sums.read_bytes())
            files = {name: folder / name for name in listed if (folder / name).is_file()}
            digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
            sums.write_text(json.dumps({**listed, **digests}), "utf-8")


def try_once(case: Case, folder: Path, out: Path, seed: str) -> tuple[str, str, str]:
    """Change a file, run the command, put the file back.

    case (Case): What to run. folder (Path): The valid files. out (Path): What the command may write to; removed.
    seed (str): Of the change.
    RETURNS (tuple[str, str, str]): "pass", "coded", "bare" or "usage"; the code or the error; what was printed.
    """
    import typer.testing

    from spacy_transfer.cli import failures, transfer_cli

    r = random.Random(seed)
    name = r.choice(case.files)
    path = folder / name
    valid = path.read_bytes()
    changed = mutate(valid, r, path.suffix)
    path.write_bytes(changed)
    kept = folder.with_name(f"{folder.name}-run")
    if case.name == "checkpoint":
        if not kept.exists():
            path.write_bytes(valid)
            shutil.copytree(folder / "run", kept)
            path.write_bytes(changed)
        if r.random() < 0.9:
            _sign(folder / "run")
    found: list[failures.Failure] = []
    original = failures.explain

    def explain(error: Exception, command: str) -> failures.Failure:
        found.append(original(error, command))
        return found[-1]

    failures.explain = explain  # type: ignore[assignment]
    failures._keep = failures._traceback  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Making the command line of its description takes as long as a small command.
            typer.testing._get_command = _command_line
            arguments = [case.command, *map(str, case.arguments(folder, out))]
            result = typer.testing.CliRunner().invoke(transfer_cli, arguments)
    finally:
        failures.explain = original
        path.write_bytes(valid)
        if case.name == "checkpoint":
            shutil.rmtree(folder / "run")
            shutil.copytree(kept, folder / "run")
        shutil.rmtree(out, ignore_errors=True)
    error = result.exception
    if found:
        kind = "bare" if found[-1].is_bug else "coded"
        code = _CODE.search(found[-1].message)
        return kind, found[-1].message[:300] if kind == "bare" or code is None else code[1], result.output
    if error is not None and not isinstance(error, SystemExit):
        return "bare", f"{type(error).__name__}: {error}"[:300], result.output
    return ("pass" if result.exit_code == 0 else "usage"), "", result.output


def run_trials(numbers: list[int], seed: int, command: str | None, kind: str | None, folder: Path, send: Any) -> None:
    """Run trials and send how each one ended: its number before, the result after. For a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    shutil.copytree(folder, place, dirs_exist_ok=True)
    for path in [*place.rglob("c.cfg"), *place.rglob("state.json")]:
        path.write_text(path.read_text("utf-8").replace(str(folder), str(place)), "utf-8")
    _sign(place / "run")
    # What was imported stays.
    gc.collect()
    gc.freeze()
    chosen = [one for one in cases(place) if command in (None, one.command) and kind in (None, one.name)]
    kinds: dict[tuple[str, str], list[Case]] = {}
    for one in chosen:
        kinds.setdefault((one.command, one.name), []).append(one)
    order = list(kinds)
    os.chdir(place)
    for number in numbers:
        # Commands and kinds of file in turn, whatever number of files they have.
        case = random.Random(f"{seed}/{number}").choice(kinds[order[number % len(order)]])
        send.send(("began", number, f"{case.command} {case.files[0]}"))
        ended = try_once(case, place, place / "out", f"{seed}:{number}")
        send.send(("ended", number, f"{case.command} {case.name}", ended))
    shutil.rmtree(place)
    shutil.rmtree(place.with_name(f"{place.name}-run"), ignore_errors=True)


def work(numbers: list[int], arguments: argparse.Namespace, folder: Path) -> Counts:
    """Run trials in a process that is replaced when it hangs or dies. RETURNS (Counts): How they ended."""
    counts, until = Counts(), time.monotonic() + 60 * arguments.minutes
    context = multiprocessing.get_context("fork")
    while numbers and time.monotonic() < until:
        receive, send = context.Pipe(duplex=False)
        child = context.Process(
            target=run_trials, args=(numbers, arguments.seed, arguments.command, arguments.kind, folder, send)
        )
        child.start()
        send.close()
        running, what = numbers[0], "start"
        try:
            while numbers and time.monotonic() < until:
                if not receive.poll(arguments.seconds + 60 * (what == "start")):
                    raise TimeoutError
                message = receive.recv()
                running, what = message[1], message[2]
                if message[0] == "ended":
                    numbers = numbers[numbers.index(running) + 1 :]
                    _count(counts, message[2], *message[3], number=running)
        except (TimeoutError, EOFError) as error:
            end = "hang" if isinstance(error, TimeoutError) else "killed"
            child.kill()
            counts.ends[end] += 1
            counts.bare.setdefault(f"{end}: {what}", f"trial {running}")
            numbers = numbers[numbers.index(running) + 1 :]
        if child.is_alive() and time.monotonic() >= until:
            child.kill()
        child.join()
    return counts


def _count(counts: Counts, what: str, kind: str, text: str, output: str, *, number: int) -> None:
    counts.ends[kind] += 1
    counts.ends[f"{what}: {kind}"] += 1
    if kind == "coded":
        counts.codes[text] += 1
    if kind == "bare":
        # One of each place.
        place = re.sub(r"0x[0-9a-f]+|\d+", "N", text)
        if place not in counts.bare:
            counts.bare[place] = f"trial {number}, {what}: {text}\n{output[-1800:]}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="Number of the first trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", help="Only this one")
    parser.add_argument(
        "--kind", help="Only this kind of file: table, corpus, config, encoder, pipeline, checkpoint, ..."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="Above it a trial is a hang")
    parser.add_argument("--minutes", type=float, default=600.0, help="No trial begins after so long")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-valid-") as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        write_files(folder)
        numbers = list(range(arguments.first, arguments.first + arguments.trials))
        parts = [numbers[i :: arguments.workers] for i in range(arguments.workers)]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(arguments.workers) as pool:
            results = list(pool.map(lambda part: work(part, arguments, folder), parts))
    ends, codes, bare = Counter[str](), Counter[str](), dict[str, str]()
    for one in results:
        ends, codes, bare = ends + one.ends, codes + one.codes, {**one.bare, **bare}
    for text in bare.values():
        print(f"---- {text}")
    for key, n in sorted(ends.items()):
        print(f"{n:>7,}  {key}")
    print("codes:", ", ".join(f"{code} {n}" for code, n in codes.most_common()))
    n_trials = sum(n for end, n in ends.items() if ":" not in end)
    print(f"{n_trials:,} trials, seed {arguments.seed}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
