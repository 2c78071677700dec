"""The door: public names, loaded at their first use, documented in a form that tools read."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import spacy_transfer

NAMES = [name for name in spacy_transfer.__all__ if name != "__version__"]
ROOT = Path(spacy_transfer.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREE = ast.parse(Path(spacy_transfer.__file__).read_text("utf-8"))
GROUPS = ["spacy_misc", "thinc_layers", "thinc_losses", "thinc_optimizers", "thinc_schedules", "spacy_readers"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(spacy_transfer, name)
    assert value.__name__ == name
    assert value.__module__.startswith(f"spacy_transfer.{spacy_transfer._LAZY[name]}")
    assert inspect.getdoc(value)
    # Found once, it is an attribute like any other.
    assert vars(spacy_transfer)[name] is value


def test_every_registered_block_class_is_public() -> None:
    targets = {
        point.value for group in GROUPS for point in entry_points(group=group)
        if point.name.startswith("spacy-transfer.")
    }  # fmt: skip
    loaded = {getattr(importlib.import_module(t.partition(":")[0]), t.partition(":")[2]) for t in targets}
    classes = {value for value in loaded if inspect.isclass(value)}
    assert len(classes) > 30
    assert classes <= {getattr(spacy_transfer, name) for name in NAMES}


def test_type_checkers_see_the_same_names() -> None:
    (block,) = [node for node in TREE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {(alias.asname, node.module) for node in block.body for alias in node.names}
    assert {alias.name == alias.asname for node in block.body for alias in node.names} == {True}
    assert seen == set(spacy_transfer._LAZY.items())


def test_another_name_is_an_attribute_error_and_dir_lists_all() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        spacy_transfer.no_such_name  # noqa: B018
    assert set(spacy_transfer.__all__) <= set(dir(spacy_transfer))
    assert len(set(spacy_transfer.__all__)) == len(spacy_transfer.__all__)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; import spacy_transfer; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    heavy = {"torch", "transformers", "tokenizers", "spacy", "thinc", "numpy", "sklearn", "safetensors", "tqdm"}
    assert not set(done.stdout.split()) & heavy
    assert not done.stderr


# ---- the grammar of docstrings -----------------------------------------------------------------------------------

PARAMETER = re.compile(r"^(\w+)(?: \((.+?)\))?: (?=\S)")
# A second parameter on the line of the first: "size (int): Pieces. seed (int): Of the folds."
PACKED = re.compile(r"[.;] \w+(?:, \w+)* \((?:str|int|float|bool|list|dict|Path|Callable|Any|Tensor)\b[^)]*\): ")
JOINED = re.compile(r"^\w+, \w+(?:, \w+)*(?: \([^)]*\))?: ")
# "Reads a file. RETURNS (str): Its text." in one line.
SECTIONS = re.compile(r"\S .*\b(RETURNS|YIELDS|RAISES) \(")
ENTRY = re.compile(r"^(?:\w+(?:, \w+)* \([^)]*\): |RETURNS|YIELDS|RAISES)")
NO_VERB = {"The", "A", "An", "Of", "What", "Whether", "How", "All", "Several", "Every", "Each"}


def problems_of(value: Any) -> list[str]:
    """What is against the grammar in the docstring of a function, or of a class and its fields."""
    text = inspect.getdoc(value) or ""
    lines = text.splitlines()
    if inspect.isclass(value):
        expected = [
            name for name in inspect.signature(value).parameters if name not in ("args", "kwargs", "counted_steps")
        ]
        if dataclasses.is_dataclass(value):
            expected = [field.name for field in dataclasses.fields(value)]
    else:
        expected = [name for name in inspect.signature(value).parameters if name != "self"]
    found = [(match[1], match[2]) for line in lines if (match := PARAMETER.match(line))]
    problems = [f"no line for {name}" for name in expected if name not in dict(found)]
    problems += [f"no type for {name}" for name, kind in found if name in expected and not kind]
    order = [name for name, _ in found if name in expected]
    if not problems and order != expected:
        problems.append(f"order {order}")
    problems += [
        f"several parameters in one line: {line}" for line in lines if PACKED.search(line) or JOINED.match(line)
    ]
    summary = text.partition("\n\n")[0]
    if not summary.rstrip().endswith((".", ":")):
        problems.append("the first paragraph is no sentence")
    if not inspect.isclass(value):
        if summary.split()[0] in NO_VERB:
            problems.append(f"begins with {summary.split()[0]!r}, not with a verb")
        if inspect.signature(value).return_annotation not in (None, "None") and "RETURNS" not in text:
            problems.append("no RETURNS")
    problems += [f"two sections in one line: {line}" for line in lines if SECTIONS.search(line)]
    return problems


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_are_in_a_form_that_tools_read(name: str) -> None:
    assert not problems_of(getattr(spacy_transfer, name))


def documented(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, str]]:
    """Everything in a file that has a docstring, or is to have one since it is public."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            if text or not node.name.startswith("_"):
                yield node, text


def test_every_docstring_has_one_parameter_and_one_section_a_line() -> None:
    problems = []
    found = ((path, *one) for path in FILES for one in documented(ast.parse(path.read_text("utf-8"))))
    for path, node, text in found:
        summary = text.partition("\n\n")[0]
        name = f"{path.relative_to(ROOT).as_posix()}: {node.name}"
        if not summary.rstrip().endswith((".", ":")):
            problems.append(f"{name}: the first paragraph is no sentence")
        if not node.name.startswith("_") and ENTRY.match(summary):
            problems.append(f"{name}: begins with a parameter or a section")
        if not node.name.startswith("_") and isinstance(node, ast.FunctionDef):
            parameters = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
            parameters = [parameter for parameter in parameters if parameter not in ("self", "cls")]
            given = [m[1] for line in text.splitlines() if (m := PARAMETER.match(line)) and m[1] in parameters]
            # Where one parameter has a line, all have one, in their order.
            if given and given != parameters:
                problems.append(f"{name}: {given}, not {parameters}")
        problems += [
            f"{name}: {line}" for line in text.splitlines()
            if PACKED.search(line) or JOINED.match(line) or SECTIONS.search(line)
        ]  # fmt: skip
    assert not problems, "\n".join(problems)
