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
