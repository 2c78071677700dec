"""Texts that are nearly the same share a group; others do not."""

from spacy_transfer.corpora.inspection.near_duplicates import group_near_duplicates

TEXT = "the parcel that was sent on monday has not arrived at my house and nobody answers the telephone"
WORDS = TEXT.split()


def test_nearly_the_same_is_one_group() -> None:
    text = TEXT
    alike = [text, text.upper() + "!!", text.replace("monday", "mondays"), f"{text} today"]
    others = [" ".join(reversed(WORDS)), "an invoice came twice", "x", "y", "", " "]
    groups = group_near_duplicates([*alike, *others])
    assert groups[:4] == [0, 0, 0, 0]
    assert groups[4:8] == [4, 5, 6, 7]
    # Both are empty.
    assert groups[8] == groups[9]


def test_the_groups_do_not_depend_on_what_else_is_there() -> None:
    text = TEXT
    many = [f"{n * 7919} {' '.join(WORDS[n % 9 :: 2])} {n * 104729}" for n in range(200)]
    groups = group_near_duplicates([*many, text, f"{text}."])
    assert groups[-1] == groups[-2] == 200
    assert groups == group_near_duplicates([*many, text, f"{text}."])
