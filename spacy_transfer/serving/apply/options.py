"""What a user may choose when files are classified."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from ...corpora.excerpt import excerpt
from ...corpora.tables.table_format import TableFormat
from ...errors import T396, T520, T520_SCORES, T520_SPACY, T681
from ...json_types import JsonObject

OUTPUTS = ("csv", "tsv", "jsonl", "parquet", "spacy")
INPUTS = ("csv", "tsv", "jsonl", "json", "txt", "parquet", "spacy", "xlsx")


@dataclass(frozen=True)
class Options:
    """How files are read, and what is written of the scores.

    text_field (str | None): Column of the text. None: found by its name.
    input_format (str | None): Of sources whose names do not say it.
    layout (TableFormat): How tables are written, as far as that is not to be found out.
    all_scores (bool): Write the scores of all labels.
    above (float | None): Write the labels that have at least this score.
    top (int | None): Write so many labels, best first.
    labels (bool): Write the labels that reach their threshold, or the best one where labels are exclusive.
    min_score (float | None): A best label below this score is not written.
    min_confidence (float | "auto" | None): Where the confidence that a text has one of the labels is lower, no label is
        written; "auto" is what `spacy transfer calibrate` found. It is written too.
    abstain (str): What is written instead of a label.
    prefix (str): Put before the names of all new columns.
    look_ahead (int): Rows that are sorted by length together, and written together.
    RAISES (ValueError): T396 for a value that cannot be, T520 for two that exclude each other.
    """

    text_field: str | None = None
    input_format: str | None = None
    layout: TableFormat = field(default_factory=TableFormat)
    all_scores: bool = False
    above: float | None = None
    top: int | None = None
    labels: bool = False
    min_score: float | None = None
    min_confidence: float | Literal["auto"] | None = None
    abstain: str = "abstain"
    prefix: str = ""
    look_ahead: int = 4096

    def __post_init__(self) -> None:
        for option, share in (("--above", self.above), ("--min-score", self.min_score)):
            # NaN fails both comparisons.
            if share is not None and not (not math.isnan(share) and 0.0 <= share <= 1.0):
                raise ValueError(_impossible(option, share, "a number from 0 to 1"))
        least = self.min_confidence
        # NaN fails both comparisons.
        if least is not None and least != "auto" and not (isinstance(least, int | float) and 0.0 <= least <= 1.0):
            raise ValueError(T681.format(value=excerpt(least)))
        if self.top is not None and self.top < 1:
            raise ValueError(_impossible("--top", self.top, "a whole number from 1 on"))
        if self.look_ahead < 1:
            raise ValueError(_impossible("--look-ahead", self.look_ahead, "a whole number from 1 on"))
        if self.input_format is not None and self.input_format not in INPUTS:
            raise ValueError(_impossible("--input-format", self.input_format, ", ".join(INPUTS)))
        if sum([self.all_scores, self.above is not None, self.top is not None]) > 1:
            raise ValueError(T520.format(problem=T520_SCORES))

    @property
    def abstains(self) -> bool:
        """Whether the word for none may stand in the place of a label."""
        return self.min_score is not None or self.min_confidence is not None

    def refuse_for_docs(self) -> None:
        """Refuse what `.spacy` files have no place for: they hold the scores of all labels.

        RAISES (ValueError): T520.
        """
        chosen = (self.all_scores, self.above, self.top, self.labels, self.min_score, self.min_confidence, self.prefix)
        if any(value not in (None, False, "") for value in chosen):
            raise ValueError(T520.format(problem=T520_SPACY))

    def identity(self) -> JsonObject:
        """All of it, JSON-able: a run that goes on has the same."""
        found = asdict(self)
        found["layout"]["columns"] = list(self.layout.columns)
        return found


def _impossible(option: str, value: object, want: str) -> str:
    return T396.format(option=option, value=excerpt(value), want=want)


def check_output_format(name: str) -> str:
    """Check the name of an output format.

    name (str): As the user gives it.
    RETURNS (str): The same.
    RAISES (ValueError): T396.
    """
    if name not in OUTPUTS:
        raise ValueError(_impossible("--format", name, ", ".join(OUTPUTS)))
    return name


def check_labels(labels: Sequence[str], options: Options) -> None:
    """Compare the labels of a pipeline with the options.

    labels (Sequence[str]): Of all components.
    options (Options): As given.
    RAISES (ValueError): T396 where the word for no label is a label.
    """
    if options.abstains and options.abstain in labels:
        raise ValueError(_impossible("--abstain", options.abstain, "a word that is no label of the pipeline"))
