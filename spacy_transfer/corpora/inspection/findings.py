"""The findings of a check: each has a stable code, a level and a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning", "info"]

N_EXAMPLES = 5

# Codes are stable, sentences may change. An error stops a project; a warning is worth a look; an info is good to know.
FINDINGS: dict[str, tuple[Level, str]] = {
    "bad-value": (
        "error",
        "{n} value(s) in {split} are not a number from 0 to 1, or belong to a label that is not a str",
    ),
    "empty-split": ("error", "{split} has no texts"),
    "no-labels": ("error", "no text has a label"),
    "few-labels": (
        "error",
        "the only label is '{label}': a classifier with exactly one label per text needs two or more",
    ),
    "several-positives": (
        "error",
        "{n} text(s) in {split} have several labels, but {share:.1%} have exactly one: if this is right, use "
        "--multilabel",
    ),
    "no-positive": (
        "error",
        "{n} text(s) in {split} have no label, but {share:.1%} have exactly one: if this is right, use --multilabel",
    ),
    "missing-from-train": ("error", "{n} label(s) have no text in {split} and cannot be learned"),
    "missing-from-split": ("warning", "{n} label(s) have no text in {split} and are not measured there"),
    "look-alike-labels": (
        "warning",
        "{n} label(s) have spellings that look alike: merge them with 'spacy transfer convert --merge-labels'",
    ),
    "invisible-in-label": ("warning", "{n} label(s) contain invisible characters"),
    "missing-like-labels": (
        "warning",
        "{n} label(s) look like a missing value: 'convert --missing-labels nan,None' treats such rows as bad lines",
    ),
    "list-labels": ("error", "{n} label(s) are lists that were read as one name: convert the texts again"),
    "unsplit-labels": (
        "warning",
        "{n} label(s) ({share:.0%}) contain '{label}', and their parts also occur in others: if they are several "
        "labels, convert with --labels-field FIELD --separator '{label}'",
    ),
    "number-labels": ("info", "all {n} labels are numbers: name them with 'spacy transfer convert --label-names'"),
    "date-labels": ("warning", "{n} label(s) ({share:.0%}) are dates or times: is this the label column?"),
    "unique-labels": (
        "warning",
        "{n} text(s) ({share:.0%}) have a label that no other text has: is this the label column?",
    ),
    "one-label": ("warning", "there is only one label: a classifier with exactly one label per text needs two or more"),
    "broken-cells": ("info", "{n} cell(s) in {split} contain line breaks"),
    "suspicious-cells": (
        "warning",
        "{n} cell(s) in {split} contain line breaks and the delimiter, as if an open quotation mark took in rows; "
        "if quotation marks are ordinary characters in this file: --quoting none",
    ),
    "compact-labels": (
        "info",
        "{n} labels: each text names only its own, which spacy-transfer components read as exactly one label per "
        "text; spaCy's own textcat needs all labels named",
    ),
    "absent-from-first": ("warning", "{n} label(s) have no text in {split} and cannot be learned from it"),
    "few-texts": ("warning", "{n} label(s) have fewer than {least} texts in {split}"),
    "incomplete-cats": (
        "warning",
        "{n} text(s) in {split} name only some labels, but exactly one label per text is expected",
    ),
    "missing-values": ("info", "{n} text(s) in {split} name only some labels: they are not trained on the others"),
    "unlabeled": ("warning", "{n} text(s) in {split} name no label at all"),
    "empty-text": ("warning", "{n} text(s) in {split} are empty or only whitespace"),
    "duplicate": ("warning", "{n} text(s) in {split} occur more than once"),
    "contradiction": ("warning", "{n} text(s) occur with different labels"),
    "overlap": ("warning", "{n} text(s) in {split} are also in {other}, so scores will be too high"),
    "long-texts": ("info", "{n} text(s) in {split} ({share:.1%}) are longer than the window of {window} pieces"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    code (str): Its stable name, one of FINDINGS.
    level (Level): "error", "warning" or "info".
    message (str): A sentence with the numbers.
    examples (list[str]): Up to N_EXAMPLES of the texts, values or labels.
    """

    code: str
    level: Level
    message: str
    examples: list[str] = field(default_factory=list)


def finding(code: str, examples: Sequence[str] = (), **values: object) -> Finding:
    """Make a finding of its code.

    code (str): One of FINDINGS.
    examples (Sequence[str]): What it was found in; the first N_EXAMPLES are kept.
    values (object): What its sentence needs.
    RETURNS (Finding): The finding.
    """
    level, sentence = FINDINGS[code]
    return Finding(code, level, sentence.format(**values), list(examples[:N_EXAMPLES]))
