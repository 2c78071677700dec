"""Parts and folds: shares of each label, groups on one side."""

from collections import Counter

from spacy_transfer.projects.dividing import deal, divide


def test_each_label_gives_its_share_and_groups_stay_together() -> None:
    strata = ["many"] * 80 + ["few"] * 10 + ["rare"] * 4
    groups = [n // 2 * 2 for n in range(94)]
    parts = divide(strata, groups, {"dev": 0.2, "test": 0.1}, seed=3)
    assert Counter(zip(strata, parts, strict=True)) == {
        ("many", "dev"): 16, ("many", "test"): 8, ("many", "train"): 56, ("few", "dev"): 2, ("few", "train"): 8,
        ("rare", "train"): 4,
    }  # fmt: skip
    for group in set(groups):
        assert len({part for part, own in zip(parts, groups, strict=True) if own == group}) == 1
    assert parts == divide(strata, groups, {"dev": 0.2, "test": 0.1}, seed=3)
    assert parts != divide(strata, groups, {"dev": 0.2, "test": 0.1}, seed=4)


def test_five_texts_give_one_to_each_part_and_the_last_group_is_for_training() -> None:
    assert Counter(divide(["a"] * 5, range(5), {"dev": 0.1, "test": 0.1})) == {"train": 3, "dev": 1, "test": 1}
    assert Counter(divide(["a"] * 6, range(6), {"dev": 0.5, "test": 0.5})) == {"dev": 3, "test": 2, "train": 1}
    assert divide(["a"] * 9, [0] * 9, {"dev": 0.1}) == ["train"] * 9


def test_folds_are_even() -> None:
    strata, groups = ["a"] * 9 + ["b"] * 6, [0, 0, *range(2, 15)]
    folds = deal(strata, groups, 3)
    assert folds[0] == folds[1]
    assert set(Counter(folds).values()) <= {4, 5, 6}
    for label in "ab":
        assert {fold for fold, own in zip(folds, strata, strict=True) if own == label} == {0, 1, 2}
