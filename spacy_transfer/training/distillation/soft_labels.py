"""Lets spaCy's own text categorizers learn scores between 0 and 1."""

from collections.abc import Callable, Iterable

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example

from ...pipeline.gold import read_gold


def accept_soft_labels() -> Callable[[Language], None]:
    """Make a callback for `[initialize] before_init`: `textcat` and `textcat_multilabel` take any score from 0 to 1 in
    `doc.cats`. Their loss is the squared distance between scores, for which whole labels are not needed; spaCy only
    checks for them. A saved pipeline does not need this function to be loaded.

    RETURNS (Callable): Changes the components of a pipeline in place.
    """
    return _accept


def _accept(nlp: Language) -> None:
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, TextCategorizer):
            pipe._validate_categories = _check(pipe, name)


def _check(pipe: TextCategorizer, name: str) -> Callable[[Iterable[Example]], None]:
    # A subclass of this one has labels of any number.
    exclusive = type(pipe) is TextCategorizer

    def check(examples: Iterable[Example]) -> None:
        """Check scores as those of a spacy-transfer component."""
        docs = [example.reference for example in examples]
        read_gold(docs, sorted({label for doc in docs for label in doc.cats}), exclusive=exclusive, name=name)

    return check
