"""Findings about label names: several spellings of one label, missing values, labels that were never split."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from ...text_output import printable
from ..excerpt import excerpt
from ..tables.rows import looks_like_list
from .findings import Finding, finding

# Letters of Greek and Cyrillic that look like Latin ones, each with its capital.
_ALIKE = {
    "а": "a", "в": "b", "е": "e", "ѕ": "s", "і": "i", "ј": "j", "к": "k", "м": "m", "н": "h", "о": "o", "р": "p",
    "с": "c", "т": "t", "у": "y", "х": "x", "ԁ": "d", "ԛ": "q", "ԝ": "w", "α": "a", "β": "b", "ε": "e", "ζ": "z",
    "η": "h", "ι": "i", "κ": "k", "μ": "m", "ν": "v", "ο": "o", "ρ": "p", "τ": "t", "υ": "y", "χ": "x", "ı": "i",
}  # fmt: skip
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad_"), "-")
_QUOTES = dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u00b4`"), "'")
_BLANKS = re.compile(r"[\s-]+")
_MISSING = {
    "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "nil", "undefined", "missing", "-", "--", "?", ".",
    "#ref!", "#value!", "#name?", "#div/0!", "(null)", "(blank)", "[null]", "\\n",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][+-]?\d+)?%?")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?:[ T].*)?|\d{1,2}:\d{2}(?::\d{2})?"
    r"|\d{1,2}\.? ?\w{3,9}\.?,? \d{4}|\w{3,9}\.? \d{1,2}, \d{4}"
)
_SEPARATORS = ("|", ";", ",", "/", "\n", "\t", " + ", " & ", "#")
# From how many texts and labels on a column is judged as a whole.
_LEAST_TEXTS = 50
_LEAST_LABELS = 10
# Characters; a label that long is a text, and one of marks alone would take quadratic time.
_LONGEST_FOLDED = 500
MANY_LABELS = 2000  # labels above which a label of one text each is no label


def fold_label(label: str) -> str:
    """Fold a label, so that labels that look alike become one.

    label (str): A label.
    RETURNS (str): Without case, Unicode form, invisible characters, kinds of blanks, dashes and quotes, full stops at
        the end, and with Latin letters for those of Greek and Cyrillic that look like them.
    """
    if len(label) > _LONGEST_FOLDED:
        return label
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    text = text.translate(_DASHES).translate(_QUOTES)
    text = "".join(
        character for character in text if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf")
    )
    text = "".join(_ALIKE.get(character, character) for character in text)
    folded = _BLANKS.sub(" ", text).strip().rstrip(".,;:! ")
    # A label of nothing but such characters stays what it is.
    return folded or label


def find_look_alikes(counts: Mapping[str, int]) -> list[list[str]]:
    """Group labels that look alike.

    counts (Mapping[str, int]): Texts of each label.
    RETURNS (list[list[str]]): Groups of two and more, the label with most texts first.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[fold_label(label)].append(label)
    alike = [sorted(group, key=lambda label: (-counts[label], label)) for group in groups.values() if len(group) > 1]
    return sorted(alike)


def find_label_names(counts: Mapping[str, int], n_texts: int) -> Iterator[Finding]:
    """Find what is odd about the names of labels; linear in their number.

    counts (Mapping[str, int]): Texts of each label.
    n_texts (int): All texts.
    YIELDS (Finding): "look-alike-labels", "invisible-in-label", "missing-like-labels", "list-labels", "unsplit-labels",
        "number-labels", "date-labels", "unique-labels".
    """
    labels = sorted(counts)
    alike = find_look_alikes(counts)
    if alike:
        shown = [", ".join(_shown(label, counts) for label in group[:5]) for group in alike]
        yield finding("look-alike-labels", shown, n=len(alike))
    unseen = [label for label in labels if not label.isprintable() and printable(label) != label]
    if unseen:
        yield finding("invisible-in-label", [repr(printable(label)) for label in unseen], n=len(unseen))
    missing = [label for label in labels if label.casefold() in _MISSING]
    if missing:
        yield finding("missing-like-labels", [_shown(label, counts) for label in missing], n=len(missing))
    lists = [label for label in labels if looks_like_list(label)]
    if lists:
        yield finding("list-labels", [_shown(label, counts) for label in lists], n=len(lists))
    for separator, joined in find_unsplit(labels):
        shown = [_shown(label, counts) for label in joined]
        yield finding(
            "unsplit-labels", shown, n=len(joined), share=len(joined) / len(labels), label=printable(separator)
        )
    if len(labels) > 1 and all(_NUMBER.fullmatch(label) for label in labels):
        yield finding("number-labels", labels, n=len(labels))
    dates = [label for label in labels if _is_date(label)]
    if dates:
        yield finding("date-labels", dates, n=len(dates), share=len(dates) / len(labels))
    single = [label for label in labels if counts[label] == 1]
    if n_texts >= _LEAST_TEXTS and len(single) > n_texts / 2:
        yield finding("unique-labels", single, n=len(single), share=len(single) / n_texts)


def why_no_labels(counts: Mapping[str, int], n_texts: int) -> str | None:
    """Say why a column is plainly not one of labels.

    counts (Mapping[str, int]): Texts of each value.
    n_texts (int): All texts.
    RETURNS (str | None): The reason: dates, measures, or a value of its own for nearly every text; None if it may be.
    """
    n_labels = len(counts)
    n_single = sum(1 for count in counts.values() if count == 1)
    if n_texts >= _LEAST_TEXTS and n_single >= 0.9 * n_texts:
        return f"{n_single:,} of {n_texts:,} texts have a label that no other text has"
    if n_labels >= MANY_LABELS and n_labels > n_texts / 2:
        return f"there are {n_labels:,} labels for {n_texts:,} texts"
    if n_labels < _LEAST_LABELS:
        return None
    n_dates = sum(1 for label in counts if _is_date(label))
    if n_dates >= 0.8 * n_labels:
        return f"{n_dates:,} of {n_labels:,} labels are dates or times"
    n_measures = sum(1 for label in counts if _NUMBER.fullmatch(label) and not label.lstrip("+-").isdigit())
    if n_measures >= 0.8 * n_labels:
        return f"{n_measures:,} of {n_labels:,} labels are decimal numbers"
    return None


def _is_date(label: str) -> bool:
    return any(character.isdigit() for character in label) and _DATE.fullmatch(label) is not None


def find_unsplit(labels: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Find separators by which labels fall into parts that are labels elsewhere.

    labels (list[str]): All labels.
    YIELDS (tuple[str, list[str]]): A separator, and the labels that hold it.
    """
    for separator in _SEPARATORS:
        joined = [label for label in labels if separator in label.strip(separator)]
        if len(joined) < 2:
            continue
        parts = Counter(part.strip() for label in labels for part in label.split(separator) if part.strip())
        # "Food, drink" and "Home, garden" share no part; lists of labels do.
        inside = {part.strip() for label in joined for part in label.split(separator) if part.strip()}
        if 2 * sum(1 for part in inside if parts[part] > 1) >= len(inside):
            yield separator, joined


def _shown(label: str, counts: Mapping[str, int]) -> str:
    return f"{excerpt(label)} ({counts[label]:,})"
