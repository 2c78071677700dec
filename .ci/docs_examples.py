"""Everything that README and docs/ show is tried: Python blocks run, command lines parse (some really run), config
blocks build a pipeline, and the option tables of the configuration reference agree with the code.

An HTML comment right before a block changes what is done with it:

    <!-- no-run: REASON -->    Python that is only compiled
    <!-- needs: NAME -->       Python that runs if `spacy_transfer` offers NAME, and is compiled otherwise
    <!-- installed: NAME -->    Python that runs where the package NAME is installed, and is compiled otherwise
    <!-- run -->               a shell block whose `python -m spacy` lines are really run
    <!-- no-check: REASON -->  a config block, or a shell block, that is not looked at
"""

import contextlib
import csv
import importlib.util
import inspect
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
# What took so many seconds is named.
_LONG = 5.0
_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!-- *(no-run|needs|installed|run|no-check)(?:: *(.*?))? *-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    line (int): Of its first line of code, from 1. mark, reason (str): What a comment before it says.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str
    reason: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README and all pages, the quickstart first: what it trains is what the others show."""
    found = sorted(Path("docs").glob("*.md"), key=lambda page: (page.name != "quickstart.md", page.name))
    return [*found, Path("README.md")]


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        mark = _MARK.match(lines[number - 1]) if number else None
        end = lines.index("```", number + 1)
        yield Block(page, number + 2, fence[1], "\n".join(lines[number + 1 : end]) + "\n", mark[1] if mark else "",
                    (mark[2] or "") if mark else "")  # fmt: skip
        number = end + 1


def examples() -> list[str]:
    """Try every block, page by page, on all cores. RETURNS (list[str]): What is wrong."""
    every = {page: list(blocks_of(page)) for page in pages()}
    unexplained = [b for found in every.values() for b in found if b.mark in ("no-run", "no-check") and not b.reason]
    wrong = [f"{block.place}: '{block.mark}' without a reason" for block in unexplained]
    functions = [b.code for b in every.get(Path("docs/own-blocks.md"), []) if "spacy.registry" in b.code]
    counts = Counter[str]()
    n_workers = min(os.cpu_count() or 1, 4)
    if n_workers > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        work = _Pages(Path.cwd(), Path(folder), "\n\n".join(functions))
        # Not forked: torch goes backward in no fork of a process that has.
        with ProcessPoolExecutor(n_workers, get_context("spawn")) as workers:
            first, *others = every
            trained = work.place(first)
            tried = [workers.submit(work.try_page, first, None).result()]
            tried += workers.map(work.try_page, others, [trained] * len(others))
    for found, counted in tried:
        wrong += found
        counts += counted
    shown = {name: counts[name] for name in ("python", "run", "parsed", "config", "skipped")}
    print("docs: {python} Python blocks run, {run} commands run, {parsed} commands parsed, {config} config blocks "
          "built, {skipped} blocks skipped".format(**shown))  # fmt: skip
    return wrong


@dataclass(frozen=True)
class _Pages:
    """Where pages are tried.

    root (Path): Of the repository. made (Path): Holds a folder for each page. functions (str): What blocks register.
    """

    root: Path
    made: Path
    functions: str

    def place(self, page: Path) -> Path:
        """Folder in which its commands run."""
        return self.made / page.stem

    def try_page(self, page: Path, trained: Path | None) -> "tuple[list[str], Counter[str]]":
        """Try its blocks and inline commands. RETURNS (tuple): What is wrong, and how many there were of each kind."""
        found, counts = list(blocks_of(page)), Counter[str]()
        inline = _inline_commands(page)
        place = self.place(page)
        _prepare(self.root, place, trained, found)
        (place / "functions.py").write_text(self.functions, "utf-8")
        names: dict[str, Any] = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
        # dataclasses look their module up.
        sys.modules[names["__name__"]] = type(sys)(names["__name__"])
        wrong = []
        os.chdir(place)
        try:
            for block in found:
                wrong += _attempt(block.place, lambda block=block: _try(block, names, counts))
            for line in inline:
                wrong += _attempt(f"{page}: {line}", lambda line=line: _parse(line, counts))
        finally:
            os.chdir(self.root)
        return wrong, counts


def _attempt(place: str, work: Callable[[], None]) -> list[str]:
    """Call quietly. RETURNS (list[str]): The error, with what was printed, if there was one."""
    printed, start = io.StringIO(), perf_counter()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            work()
    except (Exception, SystemExit):
        last = "".join(traceback.format_exc(limit=-3))
        return [f"{place}: {last}{printed.getvalue()[-1500:]}"]
    finally:
        if (seconds := perf_counter() - start) > _LONG:
            print(f"docs: {place} took {seconds:.0f} s")
    return []


def _prepare(root: Path, place: Path, trained: Path | None, found: list[Block]) -> None:
    """A folder in which the commands of a page can run: configs, data, tables, and what the quickstart made."""
    shutil.copytree(root / "configs", place / "configs")
    shutil.copytree(root / "assets", place / "assets")
    for config in (place / "configs").glob("*.cfg"):
        # The encoder without fetching it, and one short epoch.
        text = config.read_text("utf-8").replace("assets/encoder", MINILM)
        config.write_text(re.sub(r"^max_epochs = \d+", "max_epochs = 2", text, flags=re.M), "utf-8")
    for name in ("mail.csv", "train.csv", "test.csv"):
        _write_table(place / name)
    tickets = [
        {"text": f"It is late, {n}.", "label": "delivery" if n % 2 else "billing", "title": "Parcel", "n_stars": n % 5}
        for n in range(20)
    ]
    (place / "packages").mkdir()
    (place / "tickets.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tickets), "utf-8")
    converts = any(block.mark == "run" and " convert " in block.code for block in found)
    if trained is not None:
        shutil.copytree(trained / "training", place / "training")
        if not converts:
            shutil.copytree(trained / "corpus", place / "corpus")
    else:
        (place / "corpus").mkdir()


def _write_table(path: Path) -> None:
    records = [json.loads(line) for line in (Path("assets/support/train.jsonl")).read_text("utf-8").splitlines()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label in ("billing", "delivery"):
            writer.writerows([[one["text"], label] for one in records if one["label"] == label][:25])


def _try(block: Block, names: dict[str, Any], counts: Counter[str]) -> None:
    if block.language == "python":
        code = compile(block.code, block.place, "exec")
        is_missing = block.mark == "installed" and importlib.util.find_spec(block.reason) is None
        if is_missing or block.mark == "no-run" or (block.mark == "needs" and not _is_offered(block.reason)):
            counts["skipped"] += 1
            return
        if block.mark == "installed":
            # As a script: other processes get its functions, since they cannot import them.
            exec(code, {"__name__": "__main__"})
            counts["python"] += 1
            return
        module = sys.modules[names["__name__"]]
        module.__dict__.update(names)
        exec(code, module.__dict__)
        counts["python"] += 1
    elif block.mark == "no-check":
        counts["skipped"] += 1
    elif block.language == "bash":
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|;", line) if "'" not in line else [line]:
                if re.match(r"\s*(\w+=\S+ )*(python -m )?spacy ", command):
                    (_run if block.mark == "run" else _parse)(command, counts)
    elif block.language == "ini":
        _build_snippet(block.code)
        counts["config"] += 1


def _is_offered(names: str) -> bool:
    import spacy_transfer

    return all(hasattr(spacy_transfer, name.strip()) for name in names.split(","))


# ---- commands ----------------------------------------------------------------------------------------------------


def _inline_commands(page: Path) -> list[str]:
    """Commands within sentences that have arguments and no placeholders."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    found = re.findall(r"`(python -m spacy [^`]+)`", text)
    # The overrides that a recipe recommends are those of its config.
    for name, section in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        command = f"python -m spacy transfer train configs/{name}.cfg --output out"
        if Path(f"configs/{name}.cfg").exists():
            found += [f"{command} {override}" for override in re.findall(r"`(--[a-z_]+\.[^`]+)`", section)]
    return [one for one in found if not re.search(r"\b[A-Z]{3,}\b|\.\.\.|fill-config$|spacy transfer$|pretrain$", one)]


def _split(line: str) -> list[str]:
    words = shlex.split(line)
    return words[words.index("spacy") + 1 :]


def _resolve(words: list[str]) -> tuple[Any, str, list[str]]:
    """RETURNS (tuple): The click command, its name, and its arguments."""
    from spacy.cli._util import app
    from typer.main import get_command

    import spacy_transfer.cli  # noqa: F401

    command, name = get_command(app), "spacy"
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            raise ValueError(f"no command '{' '.join([name, *words[:1]])}'")
        command, name, words = command.commands[words[0]], words[0], words[1:]
    return command, name, words


def _run(line: str, counts: Counter[str]) -> None:
    command, name, words = _resolve(_split(line))
    sys.argv = ["spacy", *_split(line)]
    try:
        command.main(words, prog_name=name)
    except SystemExit as status:
        if status.code:
            raise
    counts["run"] += 1


def _parse(line: str, counts: Counter[str]) -> None:
    """Options and arguments are those of the command; of a config, keys and values too."""
    from spacy.cli._util import parse_config_overrides

    line = line.replace(" ...", "")
    command, name, words = _resolve(_split(line))
    if not words:
        counts["parsed"] += 1
        return
    # What an earlier line of the page would have written.
    for word in words:
        if word.endswith(".cfg") and "," not in word and not Path(word).exists():
            shutil.copy("configs/full.cfg", word)
        if word.endswith("model-best"):
            Path(word).mkdir(parents=True, exist_ok=True)
    if command.name == "run" and "project" in line:
        known = (Path(__file__).parent.parent / "project.yml").read_text("utf-8")
        if not re.search(rf"^  {re.escape(words[0])}:|- name: \"{re.escape(words[0])}\"", known, re.M):
            raise ValueError(f"project.yml has no command or workflow '{words[0]}'")
    context = command.make_context(name, list(words))
    if "transfer" in line and "config" in context.params and name in ("train", "augment"):
        overrides = parse_config_overrides(context.args)
        for spec in context.params.get("sweep") or ():
            keys, _, text = spec.partition("=")
            if not text:
                # Config files in place of the one.
                continue
            if "," in keys:
                overrides |= dict(zip(keys.split(","), _first(text), strict=True))
            else:
                overrides[keys] = _first(text)
        _build(Path(context.params["config"]), overrides, context.params.get("code"))
    counts["parsed"] += 1


def _first(text: str) -> Any:
    try:
        return json.loads(f"[{text}]")[0]
    except ValueError:
        return text.split(",")[0]


# ---- configs -----------------------------------------------------------------------------------------------------


def _build(config: Path, overrides: dict[str, Any], code: Path | None = None) -> None:
    from spacy.cli._util import import_code

    from spacy_transfer.config.reading import read_config

    if code is not None:
        import_code(code)
    _build_pipeline(read_config(config, overrides).interpolate())


def _build_snippet(text: str) -> None:
    """A snippet goes over a shipped config; blocks that it names are replaced, as in a config file."""
    from spacy.util import load_config
    from thinc.api import Config

    snippet = Config().from_str(_with_parents(text), interpolate=False)
    several = "transfer_textcat_multilabel" in snippet.get("components", {})
    base = "multilabel" if several else "shared" if "SharedEncoder" in text else "full"
    base = load_config(Path(f"configs/{base}.cfg"), interpolate=False)
    merged = base.merge(snippet)
    model = snippet.get("components", {}).get("transfer_textcat", {}).get("model", {})
    for name, block in model.items():
        # As a reader would: another block takes the place of the old one, keys and all.
        if isinstance(block, dict) and any(key.startswith("@") for key in block):
            merged["components"]["transfer_textcat"]["model"][name] = block
    if "my." in text:
        from spacy.cli._util import import_code

        import_code(Path("functions.py"))
    _build_pipeline(Config().from_str(merged.to_str(interpolate=False)))


def _with_parents(text: str) -> str:
    """A snippet with the sections that it leaves out above its own, since the parser wants all of them."""
    lines, seen = list[str](), set(re.findall(r"^\[([^\]\n]+)\]$", text, re.M))
    for line in text.splitlines():
        if header := re.match(r"^\[([^\]]+)\]$", line):
            for n in range(header[1].count("."), 0, -1):
                above = header[1].rsplit(".", n)[0]
                if above not in seen and not above.endswith("*"):
                    seen.add(above)
                    lines.append(f"[{above}]")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _build_pipeline(config: Any) -> None:
    from spacy.language import DEFAULT_CONFIG
    from spacy.schemas import ConfigSchemaTraining
    from spacy.util import load_model_from_config, registry

    # Filling a config drops them.
    if unknown := set(config.get("training", {})) - set(DEFAULT_CONFIG["training"]):
        raise ValueError(f"[training] has no {sorted(unknown)}")
    nlp = load_model_from_config(config, auto_fill=True)
    # Readers and batchers are made, nothing is read.
    whole = nlp.config.interpolate()
    registry.resolve(whole["training"], schema=ConfigSchemaTraining)
    registry.resolve(whole["corpora"])


# ---- the configuration reference ---------------------------------------------------------------------------------


def tables() -> list[str]:
    """Each block with options has a table, with its options and their defaults. RETURNS (list[str]): What is wrong."""
    from spacy.util import registry

    entries = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    text = "\n".join(page.read_text("utf-8") for page in sorted(Path("docs").glob("configuration*.md")))
    wrong = []
    for group, names in entries.items():
        kind = group.removeprefix("spacy_").removeprefix("thinc_")
        for name in names:
            if kind in ("factories", "cli", "architectures") or name.endswith(("PieceRows.v1", "JoinedFeatures.v1")):
                continue
            made = registry.get(kind, name)
            options = {
                one.name: "required" if one.default is one.empty else one.default
                for one in inspect.signature(made).parameters.values()
            }
            if not options:
                if f"`{name}`" not in text:
                    wrong.append(f"docs/configuration*.md: no word about {name}")
                continue
            section = re.search(rf"^### `{re.escape(name)}`\n(.*?)(?=^#|\Z)", text, re.M | re.S)
            rows = re.findall(r"^\| `(\w+)` \|.*?\| (.+?) \|", section[1], re.M) if section else []
            shown = dict(rows)
            wrong += [f"docs/configuration*.md: {name} has no row for '{one}'" for one in options if one not in shown]
            wrong += [f"docs/configuration*.md: {name} has no option '{one}'" for one in shown if one not in options]
            wrong += [
                f"docs/configuration*.md: {name}.{one} defaults to {_shown(options[one])}, not {shown[one]}"
                for one in shown
                if one in options and _shown(options[one]) != shown[one]
            ]
    return wrong


def _shown(default: Any) -> str:
    if default == "required":
        return default
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"


def links() -> list[str]:
    """Files and folders that pages link to are there. RETURNS (list[str]): What is wrong."""
    wrong = []
    for page in pages():
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            # weasel writes docs/project.md as if it lay beside project.yml.
            if page.name == "project.md" and target == "project.yml":
                continue
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                wrong.append(f"{page}: links to {target}, which is not there")
    return wrong
