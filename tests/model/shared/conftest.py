"""A trained pipeline with a shared encoder."""

from pathlib import Path

import pytest
from spacy.language import Language

from house_kit.shared import (
    shared_pipeline,
    train,
)


@pytest.fixture(scope="module")
def trained(quiet_bert: Path) -> Language:
    """transformer and classifier after some steps; tests leave it as it is."""
    return train(shared_pipeline(quiet_bert))
