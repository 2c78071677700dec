"""Exports of tiny networks, measured on few texts."""

import pytest


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is no matter here."""
    for name in ("_COMPARED", "_TIMED", "_CALIBRATED"):
        monkeypatch.setattr(f"spacy_transfer.serving.export.comparison.{name}", 12)
    monkeypatch.setattr("spacy_transfer.serving.export.comparison._TURNS", 1)
