"""Attributes for features."""

from collections.abc import Iterator

import pytest
from spacy.tokens import Doc


@pytest.fixture(autouse=True)
def extensions() -> Iterator[None]:
    Doc.set_extension("n_stars", default=None, force=True)
    Doc.set_extension("many", default=None, force=True)
    yield
    for name in ("n_stars", "many"):
        Doc.remove_extension(name)
