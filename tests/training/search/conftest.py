"""Corpus and config of the runs of a study."""

from pathlib import Path

import pytest
from thinc.api import Config

from house_kit.runs import config_of, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def config(bert: Path, corpus: Path) -> Config:
    return config_of(bert, corpus, "half frozen, streamed", steps=12)
