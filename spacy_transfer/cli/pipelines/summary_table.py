"""What `evaluate` shows of a component: one screen, or all of it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from ...text_output import echo, msg

if TYPE_CHECKING:
    from ...evaluation.calibration import Worth
    from ...evaluation.measures import Interval
    from ...evaluation.summary import Confusion, Summary

Row = TypeVar("Row")

# Rows that fit one screen together.
_N_LABELS, _N_CONFUSIONS, _N_WORTH = 10, 5, 4
# Characters of a label.
_WIDEST = 40


def print_summary(summary: "Summary", *, show_all: bool) -> None:
    """Print what matters about the predictions of a component.

    summary (Summary): The numbers.
    show_all (bool): All labels, confusions and thresholds, with their intervals.
    """
    number = "exactly one per text" if summary.exclusive else "any number per text"
    echo(f"{summary.n_texts:,} texts, {len(summary.by_label):,} labels, {number}")
    _print_remarks(summary)
    _print_main(summary)
    _print_labels(summary, show_all=show_all)
    _print_confusions(summary.confusions, exclusive=summary.exclusive, show_all=show_all)
    _print_worth(summary, show_all=show_all)


def _print_remarks(summary: "Summary") -> None:
    if summary.unknown_labels:
        n, shown = len(summary.unknown_labels), _few(list(summary.unknown_labels))
        n_texts = sum(summary.unknown_labels.values())
        kept = "a text with one of them is an error" if summary.exclusive else "they are not counted"
        msg.warn(f"{n:,} labels in the data are unknown to the pipeline ({n_texts:,} texts): {shown}; {kept}")
    if summary.n_left_out:
        msg.warn(f"{summary.n_left_out:,} more texts have no annotation for these labels and are left out")
    if summary.unused_labels:
        n, shown = len(summary.unused_labels), _few(summary.unused_labels)
        echo(f"{n:,} labels have no text here: {shown}")


def _print_main(summary: "Summary") -> None:
    accuracy = "accuracy" if summary.exclusive else "accuracy (all labels of a text right)"
    rows = [(accuracy, summary.accuracy, "Wilson"), ("macro F", summary.macro_f, "bootstrap over texts")]
    if not summary.exclusive:
        rows = [*rows[1:], ("micro F", summary.micro_f, "bootstrap over texts"), rows[0]]
    msg.table(
        [(name, _percent(one.value), f"95 % interval {_range(one)}", method) for name, one, method in rows],
        aligns=("l", "r", "l", "l"),
    )  # fmt: skip


def _print_labels(summary: "Summary", *, show_all: bool) -> None:
    labels = summary.by_label
    shown = _cut(labels, _N_LABELS, show_all=show_all)
    echo("Labels, lowest F first" + _left_out(len(labels) - len(shown)))
    rows = []
    for one in shown:
        measures = (one.precision, one.recall, one.f)
        cells = [f"{_percent(measure.value)} ({_range(measure)})" for measure in measures]
        if not show_all:
            cells = [_percent(one.precision.value), _percent(one.recall.value), _percent(one.f.value), _range(one.f)]
        rows.append([_short(one.label), f"{one.n_texts:,}", *cells])
    header = ["label", "texts", "precision", "recall", "F", *([] if show_all else ["95 % interval"])]
    msg.table(rows, header=header, divider=True, aligns=["l"] + ["r"] * (len(header) - 1))


def _print_confusions(confusions: "Sequence[Confusion]", *, exclusive: bool, show_all: bool) -> None:
    if not confusions:
        echo("No text is wrong.")
        return
    shown = _cut(confusions, _N_CONFUSIONS, show_all=show_all)
    echo("Most confused" + _left_out(len(confusions) - len(shown)))
    rows = [(_short(one.true) or _none(exclusive), _short(one.predicted) or "no label", f"{one.n:,}") for one in shown]
    msg.table(rows, header=("true", "predicted", "texts"), divider=True, aligns=("l", "l", "r"))


def _none(exclusive: bool) -> str:
    return "a label that is unknown to the pipeline" if exclusive else "no label"


def _print_worth(summary: "Summary", *, show_all: bool) -> None:
    what = "texts" if summary.exclusive else "labels given"
    echo("What a score is worth")
    for one in summary.scores_worth if show_all else _chosen(summary.scores_worth):
        interval = f" ({_range(one.right)})" if show_all else ""
        scores = f"{one.threshold:g} and above" if one.threshold else "any score"
        echo(f"  {scores}: {_percent(one.share)} of the {what}, "
             f"{_percent(one.right.value)} right{interval}")  # fmt: skip
    for wanted, least in summary.least_scores.items() if show_all else ():
        reached = f"from {least.threshold:.4f} on, {_percent(least.share)} of the {what}" if least else "at no score"
        echo(f"  {_percent(float(wanted))} right: {reached}")
    found = summary.calibration
    if not math.isnan(found.error):
        direction = "too high" if found.excess > 0 else "too low"
        echo(f"  calibration error {found.error:.3f}; on average scores are {abs(found.excess):.3f} {direction}")


def _chosen(rows: "Sequence[Worth]") -> "Sequence[Worth]":
    """The lowest threshold, which lets most through, and those with most to say above it."""
    return rows if len(rows) <= _N_WORTH else [*rows[: _N_WORTH - 1], rows[-1]]


def _cut(rows: Sequence[Row], most: int, *, show_all: bool) -> Sequence[Row]:
    # A single row more is as long as the words that it was cut.
    return rows if show_all or len(rows) <= most + 1 else rows[:most]


def _left_out(n: int) -> str:
    return f" ({n:,} more with --all)" if n else ""


def _few(labels: Sequence[str], most: int = 5) -> str:
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ", ".join(_short(label) for label in labels[:most]) + more


def _short(label: str) -> str:
    return label if len(label) <= _WIDEST else f"{label[: _WIDEST - 3]}..."


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.1f} %"


def _range(one: "Interval") -> str:
    return "" if math.isnan(one.low) else f"{100 * one.low:.1f} to {100 * one.high:.1f}"
