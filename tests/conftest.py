"""Fixtures, and what holds for every test; what tests import stands in `house_kit`."""

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests run side by side, so each keeps to one thread, and so do the processes that it starts. Nets this small are
# slower on several threads anyway, and far slower where something else runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What precision = "auto" is, whatever this machine is faster in; the suite runs with "bf16" here too.
os.environ.setdefault("SPACY_TRANSFER_PRECISION", "fp32")

import pytest
import torch
from spacy.tokens.underscore import Underscore

from house_kit.encoders import FAMILIES, write_encoder
from house_kit.quick import know_no_emoticons, one_blank, remember_entry_points, trust_the_power
from house_kit.runs import KINDS
from house_kit.slow import is_one_of_many

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
remember_entry_points()
trust_the_power()
know_no_emoticons()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fake-cuda", action="store_true", help="On a CUDA device that is not there")


def pytest_configure(config: pytest.Config) -> None:
    """With --fake-cuda there is a device from before any test is read until the process ends."""
    if config.getoption("--fake-cuda"):
        from house_kit import fake_cuda

        config.fake_cuda = fake_cuda.FakeCuda().__enter__()


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest) -> Any:
    """The device that is not there, to count on (`gpu.counting()`); for tests under --fake-cuda."""
    return request.config.fake_cuda


def pytest_itemcollected(item: pytest.Item) -> None:
    """Plain `pytest` tries a few of the families and of the ways to train; see `house_kit.slow`."""
    if is_one_of_many(item, FAMILIES, KINDS):
        item.add_marker("slow")


def pytest_collection_finish() -> None:
    """What was imported stays, so nobody need look through it for garbage: half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def conversions_share_a_blank_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes most of the time of converting a few rows; it holds nothing of them."""
    monkeypatch.setattr("spacy_transfer.corpora.convert.blank_language", one_blank)


@pytest.fixture(autouse=True)
def extensions_end_with_a_test() -> Iterator[None]:
    """What a test registers on Doc, Span and Token is not there for the next one."""
    tables = (Underscore.doc_extensions, Underscore.span_extensions, Underscore.token_extensions)
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny encoder of a family, written at the first call."""
    made: dict[str, Path] = {}
    own = tmp_path_factory.getbasetemp()
    # Of all processes of the run, whose folders stand in one.
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "encoders"

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = shared / family
            if not made[family].exists():
                written = write_encoder(tmp_path_factory.mktemp(family), family)
                shared.mkdir(exist_ok=True)
                # Where another process was first, its folder is as good: the weights are the same.
                with contextlib.suppress(OSError):
                    written.rename(made[family])
        return made[family]

    return folder


@pytest.fixture(scope="session")
def bert(encoder_folder: Callable[[str], Path]) -> Path:
    """Folder of the tiny BERT: three layers, width 16, 40 positions."""
    return encoder_folder("bert")


@pytest.fixture(scope="session")
def quiet_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT without dropout, where two ways of training are compared."""
    folder = tmp_path_factory.mktemp("quiet-bert")
    return write_encoder(folder, "bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
