"""The page: complete in itself, safe with any text, usable without eyes or mouse."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import DocBin

import spacy_transfer.cli  # noqa: F401 (its commands)
from house_kit.commands import run as command
from house_kit.reports import EVIL, write_tests
from house_kit.runs import config_of, run, write_corpus
from spacy_transfer.evaluation.report.report import report

KIND = "unfreezing by steps, Adam"


class Page(HTMLParser):
    """Every element of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with test data that hold all that a page could stumble over."""
    folder = tmp_path_factory.mktemp("report")
    run(config_of(bert, write_corpus(folder), KIND, 10), folder / "run")
    write_tests(folder / "test.spacy")
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return report(
        folder / "run", folder / "report.html", data=[folder / "test.spacy"], compare=[folder / "run/model-last"]
    )


@pytest.fixture(scope="module")
def html(folder: Path, facts: dict[str, Any]) -> str:
    assert facts
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_loaded_from_elsewhere(html: str, page: Page) -> None:
    assert not [
        tag for tag, _ in page.elements if tag in {"link", "img", "iframe", "object", "embed", "video", "audio"}
    ]
    for tag, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert (attrs.get(name) or "#").startswith("#"), (tag, attrs)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_texts_labels_and_attributes_are_text(page: Page, facts: dict[str, Any]) -> None:
    """A script of theirs would be an element more."""
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"b-evil", "img", "iframe"}
    (data,) = [text for tag, text in page.texts if tag == "script" and text.lstrip().startswith("[")]
    (component,) = json.loads(data)
    shown = {row["text"] for row in component["texts"]}
    # They are there, and what would turn the direction of reading or ring a bell is an escape.
    assert any(EVIL[0] in text for text in shown)
    assert not [text for text in shown if "\x07" in text or "\u202e" in text]
    assert any("\\x07" in text for text in shown)
    # The data next to the page keep them as they are.
    kept = {row["text"] for row in facts["tests"][0]["components"][0]["texts"]}
    assert any("\x07" in text for text in kept)


def test_charts_have_words(page: Page) -> None:
    charts = page.all("svg")
    assert len(charts) >= 6
    ids = Counter(attrs["id"] for _, attrs in page.elements if attrs.get("id"))
    assert not [name for name, n in ids.items() if n > 1]
    for chart in charts:
        assert chart["role"] == "img"
        assert chart["aria-labelledby"] in ids
        assert chart["aria-describedby"] in ids
    words = " ".join(text for tag, text in page.texts if tag in ("title", "desc"))
    for part in ("loss", "Highest frozen depth", "Share that is right", "average precision"):
        assert part in words
    # Text of charts is text, in the colors of the page.
    assert "mean loss of a text" in "".join(text for _, text in page.texts)
    assert "#0303" not in " ".join(str(attrs) for _, attrs in page.elements)


def test_the_page_works_with_keyboard_and_screen_reader(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    ids = {attrs["id"] for _, attrs in page.elements if attrs.get("id")}
    for _, attrs in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= ids
        href = attrs.get("href")
        assert href is None or href.removeprefix("#") in ids
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))
    assert all(one.get("type") == "button" for one in page.all("button"))
    assert all(
        one.get("tabindex") == "0" and one.get("aria-label")
        for one in page.all("div")
        if "scroll" in (one.get("class") or "")
    )
    assert next(tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)) == "h1"


def test_the_data_are_those_of_the_page(folder: Path, facts: dict[str, Any]) -> None:
    assert json.loads((folder / "report.json").read_text("utf-8")) == json.loads(json.dumps(facts, allow_nan=False))


def test_an_older_report_is_replaced_and_nothing_else(folder: Path, facts: dict[str, Any], tmp_path: Path) -> None:
    assert facts
    again = report(folder / "run", folder / "report.html")
    assert again["tests"] == []
    for name, text in (("mine.html", "<!doctype html><p>my page"), ("mine.json", "{}")):
        (tmp_path / name).write_text(text)
        with pytest.raises(FileExistsError, match="T376"):
            report(folder / "run", tmp_path / "mine.html")
        assert (tmp_path / name).read_text() == text
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="T646"):
        report(folder / "run", tmp_path / "report.pdf")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    said = command("transfer", "report", folder / "run/model-best", "--output", tmp_path / "out.html")
    assert "out.html" in said
    assert "--data" in said
    assert {path.name for path in tmp_path.iterdir()} == {"out.html", "out.json"}
    said = command("transfer", "report", folder, "-o", tmp_path / "x.html", code=1)
    assert "T643" in said
    assert "T645" in command("transfer", "report", folder / "run", "--compare", folder / "run", code=1)


def test_empty_data_are_refused(folder: Path, tmp_path: Path) -> None:
    DocBin().to_disk(tmp_path / "empty.spacy")
    with pytest.raises(ValueError, match="T084"):
        report(folder / "run", tmp_path / "out.html", data=[tmp_path / "empty.spacy"])
    assert not (tmp_path / "out.html").exists()
