"""How blocks are given to workers and come back, with a Ray that runs nothing but keeps its promises."""

import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

from house_kit.applied import numbered, write_texts
from house_kit.pipelines import add_classifier, pipeline
from house_kit.texts import exclusive_examples
from spacy_transfer import apply
from spacy_transfer.files import sha256_of_folder
from spacy_transfer.pipeline.loading import load_pipeline
from spacy_transfer.serving.apply.engines.ray_engine import _knock
from spacy_transfer.serving.apply.engines.shipping import ship_pipeline


class RayError(Exception):
    """Above all errors of Ray."""


class Lost(RayError):
    """A worker is gone for good."""


class TimedOut(RayError):
    """A promise is not kept in time."""


class TaskError(RayError):
    """What a worker raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"a traceback\n{cause}")
        self.cause = cause


class Promise:
    """Of a call."""

    def __init__(self, made: Any, method: str, given: Any) -> None:
        self.made, self.method, self.given = made, method, as_sent(given)


def as_sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class FakeRay:
    """Promises are kept in this process, the newest first. What is sent is pickled, as it would be.

    n_cores (int): Of the only machine. is_lost (Callable): Whether a call of a method loses its worker.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=TaskError, GetTimeoutError=TimedOut)

    def __init__(self, n_cores: int = 2, is_lost: Callable[[str], bool] = lambda method: False) -> None:
        self.n_cores, self.is_lost = n_cores, is_lost
        self.actors: list[Any] = []
        self.most_waiting = 0

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[Any]:
        return [{"Alive": True, "Resources": {"CPU": float(self.n_cores)}}]

    def put(self, value: Any) -> Any:
        return as_sent(value)

    def remote(self, kind: type) -> Any:
        def make(*args: Any, **options: Any) -> Any:
            made = kind(*as_sent(args), **options)
            actor = SimpleNamespace()
            for method in ("greet", "score"):
                promise = lambda *given, method=method: Promise(made, method, given)  # noqa: E731
                setattr(actor, method, SimpleNamespace(remote=promise))
            self.actors.append(actor)
            return actor

        return SimpleNamespace(options=lambda **needs: SimpleNamespace(remote=make))

    def wait(self, promises: list[Any]) -> tuple[list[Any], list[Any]]:
        self.most_waiting = max(self.most_waiting, len(promises))
        return promises[-1:], promises[:-1]

    def get(self, promise: Any, timeout: float | None = None) -> Any:
        if self.is_lost(promise.method):
            raise Lost("The actor died\nout of memory")
        try:
            return as_sent(getattr(promise.made, promise.method)(*promise.given))
        except Exception as error:
            raise TaskError(error) from error

    def kill(self, actor: Any) -> None:
        self.actors.remove(actor)


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


def with_ray(monkeypatch: pytest.MonkeyPatch, fake: FakeRay) -> FakeRay:
    monkeypatch.setattr("spacy_transfer.serving.apply.engines.ray_engine.require", lambda package, extra: fake)
    return fake


