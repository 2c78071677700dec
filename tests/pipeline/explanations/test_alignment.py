"""Characters of a cleaned text, and the words that they were."""

import pytest

from spacy_transfer.model.text.normalization import Normalization
from spacy_transfer.pipeline.explanations.alignment import places_in


@pytest.mark.parametrize(
    ("original", "options", "word"),
    [
        ("A  Fine   day", {"whitespace": True}, "day"),
        ("<p>A fine <b>day</b></p> again", {"html": True}, "day"),
        ("AT LAST a Day", {"lower": True}, "Day"),
        ("see https://example.org/x?y=1 and a day", {"urls": "http"}, "day"),
        ("ﬁne ½ Ａ day", {"unicode": "NFKC"}, "day"),
        ("one day", {}, "day"),
    ],
)
def test_a_word_stays_where_it_was(original: str, options: dict[str, bool], word: str) -> None:
    (cleaned,) = Normalization(**options).apply([original])
    places = places_in(original, cleaned)
    assert len(places) == len(cleaned)
    assert places == sorted(places)
    begin = cleaned.lower().index(word.lower())
    assert original[places[begin] : places[begin] + len(word)] == word


def test_nothing_and_something_else_altogether() -> None:
    assert places_in("", "") == []
    assert places_in("abc", "") == []
    assert places_in("", "mask") == [0] * 4
    assert max(places_in("ab", "entirely other words")) <= 1
