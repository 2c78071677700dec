"""Three kinds of texts in few words, and examples of them."""

import string
from collections.abc import Sequence

from spacy.language import Language
from spacy.training import Example

WORDS = [
    "the", "a", "i", "my", "is", "not", "to", "of", "and", "how", "why", "when", "can", "you", "it", "we",
    "this", "that", "card", "bill", "order", "pay", "paid", "refund", "late", "broken", "login", "password",
    "screen", "price", "box", "arrived", "lost", "twice", "money", "please", "help", "thanks", "angry",
    "happy",
]  # fmt: skip
LETTERS = string.ascii_lowercase + string.digits + ".,!?'\"()[]<>/|-_"
CARD = [
    "my card is lost", "the card is broken", "why is my card late", "can you help, my card", "a card arrived twice",
    "card not arrived", "i lost the card", "how can my card arrive",
]  # fmt: skip
LOGIN = [
    "the login is broken", "my password is not it", "login please", "how to login", "lost my password",
    "password screen broken", "why can i not login", "the password and the login",
]  # fmt: skip
MONEY = [
    "refund the money", "i paid twice", "pay me my refund", "the bill and the price", "money is late",
    "price not paid", "why is the bill late", "we paid the bill",
]  # fmt: skip
TEXTS = [text for group in zip(CARD, LOGIN, MONEY, strict=True) for text in group]
LABELS = ["card", "login", "money"]


def one_hot(label: str, labels: Sequence[str] = LABELS) -> dict[str, float]:
    """Exclusive annotations."""
    return {other: float(other == label) for other in labels}


def examples_of(nlp: Language, texts: Sequence[str], cats: Sequence[dict[str, float]]) -> list[Example]:
    """Examples with their annotations."""
    return [Example.from_dict(nlp.make_doc(text), {"cats": c}) for text, c in zip(texts, cats, strict=True)]


def exclusive_examples(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The first n texts, with card, login, money in turn."""
    return examples_of(nlp, TEXTS[:n], [one_hot(LABELS[i % 3]) for i in range(n)])


def multilabel_examples(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The first n texts: the same labels, and 'late' beside them."""
    cats = [{**one_hot(LABELS[i % 3]), "late": float("late" in text)} for i, text in enumerate(TEXTS[:n])]
    return examples_of(nlp, TEXTS[:n], cats)
