"""spaCy's own tests of its text classifiers, read from the installed package and run with our factories.

`nlp.add_pipe("textcat")` and `"textcat_multilabel"` give ours, on a tiny encoder, under the name that spaCy's would
have; a `model` that a test asks for is ours too. Whatever does not apply stands in `DIFFERENT`, with its reason.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import spacy.tests.pipeline.test_pipe_factories
import spacy.tests.pipeline.test_pipe_methods
import spacy.tests.pipeline.test_textcat
import spacy.tests.serialize.test_serialize_doc
import spacy.tests.test_language
import spacy.tests.training.test_readers
import spacy.tests.training.test_rehearse
from spacy.lang.en import English
from spacy.language import Language
from spacy.tests.test_language import nlp  # noqa: F401
from spacy.vocab import Vocab

from house_kit.pipelines import model_config

OURS = {"textcat": "transfer_textcat", "textcat_multilabel": "transfer_textcat_multilabel"}

# Tests of spacy/tests/pipeline/test_textcat.py that do not apply to this component.
DIFFERENT = {
    "test_issue4030": "an empty text gets real scores here: every label of every document is predicted",
    "test_issue6908": "its list in single quotes is a str, whose letters become spaCy's labels; it is refused here",
    "test_issue9904": "it repeats scores row by row but examples as a whole, so it holds only for scores that are all "
    "the same, as spaCy's are before training (test_conventions)",
    "test_no_resize": "of architectures that take no new labels; ours does (test_resize)",
    "test_textcat_loss": "of the value of spaCy's squared error on scores; losses here are blocks, on logits",
    "test_positive_class": "one class serves both factories, so a positive label of the multilabel one is T037, a "
    "ValueError, not the TypeError of an unknown argument (test_gold)",
}

# Tests of other files that use a text classifier.
ELSEWHERE: dict[ModuleType, tuple[str, ...]] = {
    spacy.tests.test_language: (
        "test_language_update", "test_language_evaluate", "test_evaluate_textcat_multilabel",
        "test_evaluate_multiple_textcat_final", "test_evaluate_multiple_textcat_separate",
    ),
    spacy.tests.training.test_rehearse: ("test_rehearse",),
    spacy.tests.training.test_readers: ("test_readers",),
    spacy.tests.serialize.test_serialize_doc: ("test_issue3289",),
    spacy.tests.pipeline.test_pipe_methods: (
        "test_pipe_base_class_add_label", "test_add_pipe_before_after", "test_pipe_label_data_exports_labels",
    ),
    spacy.tests.pipeline.test_pipe_factories: ("test_pipe_factory_meta_config_cleanup",),
}  # fmt: skip


def _once(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test without parameters that make no difference here: other models, other components."""

    def matters(names: list[str], values: Any) -> list[Any]:
        values = values if len(names) > 1 else [(value,) for value in values]
        kept: dict[str, Any] = {}
        for row in values:
            named = dict(zip(names, row, strict=True))
            if named.get("component", named.get("pipe", "textcat")) in OURS:
                key = repr([value for name, value in named.items() if name != "textcat_config"])
                kept.setdefault(key, row if len(names) > 1 else row[0])
        return list(kept.values())

    marks = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names = [name.strip() for name in mark.args[0].split(",")]
            mark = pytest.mark.parametrize(names if len(names) > 1 else names[0], matters(names, mark.args[1])).mark
        marks.append(mark)

    def run(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, __name__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    run.pytestmark = marks  # type: ignore[attr-defined]
    return run


for _name, _test in list(vars(spacy.tests.pipeline.test_textcat).items()):
    if _name.startswith("test_") and _name not in DIFFERENT:
        globals()[_name] = _once(_test)
for _module, _names in ELSEWHERE.items():
    for _name in _names:
        globals()[_name] = _once(getattr(_module, _name))


@pytest.fixture
def en_vocab() -> Vocab:
    """As spaCy's conftest has it; that needs a package more."""
    return English().vocab


@pytest.fixture(autouse=True)
def our_factories(quiet_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """spaCy's names of factories mean ours; rates are such that 50 steps of spaCy's default optimizer are enough."""
    theirs, create = Language.add_pipe, Language.create_pipe
    # Of another architecture there is no `tok2vec`.
    block = model_config(quiet_bert, tuning={"head_lr_factor": 30.0, "lr_decay": 0.9})

    def config_of(config: Any) -> dict[str, Any]:
        return {**{key: value for key, value in dict(config).items() if key != "model"}, "model": block}

    def add_pipe(self: Language, factory_name: str, name: str | None = None, **options: Any) -> Any:
        if factory_name in OURS and options.get("source") is None:
            name, factory_name = name or factory_name, OURS[factory_name]
            options["config"] = config_of(options.get("config", {}))
        return theirs(self, factory_name, name, **options)

    def create_pipe(self: Language, factory_name: str, name: str | None = None, **options: Any) -> Any:
        if factory_name in OURS:
            name, factory_name = name or factory_name, OURS[factory_name]
            options["config"] = config_of(options.get("config", {}))
        return create(self, factory_name, name, **options)

    monkeypatch.setattr(Language, "add_pipe", add_pipe)
    monkeypatch.setattr(Language, "create_pipe", create_pipe)


def test_the_list_of_differences_is_of_tests_that_there_are() -> None:
    names = {name for name in vars(spacy.tests.pipeline.test_textcat) if name.startswith("test_")}
    assert set(DIFFERENT) < names
    assert len(names) - len(DIFFERENT) >= 20
