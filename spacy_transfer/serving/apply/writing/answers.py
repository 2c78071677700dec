"""From scores to the columns that are written."""

import json
from collections.abc import Sequence

import numpy as np

from ....pipeline.interface import Floats
from ..options import Options
from ..scoring import Component, Spans

# Of a score: beyond it nothing of a network in single precision says anything.
_DIGITS = 6
Answer = dict[str, object]


class Answers:
    """Makes the new columns.

    components (Sequence[Component]): Whose scores there are; more than one write columns with their names.
    options (Options): Which scores are wanted.
    is_table (bool): Whether each column holds one value, or may hold an object.
    """

    def __init__(self, components: Sequence[Component], options: Options, *, is_table: bool) -> None:
        self._components, self._options, self._is_table = components, options, is_table
        self._prefixes = [
            f"{options.prefix}{one.name}_" if len(components) > 1 else options.prefix for one in components
        ]

    @property
    def columns(self) -> list[str]:
        """Names of the new columns."""
        found: list[str] = []
        for component, prefix in zip(self._components, self._prefixes, strict=True):
            if component.has_spans:
                found.append(f"{prefix}spans")
            if not component.scores_documents:
                continue
            found += [f"{prefix}label", f"{prefix}score"]
            if self._options.all_scores and self._is_table:
                found += [f"{prefix}score_{label}" for label in component.labels]
            elif self._options.all_scores or self._options.above is not None or self._options.top is not None:
                found.append(f"{prefix}scores")
        return found

    def make(self, scores: Floats, spans: Sequence[Sequence[Spans]] = ()) -> list[Answer]:
        """Make the new cells of some rows.

        scores (Floats): Of all components side by side, (n_rows, n_labels).
        spans (Sequence): Of each row, by component, its sentences or spans; none where no component has any.
        RETURNS (list[Answer]): One for each row, with all columns.
        """
        answers: list[Answer] = [{} for _ in range(len(scores))]
        begin = 0
        for place, (component, prefix) in enumerate(zip(self._components, self._prefixes, strict=True)):
            if component.has_spans:
                for answer, of_row in zip(answers, spans, strict=False):
                    listed = self._spans(component.labels, of_row[place])
                    answer[f"{prefix}spans"] = json.dumps(listed, ensure_ascii=False) if self._is_table else listed
            if not component.scores_documents:
                begin += len(component.labels)
                continue
            part = scores[:, begin : begin + len(component.labels)]
            begin += len(component.labels)
            best = part.argmax(axis=1).tolist()
            for answer, row, chosen in zip(answers, part.astype(np.float64).round(_DIGITS).tolist(), best, strict=True):
                self._fill(answer, component.labels, row, chosen, prefix, is_table=self._is_table)
        return answers

    def _spans(self, labels: Sequence[str], spans: Spans) -> list[Answer]:
        """Each sentence or span with the same cells as a document."""
        found: list[Answer] = []
        for start, end, text, scores in spans:
            row = np.asarray(scores, dtype=np.float64).round(_DIGITS).tolist()
            found.append({"start": start, "end": end, "text": text})
            self._fill(found[-1], labels, row, int(np.argmax(scores)), "", is_table=False)
        return found

    def _fill(
        self, answer: Answer, labels: Sequence[str], row: list[float], best: int, prefix: str, *, is_table: bool
    ) -> None:
        options = self._options
        is_sure = options.min_score is None or row[best] >= options.min_score
        answer[f"{prefix}label"] = labels[best] if is_sure else options.abstain
        answer[f"{prefix}score"] = row[best]
        if options.all_scores and is_table:
            answer.update((f"{prefix}score_{label}", score) for label, score in zip(labels, row, strict=True))
            return
        if options.all_scores:
            answer[f"{prefix}scores"] = dict(zip(labels, row, strict=True))
        elif options.above is not None or options.top is not None:
            ranked = sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1])[: options.top]
            wanted = {label: score for label, score in ranked if options.above is None or score >= options.above}
            answer[f"{prefix}scores"] = json.dumps(wanted, ensure_ascii=False) if is_table else wanted