@pytest.mark.parametrize("kind", ["csv", "jsonl", "spacy"])
def test_blocks_come_in_order(kind: str, nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = with_ray(monkeypatch, FakeRay())
    texts = [*numbered(40), *numbered(9), *numbered(30)]
    sources = [write_texts(tmp_path / "in.csv", texts), write_texts(tmp_path / "in.spacy", texts[:20])]
    here = apply(nlp, sources, tmp_path / f"here.{kind}", look_ahead=7)
    there = apply(nlp, sources, tmp_path / f"there.{kind}", look_ahead=7, engine="ray", workers=3)
    assert (tmp_path / f"there.{kind}").read_bytes() == (tmp_path / f"here.{kind}").read_bytes()
    assert (there.n_docs, there.n_repeated) == (here.n_docs, here.n_repeated)
    assert fake.most_waiting > 2
    assert not fake.actors


def test_documents_and_columns_go_along(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that reads an attribute: a column of a table, or stored with a document."""
    with_ray(monkeypatch, FakeRay(n_cores=1))
    spacy.tokens.Doc.set_extension("title", default=None)
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    add_classifier(nlp, bert, text={"sources": ["_.title", "text"]})
    torch.manual_seed(0)
    examples = exclusive_examples(nlp, 12)
    for example in examples:
        example.reference._.title = example.predicted._.title = "my card"
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "pipeline")
    lines = "".join(f"the money {i},{'my card' if i % 2 else 'login'},{i}\n" for i in range(20))
    (tmp_path / "in.csv").write_text(f"text,title,n\n{lines}", "utf-8")
    apply(tmp_path / "pipeline", tmp_path / "in.csv", tmp_path / "docs.spacy", look_ahead=6)
    for name, source in (("of-table", "in.csv"), ("of-docs", "docs.spacy")):
        for kind in ("csv", "spacy"):
            given, options = tmp_path / source, {"look_ahead": 6}
            apply(tmp_path / "pipeline", given, tmp_path / f"{name}-here.{kind}", **options)
            apply(tmp_path / "pipeline", given, tmp_path / f"{name}-there.{kind}", engine="ray", **options)
            here, there = (tmp_path / f"{name}-{where}.{kind}" for where in ("here", "there"))
            assert there.read_bytes() == here.read_bytes()


PACKAGE = """
from spacy.util import load_model_from_init_py

def load(**overrides):
    return load_model_from_init_py(__file__, **overrides)
"""


def test_a_package_goes_as_its_files(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ray(monkeypatch, FakeRay(n_cores=1))
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "xx_tiny_cards"
    package.mkdir()
    nlp.to_disk(package / f"{nlp.meta['lang']}_{nlp.meta['name']}-{nlp.meta['version']}")
    (package / "__init__.py").write_text(PACKAGE, "utf-8")
    (package / "meta.json").write_text(json.dumps(nlp.meta), "utf-8")
    (tmp_path / "xx_tiny_cards-0.0.0.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: xx-tiny-cards\nVersion: 0.0.0\n"
    (tmp_path / "xx_tiny_cards-0.0.0.dist-info" / "METADATA").write_text(about, "utf-8")
    source = write_texts(tmp_path / "in.csv", numbered(20))
    apply("xx_tiny_cards", source, tmp_path / "here.csv", look_ahead=7)
    apply("xx_tiny_cards", source, tmp_path / "there.csv", look_ahead=7, engine="ray")
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    # Known again, so that either engine continues what the other began.
    assert ship_pipeline("xx_tiny_cards", None).digest == sha256_of_folder(load_pipeline("xx_tiny_cards").path)


def test_workers_that_cannot_do_it(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_texts(tmp_path / "in.csv", numbered(20)), tmp_path / "out.csv"

    def refused(fake: FakeRay, code: str, pipeline: Any = nlp, **options: Any) -> None:
        with monkeypatch.context() as patch:
            with_ray(patch, fake)
            with pytest.raises((RuntimeError, ValueError), match=code):
                apply(pipeline, source, out, look_ahead=4, engine="ray", **options)
        assert not fake.actors
        assert not out.exists()

    refused(FakeRay(n_cores=0), r"T603.*needs 1 CPU.*1 machines.*has 0")
    refused(FakeRay(is_lost=lambda method: method == "greet"), r"T602.*out of memory")
    refused(FakeRay(is_lost=lambda method: method == "score"), r"T604.*4 rows.*out of memory", force=True)
    refused(FakeRay(), r"T600.*already connected.*10\.9\.8\.7", address="10.9.8.7:6379")
    refused(FakeRay(), "T527", pipeline=spacy.blank("xx"))
    blank = spacy.blank("xx")
    blank.add_pipe("sentencizer")
    blank.to_disk(tmp_path / "broken")
    (tmp_path / "broken" / "config.cfg").write_text('[nlp]\nlang = "xx"\npipeline = ["no"]\n', "utf-8")
    refused(FakeRay(), r"T602.*--code", pipeline=tmp_path / "broken")
    with pytest.raises(ConnectionError, match=r"T601.*127\.0\.0\.1:9"):
        _knock("ray://127.0.0.1:9")
    with suppress(ConnectionError):
        _knock("auto")
    # What a run began with workers, one without continues.
    with monkeypatch.context() as patch:
        n_calls = [0]

        def seventh(method: str) -> bool:
            n_calls[0] += method == "score"
            return n_calls[0] == 7

        with_ray(patch, FakeRay(n_cores=1, is_lost=seventh))
        with pytest.raises(RuntimeError, match="T604"):
            apply(nlp, source, out, look_ahead=2, engine="ray")
    assert 0 < apply(nlp, source, out, look_ahead=2, resume=True).n_before < 20
    apply(nlp, source, tmp_path / "two.csv", look_ahead=2)
    assert out.read_bytes() == (tmp_path / "two.csv").read_bytes()
