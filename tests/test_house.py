"""The house: entry points, floors, light imports, messages, and the rooms of the tests."""

import ast
import collections
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import spacy
from thinc.shims import Shim

import spacy_transfer
from spacy_transfer import errors

ROOT = Path(spacy_transfer.__file__).parent
TEXTS = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in ROOT.rglob("*.py")}
FILES = {file: ast.parse(text) for file, text in TEXTS.items()}
PROJECT = ROOT.parent / "pyproject.toml"
FLOORS = [
    {
        "errors", "log", "checks", "files", "json_types", "locks", "redaction", "text_output", "quiet", "depth_table",
        "docbins", "memory",
    },
    {"repository"},
    {"nn", "pipeline", "config", "evaluation"},
    {"model"},
    {"training", "corpora", "serving"},
    {"analysis", "projects"},
    {"cli", "estimator", "testing"},
]  # fmt: skip


def imports(file: str, tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Absolute names that a file imports, and whether at the top level, where it costs every import."""
    package = ["spacy_transfer", *Path(file).parent.parts]
    top = {id(node) for node in ast.iter_child_nodes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` imports the module x.
            names = [stem] if node.module else [f"{stem}.{alias.name}" for alias in node.names]
            yield from ((name, id(node) in top) for name in names)


def room(name: str) -> str:
    """errors, nn, model, ... of a file or of a module's name."""
    parts = name.removeprefix("spacy_transfer").strip(".").replace("/", ".").removesuffix(".py").split(".")
    return parts[0]


@pytest.mark.skipif(not PROJECT.is_file(), reason="installed without the repository")
def test_contributing_shows_the_house_as_it_is() -> None:
    text = (PROJECT.parent / "CONTRIBUTING.md").read_text("utf-8")
    picture = text.partition("```\nspacy_transfer/\n")[2].partition("```")[0]
    shown = re.findall(r"^  (\w+(?:/|\.py))  ", picture, re.MULTILINE)
    there = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    there |= {path.name for path in ROOT.glob("*.py")} - {"__init__.py"}
    assert sorted(shown) == sorted(there)
    # Of a folder with folders, their names on a line of their own.
    rooms = {}
    for line, inner in re.findall(r"^  (\w+)/  [^\n]*\n {18}((?:\w+/,? ?)+)$", picture, re.MULTILINE):
        rooms[line] = sorted(re.findall(r"(\w+)/", inner))
    wanted = {path.parent.name: [] for path in ROOT.glob("*/*/__init__.py")}
    for path in sorted(ROOT.glob("*/*/__init__.py")):
        wanted[path.parent.parent.name] = [*wanted.get(path.parent.parent.name, []), path.parent.name]
    assert rooms == {name: inner for name, inner in wanted.items() if inner}


# ---- entry points ------------------------------------------------------------------------------------------------


def entry_points() -> list[tuple[str, str, str]]:
    """Group, name and target of every entry point, as pyproject.toml states them."""
    if not PROJECT.is_file():
        found = importlib.metadata.distribution("spacy-transfer").entry_points
        return [(point.group, point.name, point.value) for point in found]
    table = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["entry-points"]
    return [(group, name, value) for group, points in table.items() for name, value in points.items()]


POINTS = entry_points()


@pytest.mark.parametrize(("group", "name", "value"), POINTS, ids=[name for _, name, _ in POINTS])
def test_entry_points_load_and_are_registered(group: str, name: str, value: str) -> None:
    module, _, attribute = value.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if group == "spacy_factories":
        assert spacy.blank("en").has_factory(name)
        return
    kind = group.removeprefix("spacy_").removeprefix("thinc_")
    assert spacy.registry.has(kind, name)
    assert getattr(spacy.registry, kind).get(name) is target
    if kind != "cli":
        assert re.fullmatch(r"spacy-transfer\.\w+\.v\d+", name)


def test_the_installed_entry_points_are_those_of_the_project() -> None:
    installed = importlib.metadata.distribution("spacy-transfer").entry_points
    assert {(point.group, point.name, point.value) for point in installed} == set(POINTS)


# ---- imports -----------------------------------------------------------------------------------------------------


def test_imports_run_down() -> None:
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    wrong = []
    for file, tree in FILES.items():
        for name, _ in imports(file, tree):
            if name.startswith("spacy_transfer.") and room(file) in floor and floor[room(name)] > floor[room(file)]:
                wrong.append(f"{file} -> {name}")
    assert not wrong


def test_rooms_are_small() -> None:
    """But the losses, of which there will be more."""
    sizes = collections.Counter(str(Path(file).parent) for file in FILES if not file.endswith("__init__.py"))
    assert not {folder: n for folder, n in sizes.items() if n > 12 and folder != "nn/losses"}


@pytest.mark.parametrize(
    ("who", "what"),
    [
        ("nn", {"spacy", "thinc"}), ("repository", {"spacy", "thinc"}),
        ("pipeline", {"torch", "transformers", "tokenizers", "safetensors"}),
        ("errors.py", {"spacy", "thinc", "torch", "transformers", "numpy"}),
        ("files", {"spacy", "thinc", "torch", "transformers", "numpy", "srsly", "safetensors"}),
        ("evaluation", {"torch", "transformers"}), ("config", {"torch", "transformers", "tokenizers", "safetensors"}),
        ("model", {"transformers"}), ("training", {"transformers"}), ("corpora", {"torch", "transformers"}),
    ],
)  # fmt: skip
def test_who_does_not_know_whom(who: str, what: set[str]) -> None:
    found = [
        f"{file} -> {name}"
        for file, tree in FILES.items() if file == who or file.startswith(f"{who}/")
        for name, _ in imports(file, tree) if name.partition(".")[0] in what
    ]  # fmt: skip
    assert not found


def test_components_know_no_models() -> None:
    found = [
        f"{file} -> {name}"
        for file, tree in FILES.items() if file.startswith("pipeline/")
        for name, _ in imports(file, tree) if room(name) in {"nn", "model"} and name.startswith("spacy_transfer.")
    ]  # fmt: skip
    assert not found


def test_one_door_to_transformers() -> None:
    # What a type checker alone reads opens none.
    running = {
        file: ast.Module([
            node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ], [])
        for file, tree in FILES.items()
    }  # fmt: skip
    doors = {
        file for file, tree in running.items() for name, _ in imports(file, tree) if name.startswith("transformers")
    }
    # Configurations, networks, tokenizers: none of them lets transformers read a stranger's folder.
    assert doors == {
        "nn/encoders/config.py", "nn/encoders/pretrained.py", "nn/media/reading.py", "repository/tokenizer_files.py",
    }  # fmt: skip


def test_digests_and_renames_are_made_in_files() -> None:
    """A file or folder takes its place, gets a digest and reaches the disk in one room. `tempfile` for a folder that
    is thrown away, and names of files that stay, as segments of a cache, are something else."""
    # The traceback of a crash goes where the system keeps temporary files, and takes no other file's place.
    excused = {"cli/failures.py mkstemp"}
    found = set()
    for file, tree in FILES.items():
        if file.startswith("files/"):
            continue
        found |= {f"{file} {name}" for name, _ in imports(file, tree) if name.partition(".")[0] == "hashlib"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, n_args = node.func.attr, len(node.args)
                # `Path.replace` has one argument, `str.replace` two.
                is_rename = name in {"rename", "renames"} or (name == "replace" and n_args == 1 and not node.keywords)
                is_os = ast.unparse(node.func) in {"os.replace", "os.rename", "os.link", "shutil.move"}
                if is_rename or is_os or name in {"mkstemp", "mktemp", "NamedTemporaryFile", "fsync"}:
                    found.add(f"{file} {name}")
    assert found == excused


def test_heavy_packages_wait_where_every_command_passes() -> None:
    """`spacy --help` imports the command group, `spacy.blank` the factories: nothing they reach at the top level may
    import more than spaCy itself does."""
    heavy = {"torch", "transformers", "tokenizers", "safetensors", "sklearn", "pyarrow", "huggingface_hub", "pandas"}
    waiting, seen, found = ["cli/__init__.py", "pipeline/factories.py"], set[str](), []
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name, at_top in imports(file, FILES[file]):
            if at_top and name.partition(".")[0] in heavy:
                found.append(f"{file} -> {name}")
            if at_top and name.startswith("spacy_transfer."):
                path = name.removeprefix("spacy_transfer.").replace(".", "/")
                waiting += [one for one in (f"{path}.py", f"{path}/__init__.py") if one in FILES]
    assert "pipeline/textcat.py" in seen
    assert not found


def test_importing_the_factories_loads_no_encoder_library() -> None:
    """spacy-transformers, where it is installed, would load transformers itself."""
    code = """
import sys
sys.modules["spacy_transformers"] = None
import spacy_transfer.pipeline.factories
print("transformers" in sys.modules, "tokenizers" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["False", "False"]


def test_no_circles() -> None:
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    edges = {
        file: {modules.get(name.removeprefix("spacy_transfer.")) for name, _ in imports(file, tree)} - {None}
        for file, tree in FILES.items()
    }
    done: set[str] = set()

    def visit(file: str, path: tuple[str, ...]) -> None:
        assert file not in path, f"circle: {' -> '.join([*path, file])}"
        if file not in done:
            for target in edges[file]:
                if not target.endswith("__init__.py"):
                    visit(target, (*path, file))
            done.add(file)

    for file in edges:
        visit(file, ())


# ---- classes -----------------------------------------------------------------------------------------------------


def package_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class of the package, with its file."""
    return ((file, node) for file, tree in FILES.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def test_a_shim_is_abstract_or_final() -> None:
    """What one shim cannot do, it must not inherit from another that can."""
    named = [(file, node.name) for file, node in package_classes() if node.name.endswith("Shim")]
    modules = {file: importlib.import_module(f"spacy_transfer.{file[:-3].replace('/', '.')}") for file, _ in named}
    shims = [shim for file, name in named if issubclass(shim := getattr(modules[file], name), Shim)]
    assert {shim.__name__ for shim in shims} >= {"OwnEncoderShim", "SharedEncoderShim", "MaskedLMShim"}
    # A final class says so by itself, and not because one above it does.
    assert not [shim for shim in shims if inspect.isabstract(shim) == bool(vars(shim).get("__final__"))]
    known = {base for shim in shims for base in shim.__mro__ if issubclass(base, Shim)} - {Shim}
    assert known <= set(shims)


def test_no_final_class_is_derived_from() -> None:
    final = {
        node.name
        for _, node in package_classes()
        if any(isinstance(one, ast.Name) and one.id == "final" for one in node.decorator_list)
    }
    assert "OwnEncoderClassifier" in final
    assert not [
        f"{file}: {node.name}"
        for file, node in package_classes()
        if {base.id for base in node.bases if isinstance(base, ast.Name)} & final
    ]


# ---- messages ----------------------------------------------------------------------------------------------------

MESSAGES = {name: value for name, value in vars(errors).items() if re.fullmatch(r"T\d{3}(_\w+)?", name)}


def test_messages_carry_their_code_and_are_used() -> None:
    """T043_TEXT and its like stand inside T043."""
    assert not [name for name, text in MESSAGES.items() if "_" not in name and not text.startswith(f"[{name}] ")]
    used = {
        word for file, text in TEXTS.items() if file != "errors.py" for word in re.findall(r"\bT\d{3}(?:_\w+)?\b", text)
    }
    used |= {
        node.id
        for node in ast.walk(FILES["errors.py"])
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(MESSAGES) <= used, sorted(set(MESSAGES) - used)


def test_no_two_messages_are_alike() -> None:
    assert len(set(MESSAGES.values())) == len(MESSAGES)


def test_messages_stand_in_one_file() -> None:
    for file, tree in FILES.items():
        for node in ast.walk(tree):
            if file != "errors.py" and isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"\[T\d{3}\]", node.value), f"{file}: {node.value[:60]}"


def test_every_error_has_a_code() -> None:
    """`raise ValueError("...")` without a message of the catalogue; NotImplementedError is for whom derives a class,
    and an AttributeError is what `hasattr` and Python itself ask for."""
    for file, tree in FILES.items():
        lines = (ROOT / file).read_text("utf-8").splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                args = node.exc.args
                bare = any(isinstance(arg, ast.JoinedStr) or isinstance(getattr(arg, "value", 0), str) for arg in args)
                bare = bare and node.exc.func.id != "AttributeError"
                assert not bare or "pragma: no cover" in lines[node.end_lineno - 1], f"{file}:{node.lineno}"


def test_an_optional_package_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r"T081.*'no_such_package'.*spacy-transfer\[parquet\]"):
        errors.require("no_such_package", "parquet")
    assert errors.require("json", "parquet") is importlib.import_module("json")


# ---- English -----------------------------------------------------------------------------------------------------

# Regular expressions for whole words. Names and comments avoid these too.
BRITISH = [
    r"\w*(?:initial|normal|recogn|optim|organ|summar|serial|minim|maxim|general|regular|standard|custom|util)"
    r"is(?:e|es|ed|ing|ation|ations)",
    r"licences?", r"(?:behavi|col|fav|hon|neighb)our\w*", r"grey", r"whilst", r"(?:un)?labell(?:ed|ing)",
    r"cancell(?:ed|ing)", r"modell(?:ed|ing)", r"travell(?:ed|ing)", r"centre", r"analyse[ds]?", r"artefacts?",
    r"learnt",
]  # fmt: skip
# The one list of what messages, help and pages avoid: add to it here.
NOT_ENGLISH = [
    *BRITISH,
    # Translated phrases.
    r"(?:wanted|needed|expected|looked at) (?:is|are)", r"told once", r"anew", r"beside", r"whoever", r"somebody",
    r"of ours", r"stands? there", r"that is none", r"no finite number", r"one's own", r"to be had", r"at hand",
    r"so many (?:steps|seconds|times|epochs|parts|trials)",
]  # fmt: skip
AVOIDED = re.compile(rf"\b(?:{'|'.join(NOT_ENGLISH)})\b", re.IGNORECASE)
# Of the other files, the docstring at the head.
WRITTEN = [file for file in FILES if file in ("errors.py", "corpora/inspection/findings.py") or file.startswith("cli/")]
PAGES = (
    [PROJECT.parent / "README.md", *(PROJECT.parent / "docs").glob("*.md"), *(PROJECT.parent / "configs").glob("*.cfg")]
    if PROJECT.is_file()
    else []
)


def sentences(tree: ast.AST) -> Iterator[str]:
    """Texts in a Python file; a single word is a key or a code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


@pytest.mark.parametrize("file", WRITTEN)
def test_messages_and_help_are_plain_us_english(file: str) -> None:
    assert not [(found[0], text) for text in sentences(FILES[file]) for found in AVOIDED.finditer(text)]


def test_file_heads_are_plain_us_english() -> None:
    heads = {file: (ast.get_docstring(tree) or "").partition("\n")[0] for file, tree in FILES.items()}
    assert not {file: found[0] for file, head in heads.items() if (found := AVOIDED.search(head))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_plain_us_english(page: Path) -> None:
    """Names in backticks and blocks of code aside."""
    text = page.read_text("utf-8")
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE) if page.suffix == ".md" else text
    assert not [prose[max(0, found.start() - 30) : found.end() + 10] for found in AVOIDED.finditer(prose)]


@pytest.mark.skipif(not PAGES, reason="installed without its README")
@pytest.mark.parametrize("section", ["Quickstart", "Tests"])
def test_the_readme_has_one_command_that_sets_up_and_runs(section: str) -> None:
    """.ci/run runs that under Tests."""
    text = PAGES[0].read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    assert len(commands := re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)) == 1
    assert commands[0].startswith("python3 -m venv .venv && ")
    assert commands[0].count("\n") == 1


def test_the_list_finds_what_it_is_for() -> None:
    for text in ("Wanted is a str", "initialised", "one of ours", "licence", "computed anew", "two colours"):
        assert AVOIDED.search(text)
    for text in ("besides", "expected a str", "license", "initialized", "unlabelled_file", "courses"):
        assert not AVOIDED.search(text)


def test_names_and_comments_have_us_spelling() -> None:
    """Also within snake case; what others have named aside: a license file, a field of Label Studio."""
    found = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(BRITISH)})(?![a-z])", re.IGNORECASE)
    assert {word for text in TEXTS.values() for word in found.findall(text)} <= {"LICENCE", "cancelled"}


# ---- names and texts ---------------------------------------------------------------------------------------------


def test_functions_are_annotated() -> None:
    for file, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [arg.arg for arg in args if arg.annotation is None and arg.arg not in ("self", "cls")]
                assert node.returns is not None, f"{file}:{node.lineno} {node.name}"
                assert not bare, f"{file}:{node.lineno} {node.name}"


# Where a type is really unknown. It may fall, and rises only with a reason.
MOST_ANY, MOST_CASTS = 23, 20


def test_types_have_few_holes() -> None:
    """`Any` in an annotation, and what `cast` says without looking."""
    nodes = [node for tree in FILES.values() for node in ast.walk(tree)]
    assert sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes) <= MOST_ANY
    assert sum(isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cast" for node in nodes) <= MOST_CASTS


def test_what_is_public_is_documented() -> None:
    for file, tree in FILES.items():
        assert ast.get_docstring(tree), file
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        for node in [*tree.body, *(part for one in classes for part in one.body)]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file}:{node.lineno} {node.name}"


def test_rooms_have_names_of_their_own() -> None:
    vague = {"utils", "util", "helpers", "helper", "base", "common", "misc", "manager"}
    assert not [file for file in FILES if Path(file).stem in vague]


# ---- tests -------------------------------------------------------------------------------------------------------

TESTS = {file.relative_to(Path(__file__).parent): file for file in Path(__file__).parent.rglob("*.py")}
TREES = {file: ast.parse(path.read_text("utf-8")) for file, path in TESTS.items()}
# What tests import, and what runs on a device that is not there.
NO_ROOMS = {Path("house_kit"), Path("on_fake_cuda")}


def test_tests_lie_in_the_rooms_of_what_they_test() -> None:
    folders = {file.parent for file in TESTS} - NO_ROOMS
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()]


def test_tests_import_from_no_other_test() -> None:
    """From house_kit: an imported test file would be read twice, and there is a conftest in more than one folder."""
    tests = {file.stem for file in TESTS if file.parent != Path("house_kit")}
    found = [f"{file} -> {name}" for file, tree in TREES.items() for name, _ in imports("", tree) if name in tests]
    assert not found


def test_a_conftest_has_fixtures_and_hooks_alone() -> None:
    for file, tree in TREES.items():
        for node in tree.body if file.name == "conftest.py" else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("pytest_"):
                assert any("fixture" in ast.unparse(one) for one in node.decorator_list), f"{file}: {node.name}"


def test_files_of_tests_are_short_and_have_names_of_their_own() -> None:
    """Two of one name cannot be collected together: they are imported by it."""
    assert not [file for file, path in TESTS.items() if len(path.read_text("utf-8").splitlines()) > 500]
    names = collections.Counter(file.name for file in TESTS if file.name not in ("conftest.py", "__init__.py"))
    assert not [name for name, n in names.items() if n > 1]
