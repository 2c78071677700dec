"""Charts as SVG within the page: text stays text, colors are those of the page, and each has a description."""

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...errors import require
from ...json_types import JsonObject
from ...text_output import printable

# matplotlib's, which is optional.
Axes = Any
# Colors that no chart would have by chance stand for those of the page, light or dark.
_INK, _LINE, _CARD = "#010101", "#020202", "#040404"
_SERIES = ("#030301", "#030302", "#030303", "#030304", "#030305")
_VARIABLES = {
    _INK: "currentColor", _LINE: "var(--line)", _CARD: "var(--card)",
    **{color: f"var(--series-{i})" for i, color in enumerate(_SERIES, 1)},
}  # fmt: skip
# Told apart without color.
_STYLES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)))
_MARKERS = ("o", "s", "^", "D", "v")
# Points of a line that is drawn from a law.
_LAW_STEPS = 40
# Width and height in inches: on a phone it is a column, on a screen there are two.
_SIZE = (4.4, 2.9)
_SETTINGS = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": _LINE, "grid.linewidth": 0.6, "axes.axisbelow": True,
    # Over curves the legend can be read, and they can be seen.
    "legend.facecolor": _CARD, "legend.edgecolor": "none", "legend.framealpha": 0.8, "legend.fontsize": 9.5,
    "lines.linewidth": 1.8, "axes.titlesize": 10,
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A picture.

    title (str): What it shows.
    description (str): The same in words, for whoever cannot see it.
    svg (str): To be put into the page.
    """

    title: str
    description: str
    svg: str


def _draw(
    name: str, title: str, description: str, plot: Callable[[Axes], None], size: tuple[float, float] = _SIZE
) -> Chart:
    """Draw on axes.

    name (str): Of its own within the page: ids in the SVG begin with it.
    """
    matplotlib = require("matplotlib", "report")
    figure_module = require("matplotlib.figure", "report")
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # Of letters that its font lacks: the browser has them.
        warnings.simplefilter("ignore")
        figure = figure_module.Figure(figsize=size, layout="constrained")
        plot(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(title, description, _embedded(file.getvalue(), name, title, description))


def _embedded(svg: str, name: str, title: str, description: str) -> str:
    """An SVG file as a part of a page."""
    svg = svg[svg.index("<svg") :]
    # A style of all elements would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    # Ids of a figure ("axes_1") are the same in all of them; those of clips and markers are salted.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'((?:xlink:)?href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    # The page has its own font; sizes stay.
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    head = re.compile(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', re.DOTALL)
    title_id, text_id = f"{name}-title", f"{name}-text"
    labels = f'<title id="{title_id}">{_escaped(title)}</title><desc id="{text_id}">{_escaped(description)}</desc>'
    return head.sub(
        lambda found: f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{found[1]}" role="img" '
        f'aria-labelledby="{title_id}" aria-describedby="{text_id}">{labels}',
        svg, count=1,
    )  # fmt: skip


def _escaped(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _safe(label: str, most: int = 24) -> str:
    """A label in a chart: no formula, no line break, not too long."""
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in label)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    # Names with "_" in front are left out of legends.
    return text.replace("$", r"\$").replace("_", " _", 1) if text.startswith("_") else text.replace("$", r"\$")


# ---- training ----------------------------------------------------------------------------------------------------


def training_charts(curves: JsonObject) -> list[Chart]:
    """Draw loss, score and rate over the steps, and what was frozen when where that changes.

    curves (dict): As the facts have them.
    RETURNS (list[Chart]): Those there is something to draw of.
    """
    charts = []
    steps, evaluations = curves["steps"], curves["evaluations"]
    changes = _changes(curves["frozen_depth"])
    if len(steps) > 1:
        charts.append(_draw(
            "loss", "Loss on the training texts",
            _course("The loss per text", next(iter(curves["loss"].values())), steps),
            lambda axes: _lines(axes, steps, curves["loss"], "step", "mean loss of a text", changes),
        ))  # fmt: skip
    if len(evaluations) > 1:
        at, scores = [one["step"] for one in evaluations], [one["score"] for one in evaluations]
        best = max(range(len(at)), key=lambda i: (scores[i], -at[i]))
        measure = _safe(str(curves["measure"] or "score"), 40)

        def score(axes: Axes) -> None:
            """Draw the score, and mark the best one."""
            _lines(axes, at, {measure: scores}, "step", f"{measure} on dev", changes, markers=True)
            axes.plot([at[best]], [scores[best]], "o", color=_SERIES[1], markersize=9, fillstyle="none", zorder=4)
            axes.annotate(f"best: {scores[best]:.3f}", (at[best], scores[best]), (0, -16), textcoords="offset points",
                          ha="center", fontsize=9.5)  # fmt: skip

        text = f"{_course(f'The {measure}', scores, at)} The best is {scores[best]:.3f}, at step {at[best]}."
        charts.append(_draw("dev-score", f"{measure} on the dev texts", text, score))
    if len(steps) > 1 and len(set(curves["learn_rate"])) > 1:
        charts.append(_draw(
            "rate", "Learning rate", _course("The rate", curves["learn_rate"], steps),
            lambda axes: _lines(axes, steps, {"rate": curves["learn_rate"]}, "step", "learning rate", changes),
        ))  # fmt: skip
    if changes:
        depths = {
            name: [float(depth) for _, depth in points] for name, points in curves["frozen_depth"].items()
        }  # fmt: skip
        where = [step for step, _ in next(iter(curves["frozen_depth"].values()))]

        def frozen(axes: Axes) -> None:
            """Draw the highest frozen depth as steps."""
            _lines(axes, where, depths, "step", "highest frozen depth", [], drawstyle="steps-post")
            axes.set_ylim(bottom=min(-1.2, *(min(values) for values in depths.values())))

        words = "; ".join(f"{text} from step {step} on" for step, text in changes)
        charts.append(_draw("frozen", "What was frozen when", f"Highest frozen depth: {words}.", frozen))
    return charts


def _changes(frozen: dict[str, list[list[int]]]) -> list[tuple[int, str]]:
    """Steps at which another depth was seen to be frozen."""
    found = []
    for points in frozen.values():
        for (_, before), (step, after) in pairwise(points):
            if before != after:
                found.append((step, f"{before} to {after}"))
    return found


def _course(what: str, values: Sequence[float], steps: Sequence[int]) -> str:
    return f"{what} goes from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step {steps[-1]}."


def _lines(
    axes: Axes, x: Sequence[float], curves: dict[str, list[float]], xlabel: str, ylabel: str,
    changes: Sequence[tuple[int, str]], *, markers: bool = False, drawstyle: str = "default",
) -> None:  # fmt: skip
    for i, (name, values) in enumerate(curves.items()):
        n = i % len(_SERIES)
        axes.plot(
            x[: len(values)], values, color=_SERIES[n], linestyle=_STYLES[n], label=_safe(name), drawstyle=drawstyle,
            marker=_MARKERS[n] if markers else None, markersize=3.5,
        )  # fmt: skip
    for step, _ in changes:
        axes.axvline(step, color=_INK, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if len(curves) > 1:
        axes.legend()


# ---- a test set --------------------------------------------------------------------------------------------------


def reliability_chart(name: str, calibration: JsonObject, *, exclusive: bool) -> Chart:
    """Draw how often scores are right.

    name (str): Of its own within the page.
    calibration (dict): Of a component.
    exclusive (bool): What a decision is.
    RETURNS (Chart): Bins with intervals, and how many decisions each has.
    """
    bins = calibration["bins"]

    def plot(axes: Axes) -> None:
        """Draw the diagonal, the bins, and their sizes as a row of bars at the bottom."""
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        most = max(one["n"] for one in bins)
        for one in bins:
            width = one["high"] - one["low"]
            axes.bar(one["low"] + width / 2, 0.16 * one["n"] / most, width * 0.9, color=_LINE, zorder=1)
            right = one["right"]
            axes.plot([one["score"]] * 2, [right["low"], right["high"]], color=_SERIES[0], linewidth=1.4)
            axes.plot([one["score"]], [right["value"]], "o", color=_SERIES[0], markersize=6)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.03), ylabel="share that is right")
        axes.set_xlabel("score (above the line: too low, below: too high)")

    what = "texts" if exclusive else "decisions"
    words = "; ".join(
        f"{one['low']:.1f} to {one['high']:.1f}: {100 * one['right']['value']:.0f} % of {one['n']} {what}"
        for one in bins
    )
    title = "Reliability: is a score the share that is right?"
    return _draw(name, title, f"Share that is right by score. {words}. On the diagonal, scores are exact.", plot)


def threshold_chart(name: str, rows: Sequence[JsonObject], *, exclusive: bool) -> Chart:
    """Draw what a threshold buys.

    name (str): Of its own within the page.
    rows (Sequence[dict]): Thresholds of a component, as the facts have them.
    exclusive (bool): Of each text one label, or precision and recall.
    """
    curves = (
        {"texts decided": [one["share"] for one in rows], "of them right": [one["right"]["value"] for one in rows]}
        if exclusive
        else {key: [math.nan if one[key] is None else one[key] for one in rows] for key in ("precision", "recall", "f")}
    )
    if not exclusive:
        curves["F"] = curves.pop("f")
    x = [one["threshold"] for one in rows]

    def plot(axes: Axes) -> None:
        """Draw the curves."""
        _lines(axes, x, curves, "lowest score that counts", "share", [])
        axes.set_ylim(-0.02, 1.02)

    title = "What a threshold buys"
    middle = rows[len(rows) // 2]
    words = (
        f"for example, from {middle['threshold']:.2f} on {100 * middle['share']:.0f} % of the texts are decided and "
        f"{100 * middle['right']['value']:.0f} % of them right"
        if exclusive
        else f"F is highest, {max(one['f'] for one in rows):.3f}, "
        f"at {max(rows, key=lambda one: one['f'])['threshold']:.2f}"
    )
    return _draw(name, title, f"{', '.join(curves)} by threshold; {words}.", plot)


def precision_recall_chart(name: str, curves: JsonObject) -> Chart:
    """Draw precision against recall.

    name (str): Of its own within the page.
    curves (dict): Of a component: all labels together, and its worst ones.
    """
    every = [{"label": "all labels together", **curves["micro"]}, *curves["worst"]]

    def plot(axes: Axes) -> None:
        """Draw the curves as steps."""
        for i, one in enumerate(every):
            n = i % len(_SERIES)
            name = one["label"] if i == 0 else _safe(one["label"])
            axes.plot(
                [0, *one["recall"]], [one["precision"][0], *one["precision"]], color=_SERIES[n], linestyle=_STYLES[n],
                drawstyle="steps-pre", label=f"{name}: {one['average_precision']:.3f}",
            )  # fmt: skip
        axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
        axes.legend(title="average precision", loc="lower left", title_fontsize=9.5)

    words = "; ".join(f"{one['label']}: average precision {one['average_precision']:.3f}" for one in every)
    title = "Precision and recall" + (", of the worst labels too" if len(every) > 1 else "")
    return _draw(name, title, words, plot)


# ---- a search ----------------------------------------------------------------------------------------------------


def depth_charts(search: JsonObject) -> list[Chart]:
    """Draw what freezing each depth bought.

    search (dict): Trials by depth.
    RETURNS (list[Chart]): Score and time by frozen depth; none where only one depth was tried.
    """
    depths = search.get("depths") or []
    if not depths:
        return []
    names = [str(one["depth"]) for one in depths]
    x = list(range(len(names)))
    measure = _safe(str(search["measure"] or "score"), 40)
    scores, deviations = [one["score"] for one in depths], [one["deviation"] or 0.0 for one in depths]
    seconds, memory = ([one[name] or 0.0 for one in depths] for name in ("seconds", "peak_memory"))

    def score(axes: Axes) -> None:
        """Draw means and standard deviations."""
        axes.errorbar(x, scores, yerr=deviations, fmt="o-", color=_SERIES[0], capsize=4, markersize=6)
        axes.set_xticks(x, names)
        axes.set(xlabel="frozen depth", ylabel=f"{measure} on dev")

    def bars(axes: Axes, values: Sequence[float], unit: str, what: str) -> None:
        """Draw what a run took as bars, with its number on top."""
        drawn = axes.bar(x, values, 0.6, color=_SERIES[1])
        axes.bar_label(drawn, [f"{one:,.0f} {unit}" for one in values], fontsize=9.5, padding=2)
        axes.set_xticks(x, names)
        axes.set(xlabel="frozen depth", ylabel=what)

    def time(axes: Axes) -> None:
        """Draw the time of a run."""
        bars(axes, seconds, "s", "seconds of a run")

    def peak(axes: Axes) -> None:
        """Draw the most memory that a run held."""
        bars(axes, memory, "MB", "most megabytes in a run")

    said = "; ".join(
        f"depth {name}: {score:.3f} in {time:.0f} seconds"
        for name, score, time in zip(names, scores, seconds, strict=True)
    )
    charts = [
        _draw("depth-score", "Score by frozen depth", f"{measure} on dev. {said}.", score),
        _draw("depth-time", "Time by frozen depth", f"Seconds of a training run. {said}.", time),
    ]
    if all(memory):
        held = "; ".join(f"depth {name}: {most:,.0f} MB" for name, most in zip(names, memory, strict=True))
        charts.append(_draw("depth-memory", "Memory by frozen depth", f"Most memory of a training run. {held}.", peak))
    return charts


# ---- more texts --------------------------------------------------------------------------------------------------


def curve_chart(found: JsonObject) -> Chart:
    """Draw the score by number of training texts, and what more of them would bring.

    found (dict): A learning curve.
    RETURNS (Chart): Measured scores, the law that was fitted, and the forecasts with their intervals.
    """
    points, law = found["points"], found["law"]
    forecasts = [found["now"], *found["forecasts"]]
    least, most = points[0]["n"], forecasts[-1]["n"]
    steps = [least * (most / least) ** (i / _LAW_STEPS) for i in range(_LAW_STEPS + 1)]

    def plot(axes: Axes) -> None:
        """Draw points, line and intervals over a logarithmic axis."""
        axes.plot(
            steps, [1 - law["floor"] - law["factor"] * n ** -law["exponent"] for n in steps], color=_SERIES[2],
            linestyle=_STYLES[1], label="power law",
        )  # fmt: skip
        for i, (rows, name) in enumerate(((points, "measured"), (forecasts[1:], "forecast"))):
            scores = [one["score"] for one in rows]
            below = [max(0.0, one["value"] - one["low"]) for one in scores]
            above = [max(0.0, one["high"] - one["value"]) for one in scores]
            axes.errorbar(
                [one["n"] for one in rows], [one["value"] for one in scores], yerr=[below, above],
                fmt=_MARKERS[i], color=_SERIES[i], capsize=3, markersize=4, label=name,
            )  # fmt: skip
        axes.set_xscale("log")
        marks = [points[0]["n"], points[len(points) // 2]["n"], *(one["n"] for one in forecasts)]
        axes.set_xticks(marks, [f"{n:,}" for n in marks])
        axes.minorticks_off()
        axes.set(xlabel="training texts", ylabel=found["measure"])
        axes.legend(loc="lower right")

    said = "; ".join(
        f"{one['n']:,} texts: {one['score']['value']:.3f}" for one in [points[0], points[-1], *forecasts[1:]]
    )
    return _draw("curve", "What more texts would bring", f"{found['measure']} by training texts. {said}.", plot)
