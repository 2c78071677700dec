"""The docs check finds what it is there to find."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from house_kit.repository import REPOSITORY


@pytest.fixture(scope="module")
def check() -> Iterator[Any]:
    if not (REPOSITORY / "docs").is_dir():
        pytest.skip("not a clone of the repository")
    sys.path.insert(0, str(REPOSITORY / ".ci"))
    try:
        import docs_examples

        yield docs_examples
    finally:
        sys.path.remove(str(REPOSITORY / ".ci"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "python -m spacy transfer convert mail.csv corpus --no-such-option",
        "python -m spacy transfer no-such-command x",
        "python -m spacy transfer evaluate one-argument-only",
        "python -m spacy transfer train configs/full.cfg --output out --training.max_step 5",
        "python -m spacy transfer train configs/full.cfg --output o --components.transfer_textcat.model.tuning.depth 3",
        "python -m spacy transfer train configs/full.cfg --output out --sweep training.max_step=1,2",
        "python -m spacy project run no-such-workflow",
    ],
)
def test_wrong_commands_are_found(check: Any, place: Path, line: str) -> None:
    assert check._attempt("here", lambda: check._parse(line, {"parsed": 0}))


def test_right_commands_pass(check: Any, place: Path) -> None:
    lines = [
        "python -m spacy transfer convert mail.csv corpus --dev-share 0.1",
        "OMP_NUM_THREADS=1 python -m spacy transfer train configs/full.cfg --output out --training.max_steps 5",
        "python -m spacy project run all",
    ]
    assert [check._attempt(line, lambda line=line: check._parse(line, {"parsed": 0})) for line in lines] == [[]] * 3


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ('[components.transfer_textcat.model.loss]\n@losses = "spacy-transfer.Focal.v1"\nexclusive = true\n', True),
        ('[components.transfer_textcat.model.loss]\n@losses = "spacy-transfer.Focal.v1"\n', False),
        ("[components.transfer_textcat.model.tuning]\nfrozen_layers = 3\n", False),
        ("[training]\nmax_step = 3\n", False),
    ],
)
def test_config_blocks_are_built(check: Any, place: Path, text: str, is_right: bool) -> None:
    assert (check._attempt("here", lambda: check._build_snippet(text)) == []) is is_right


def test_blocks_are_read_with_their_marks(check: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- no-run: needs a GPU -->\n```python\nx = 1\n```\n\n```bash\nls\n```\n", "utf-8")
    found = [(b.language, b.line, b.mark, b.reason, b.code) for b in check.blocks_of(page)]
    assert found == [("python", 5, "no-run", "needs a GPU", "x = 1\n"), ("bash", 9, "", "", "ls\n")]


def test_option_tables_agree_with_the_code(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert check.tables() == []


def test_links_lead_somewhere(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert check.links() == []
