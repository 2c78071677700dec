"""Attributes and encoders of pictures and sounds."""

from pathlib import Path

import pytest
from spacy.tokens import Doc

from house_kit.media import write_vision


@pytest.fixture(autouse=True)
def attributes() -> None:
    for name in ("image", "audio"):
        Doc.set_extension(name, default=None, force=True)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random ViT."""
    return write_vision(tmp_path_factory.mktemp("vit"))
