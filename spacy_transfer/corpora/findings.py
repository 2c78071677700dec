"""What a check can find: each finding has a stable code, a level and a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning", "info"]

N_EXAMPLES = 5

# Codes are stable, sentences may change. An error stops a project; a warning is worth a look; an info is good to know.
FINDINGS: dict[str, tuple[Level, str]] = {
    "bad-value": ("error", "{n} value(s) in {split} are no number from 0 to 1, or belong to a label that is no str"),
    "empty-split": ("error", "{split} has no texts"),
    "no-labels": ("error", "no text has a label"),
    "few-labels": ("error", "there is only the label '{label}': a classifier for exactly one label needs two or more"),
    "several-positives": (
        "error",
        "{n} text(s) in {split} have several labels, where {share:.1%} have one: say so if it is --multilabel",
    ),
    "no-positive": (
        "error",
        "{n} text(s) in {split} have no label, where {share:.1%} have one: say so if it is --multilabel",
    ),
    "missing-from-train": ("error", "{n} label(s) have no text in {split}, so they cannot be learned"),
    "missing-from-split": ("warning", "{n} label(s) have no text in {split}, so they are not measured there"),
    "look-alike-labels": (
        "warning",
        "{n} label(s) are spelled in several ways that look alike: 'spacy transfer convert --merge-labels' merges them",
    ),
    "invisible-in-label": ("warning", "{n} label(s) hold characters that cannot be seen"),
    "missing-like-labels": (
        "warning",
        "{n} label(s) read like a missing value: --missing-labels nan,None makes such rows bad lines of 'convert'",
    ),
    "list-labels": ("error", "{n} label(s) are lists that were taken as one name: convert the texts again"),
    "unsplit-labels": (
        "warning",
        "{n} label(s) ({share:.0%}) hold '{label}', and their parts are found in others: if they are several labels, "
        "convert with --labels-field FIELD --separator '{label}'",
    ),
    "number-labels": ("info", "all {n} labels are numbers: --label-names of 'spacy transfer convert' names them"),
    "date-labels": ("warning", "{n} label(s) ({share:.0%}) are dates or times: is this the column of the labels?"),
    "unique-labels": (
        "warning",
        "{n} text(s) ({share:.0%}) have a label of their own: is this the column of the labels?",
    ),
    "one-label": ("warning", "there is only one label: a classifier for exactly one label needs two or more"),
    "broken-cells": ("info", "{n} cell(s) of {split} hold line breaks"),
    "suspicious-cells": (
        "warning",
        "{n} cell(s) of {split} hold line breaks and the delimiter, as rows do that an open quotation mark takes in; "
        "if quotation marks are letters in this file: --quoting none",
    ),
    "compact-labels": (
        "info",
        "{n} labels: each text names only the one that holds, which spacy-transfer's components read as exactly one "
        "label; spaCy's own textcat needs all of them named",
    ),
    "absent-from-first": ("warning", "{n} label(s) have no text in {split}, so they cannot be learned from it"),
    "few-texts": ("warning", "{n} label(s) have fewer than {least} texts in {split}"),
    "incomplete-cats": (
        "warning",
        "{n} text(s) in {split} name only some labels, where exactly one is expected to hold",
    ),
    "missing-values": ("info", "{n} text(s) in {split} name only some labels: the others are not trained on there"),
    "unlabelled": ("warning", "{n} text(s) in {split} name no label at all"),
    "empty-text": ("warning", "{n} text(s) in {split} are empty or white space"),
    "duplicate": ("warning", "{n} text(s) in {split} stand there more than once"),
    "contradiction": ("warning", "{n} text(s) have different labels in different places"),
    "overlap": ("warning", "{n} text(s) of {split} are in {other} too, so scores will flatter"),
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
