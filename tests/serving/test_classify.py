"""Trying a trained pipeline on a few texts."""

import re
from pathlib import Path

import pytest
import spacy
from typer.testing import CliRunner

from house_kit.pipelines import pipeline
from house_kit.texts import LABELS
from spacy_transfer.cli import transfer_cli
from spacy_transfer.serving.classify import classify

TEXTS = ["my card is lost", "refund the money"]


@pytest.fixture
def trained(bert: Path, tmp_path: Path) -> Path:
    pipeline(bert).to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_scores_are_those_of_the_pipeline_best_first(trained: Path) -> None:
    nlp = spacy.load(trained)
    for text, labels in zip(TEXTS, classify(trained, TEXTS), strict=True):
        assert dict(labels) == pytest.approx(nlp(text).cats, abs=1e-5)
        assert [score for _, score in labels] == sorted((score for _, score in labels), reverse=True)
    assert [len(labels) for labels in classify(trained, TEXTS, top=2)] == [2, 2]


def test_the_command(trained: Path) -> None:
    done = CliRunner().invoke(transfer_cli, ["classify", str(trained), *TEXTS, "--top", "1"])
    assert done.exit_code == 0, done.output
    assert all(text in done.output for text in TEXTS)
    assert len(re.findall(rf"  [01]\.\d{{3}}  (?:{'|'.join(LABELS)})\n", done.output)) == 2
    assert f"spacy.load('{trained}')" in done.output.replace("\n", "")


def test_what_cannot_be_classified(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T510"):
        classify(trained, ["", " "])
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="T511"):
        classify(tmp_path / "blank", TEXTS)
