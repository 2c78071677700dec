""""""

from collections.abc import Iterator

import pytest
from spacy.tokens.underscore import Underscore

from spacy_transfer import cli  # noqa: F401  (adds the command group)


@pytest.fixture(autouse=True)
def _extensions() -> Iterator[None]:
    """Attributes that a test registers are gone after it."""
    before = [dict(found) for found in Underscore.get_state()]
    yield
    for found, kept in zip(Underscore.get_state(), before, strict=True):
        found.clear()
        found.update(kept)
