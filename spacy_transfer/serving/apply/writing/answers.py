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
            found += [f"{prefix}confidence"] if self._options.min_confidence is not None else []
            found += [f"{prefix}labels"] if self._options.labels else []
            if self._options.all_scores and self._is_table:
                found += [f"{prefix}score_{label}" for label in component.labels]
            elif self._options.all_scores or self._options.above is not None or self._options.top is not None:
                found.append(f"{prefix}scores")
        return found

    def make(self, scores: Floats, spans: Sequence[Sequence[Spans]] = ()) -> list[Answer]:
        """Make the new cells of some rows.

        scores (Floats): Of all components side by side, (n_rows, n_columns).
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
                begin += component.n_columns
                continue
            part = scores[:, begin : begin + len(component.labels)]
            begin += component.n_columns
            best = part.argmax(axis=1).tolist()
            rounded = part.astype(np.float64).round(_DIGITS).tolist()
            for answer, row, chosen in zip(answers, rounded, best, strict=True):
                self._fill(answer, component.labels, row, chosen, prefix, is_table=self._is_table)
            if self._options.min_confidence is not None:
                self._fill_confidence(answers, component, scores[:, begin - 1], prefix)
            if self._options.labels:
                # By the scores as they are: a threshold may lie within what rounding changes.
                self._fill_labels(answers, component, part, prefix)
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

    def _fill_confidence(self, answers: Sequence[Answer], component: Component, column: Floats, prefix: str) -> None:
        least = self._options.min_confidence
        if least == "auto":
            least = component.min_confidence
        for answer, value in zip(answers, column.astype(np.float64).tolist(), strict=True):
            # A component without one knows nothing of strangers.
            known = component.min_confidence is not None
            answer[f"{prefix}confidence"] = round(value, _DIGITS) if known else None
            if known and least is not None and value < least:
                answer[f"{prefix}label"] = self._options.abstain

    def _fill_labels(self, answers: Sequence[Answer], component: Component, scores: Floats, prefix: str) -> None:
        for answer, reached in zip(answers, component.reached(scores), strict=True):
            # The best of exclusive labels, unless the word for none is in its place.
            is_sure = not self._options.abstains or answer[f"{prefix}label"] != self._options.abstain
            labels = [component.labels[i] for i in np.flatnonzero(reached) if component.thresholds or is_sure]
            answer[f"{prefix}labels"] = json.dumps(labels, ensure_ascii=False) if self._is_table else labels
