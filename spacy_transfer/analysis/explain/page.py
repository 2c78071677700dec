"""Explanations as files: a page in displaCy's style, JSON, or documents."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from spacy.tokens import DocBin

from ...errors import T376, T746, require
from ...files import new_file, refuse_others_file, refuse_same, write_text
from ...json_types import JsonObject
from ...pipeline.explanations.explanation import Explanation, Part
from ...text_output import printable, printable_lines
from .explain import Explained
from .lines import said_of

_TEMPLATES = Path(__file__).parent / "templates"
SUFFIXES = (".html", ".json", ".spacy")
# What every page says of itself, so that it may be replaced by a newer one.
_GENERATOR = "spacy-transfer explain"
# Bytes within which it says so.
_HEAD = 2000
# Share of the strongest value from which on a word carries its value.
_NAMED = 0.3
_N_WORDS = 12


def write_explanations(explained: Sequence[Explained], path: Path, inputs: Sequence[Path] = ()) -> None:
    """Write explanations.

    explained (Sequence[Explained]): As `explain` gives them.
    path (Path): .html is a page that needs nothing else, .json all numbers, .spacy the documents with the words as
        groups of spans. An older page or file of numbers is replaced.
    inputs (Sequence[Path]): What was read, which is not written over.
    RAISES (FileExistsError): T376 for another file that is there.
    RAISES (ImportError): T081 for a page without Jinja.
    RAISES (ValueError): T746 for another suffix, T373 for an input.
    """
    refuse_explanations(path, inputs)
    suffix = path.suffix.lower()
    if suffix == ".html":
        write_text(path, page_of(explained))
    elif suffix == ".json":
        write_text(path, json.dumps(facts_of(explained), ensure_ascii=False, indent=1))
    else:
        docs = DocBin(store_user_data=True)
        for one in explained:
            for explanation in one.explanations:
                explanation.write(one.doc)
            docs.add(one.doc)
        with new_file(path) as part:
            docs.to_disk(part)


def refuse_explanations(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write over anything but an older explanation, before time is spent.

    path (Path): The output.
    inputs (Sequence[Path]): What is read.
    RAISES (FileExistsError): T376 for another file.
    RAISES (ImportError): T081 for a page without Jinja.
    RAISES (ValueError): T746 for another suffix, T373 for an input.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(T746.format(path=path, suffixes=", ".join(SUFFIXES)))
    refuse_same([path], inputs)
    if suffix == ".html":
        require("jinja2", "report")
        head = path.read_bytes()[:_HEAD] if path.is_file() else b""
        if path.exists() and f'content="{_GENERATOR}'.encode() not in head:
            raise FileExistsError(T376.format(path=path, what="a page of explanations"))
    else:
        refuse_others_file(path, what="a file of explanations", keys=["made_by", "explained"])


def facts_of(explained: Sequence[Explained]) -> JsonObject:
    """Give explanations as an object of JSON.

    explained (Sequence[Explained]): As `explain` gives them.
    RETURNS (JsonObject): `explained` is a list with, for each text, `text`, `component`, `scores`, `explanations` and
        `similar`.
    """
    return {
        "made_by": f"spacy-transfer {version('spacy-transfer')}",
        "explained": [
            {
                "text": one.doc.text, "component": one.component, "scores": one.scores,
                "explanations": [explanation.to_json() for explanation in one.explanations],
                "similar": [vars(near) for near in one.similar],
            }
            for one in explained
        ],
    }  # fmt: skip


def page_of(explained: Sequence[Explained]) -> str:
    """Make a page of explanations.

    explained (Sequence[Explained]): As `explain` gives them.
    RETURNS (str): HTML, complete in itself.
    RAISES (ImportError): T081 without Jinja.
    """
    jinja = require("jinja2", "report")
    markup = require("markupsafe", "report").Markup
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = (_TEMPLATES / "page.css").read_text("utf-8")
    page = environment.get_template("page.html.jinja").render(
        texts=[_shown(one) for one in explained], style=markup(style), generator=_GENERATOR,
        made_by=f"spacy-transfer {version('spacy-transfer')}",
    )  # fmt: skip
    # Half a character, as an attribute may hold, cannot be written.
    return str(page).encode("utf-8", "backslashreplace").decode("utf-8")


def _shown(one: Explained) -> JsonObject:
    return {
        "component": printable(one.component),
        "scores": [(printable(label), score) for label, score in list(one.scores.items())[:5]],
        "explanations": [_shown_explanation(explanation) for explanation in one.explanations],
        "similar": [
            {"similarity": near.similarity, "labels": [printable(label) for label in near.labels],
             "text": printable(near.text)}
            for near in one.similar
        ],
    }  # fmt: skip


def _shown_explanation(one: Explanation) -> JsonObject:
    most, words, begin = _most(one.words), list[JsonObject](), 0
    for part in one.words:
        share = part.value / most
        words.append({
            "gap": printable_lines(one.text[begin : part.begin]), "text": printable(part.text), "value": part.value,
            "share": abs(share), "side": "for" if share > 0 else "against", "is_named": abs(share) >= _NAMED,
        })  # fmt: skip
        begin = part.end
    return {
        "label": printable(one.label), "score": one.score, "said": said_of(one), "words": words,
        "strongest": _bars(one.strongest(_N_WORDS)),
        "sentences": _bars(one.sentences) if len(one.sentences) > 1 else [], "windows": _bars(one.windows),
        "elsewhere": [(printable(source), value) for source, value in one.elsewhere.items()],
    }  # fmt: skip


def _bars(parts: Sequence[Part]) -> list[JsonObject]:
    most = _most(parts)
    return [
        {"text": printable(part.text), "value": part.value, "share": abs(part.value) / most,
         "side": "for" if part.value > 0 else "against"}
        for part in parts
    ]  # fmt: skip


def _most(parts: Sequence[Part]) -> float:
    return max((abs(part.value) for part in parts), default=0.0) or 1.0
