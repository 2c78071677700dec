"""Changes that a reader overlooks: other letters, no spaces, emoji, other names, a remark."""

import unicodedata
from random import Random

import pytest

from spacy_transfer.corpora.noise.augmentation import Augmentation
from spacy_transfer.corpora.noise.disguises import NAMES, disguised, remarked, renamed
from spacy_transfer.corpora.noise.words import Words

NOTHING = {
    "clean": 0.0, "drop": 0.0, "swap": 0.0, "repeat": 0.0, "mask": 0.0, "typing": 0.0, "casing": 0.0, "mixing": 0.0,
}  # fmt: skip
TEXTS = [f"My card number {i} was lost in the mail, please send another one" for i in range(200)]


def draw(texts: list[str], **rates: float) -> list[str]:
    """With nothing but these."""
    return Augmentation(**{**NOTHING, **rates}).draw(texts, None, 0)


def test_spaces_are_left_out_and_nothing_else() -> None:
    drawn = draw(TEXTS, joining=0.2)
    assert [text.replace(" ", "") for text in drawn] == [text.replace(" ", "") for text in TEXTS]
    n_spaces = sum(text.count(" ") for text in TEXTS)
    left_out = 1 - sum(text.count(" ") for text in drawn) / n_spaces
    assert 0.1 < left_out < 0.3
    assert draw(["one"], joining=1.0) == ["one"]
    assert draw(["a b\n\nc "], joining=1.0) == ["abc "]


def test_a_look_alike_is_one_other_letter() -> None:
    drawn = draw(TEXTS, lookalikes=0.3)
    n_words = n_changed = 0
    for old, new in zip(TEXTS, drawn, strict=True):
        for word, other in zip(old.split(), new.split(), strict=True):
            n_words += 1
            if word != other:
                n_changed += 1
                assert len(word) == len(other)
                assert sum(a != b for a, b in zip(word, other, strict=True)) == 1
    assert 0.15 < n_changed / n_words < 0.4
    assert disguised("123", Random(0)) == "123"
    assert disguised("", Random(0)) == ""


def test_emoji_stand_between_words() -> None:
    drawn = draw(TEXTS, emoji=0.5)
    changed = [new for old, new in zip(TEXTS, drawn, strict=True) if old != new]
    assert 60 < len(changed) < 140
    for text in changed:
        (emoji,) = [word for word in text.split() if unicodedata.category(word[0]) == "So"]
        assert text.replace(f" {emoji}", "") in TEXTS


def test_what_was_there_before_is_drawn_as_before() -> None:
    """At rate 0 nothing is drawn for them, so older configs give older texts."""
    assert Augmentation(seed=3).draw(TEXTS[:20], None, 5) == Augmentation(
        seed=3, joining=0.0, lookalikes=0.0, emoji=0.0
    ).draw(TEXTS[:20], None, 5)


@pytest.mark.parametrize("form", [str, str.lower, str.upper])
def test_names_become_other_names_in_their_case(form: type) -> None:
    text = form("James met Priya's sister, and JAMES smiled. Jamestown stayed.")
    new = renamed(text, Random(1))
    assert new != text
    words, others = Words(text).words, Words(new).words
    assert len(words) == len(others)
    assert words[3:5] == others[3:5]
    assert words[-2:] == others[-2:]
    # The same one becomes the same one.
    assert others[0].casefold() == others[5].casefold()
    assert renamed("no name here", Random(1)) == "no name here"
    assert len({one.casefold() for one in NAMES}) == len(NAMES)


def test_a_remark_stands_before_or_after() -> None:
    found = {remarked("a text", Random(seed)).find("a text") == 0 for seed in range(20)}
    assert found == {True, False}
