"""The picture says what the network is."""

import re
from pathlib import Path
from typing import Any

import pytest
import spacy
from typer.testing import CliRunner

from house_kit.pipelines import network_of, pipeline
from house_kit.texts import LABELS
from spacy_transfer.cli import transfer_cli
from spacy_transfer.model.show import draw, show


def test_weights_of_the_parts_add_up(bert: Path) -> None:
    nlp = pipeline(bert, tuning={"frozen_depth": 1, "lr_decay": 0.5})
    picture = draw("transfer_textcat", nlp)
    total = sum(weight.numel() for weight in network_of(nlp).parameters())
    trainable = sum(weight.numel() for weight in network_of(nlp).parameters() if weight.requires_grad)
    assert f"{total:,} weights, {trainable:,} trainable" in picture
    parts = [int(found.replace(",", "")) for found in re.findall(r" ([\d,]+)   (?:frozen|trainable)", picture)]
    assert sum(parts) == total
    assert all(label in picture for label in LABELS)


@pytest.mark.parametrize(
    ("blocks", "shown", "hidden"),
    [
        ({"tuning": {"frozen_depth": 1}}, "no gradients above this line, its states are cached", "cache "),
        ({"tuning": {"frozen_depth": 1}, "cache": {"memory": 0}}, "no gradients above this line - -", "cached"),
        ({"tuning": {"frozen_depth": "all"}}, "frozen", "no gradients"),
        ({}, "MeanPooling", "frozen"),
        ({"head_init": {"@misc": "spacy-transfer.LinearProbe.v1"}}, "LinearProbe", "text "),
        ({"windows": {"length": 16, "stride": 12}}, "windows of 16", "head_init"),
        ({"text": {"normalization": {"lower": True}}}, "lower = True", "head_init"),
        ({"head": {"hidden": [5]}}, "Head (hidden = [5])", "head_init"),
    ],
)
def test_what_differs_from_the_defaults_is_shown(bert: Path, blocks: dict[str, Any], shown: str, hidden: str) -> None:
    picture = draw("transfer_textcat", pipeline(bert, **blocks))
    assert shown in picture
    assert hidden not in picture


def test_a_trained_pipeline_is_drawn_by_the_command(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    nlp.to_disk(tmp_path / "pipeline")
    found = CliRunner().invoke(transfer_cli, ["show", str(tmp_path / "pipeline")])
    assert found.exit_code == 0
    assert found.stdout.strip() == draw("transfer_textcat", nlp).strip()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="T440"):
        show(tmp_path / "nowhere")
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="T099"):
        show(tmp_path / "blank")
