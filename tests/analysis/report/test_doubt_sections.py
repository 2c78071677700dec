"""What the doctor and the learning curve say about the training data is a section each, where it is asked for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin

from house_kit.reports import EVIL
from house_kit.runs import config_of, run, write_corpus
from spacy_transfer.analysis.curve import curve as curve_module
from spacy_transfer.analysis.doctor import doctor as doctor_module
from spacy_transfer.analysis.report.report import report
from spacy_transfer.docbins import read_docs

KIND = "unfreezing by steps, Adam"


def vectors(paths: Sequence[Path], **_: object) -> np.ndarray:
    """In place of an encoder: which letters a text has."""
    texts = [doc.text for path in paths for doc in read_docs(path, spacy.blank("xx").vocab)]
    return np.array([[text.count(letter) for letter in "abcdefghilmnoprstuwy"] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training data hold what a page could stumble over."""
    folder = tmp_path_factory.mktemp("doubts")
    run(config_of(bert, write_corpus(folder), KIND, 2), folder / "run")
    vocab = spacy.blank("xx").vocab
    docs = list(read_docs(folder / "train.spacy", vocab))
    docs = [*docs, *docs, *docs]
    nlp = spacy.blank("xx", vocab=vocab)
    odd = nlp.make_doc(f"{EVIL[0]} {'x' * 700}")
    odd.cats = dict(docs[0].cats)
    DocBin(docs=[*docs, odd]).to_disk(folder / "train.spacy")
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (curve_module, doctor_module):
            patch.setattr(module, "vectors_of_data", vectors)
        return report(folder / "run", folder / "report.html", doctor=True, curve=True)


def test_the_sections_are_there(folder: Path, facts: dict[str, Any]) -> None:
    html = (folder / "report.html").read_text("utf-8")
    assert 'href="#doctor"' in html
    assert 'href="#curve"' in html
    found = facts["doctor"]
    assert found["error"] == ""
    assert found["n_likely"] >= len(found["suspects"])
    assert all(len(one["text"]) <= 600 for one in [*found["suspects"], *found["outliers"]])
    assert len(facts["curve"]["points"]) == 10
    assert "What more texts would bring" in html
    assert json.loads((folder / "report.json").read_text("utf-8"))["curve"]["forecasts"]


def test_they_are_not_there_unasked_and_say_what_is_missing(folder: Path, tmp_path: Path) -> None:
    assert report(folder / "run", tmp_path / "a.html")["doctor"] == {}
    html = (tmp_path / "a.html").read_text("utf-8")
    assert 'href="#doctor"' not in html
    assert 'href="#curve"' not in html
    config = spacy.util.load_config(folder / "run/model-best/config.cfg")
    config["corpora"]["train"]["path"] = config["corpora"]["dev"]["path"] = "gone.spacy"
    config.to_disk(folder / "run/model-best/config.cfg")
    found = report(folder / "run", tmp_path / "a.html", doctor=True, curve=True)
    assert "not here any more" in found["doctor"]["error"]
    assert (tmp_path / "a.html").read_text("utf-8").count("not here any more") >= 2
