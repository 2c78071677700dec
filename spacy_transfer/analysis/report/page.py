"""The page: facts and charts put into the template, everything escaped."""

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import require
from ...files import sha256_of_data
from ...json_types import JsonObject
from ...text_output import printable, printable_lines
from .charts import (
    Chart,
    curve_chart,
    depth_charts,
    precision_recall_chart,
    reliability_chart,
    threshold_chart,
    training_charts,
)  # fmt: skip
from .data_facts import LONGEST_TEXT

_TEMPLATES = Path(__file__).parent / "templates"
# What every page says of itself, so that it may be replaced by a newer one.
GENERATOR = "spacy-transfer report"
# Errors that stand in the page itself, for print and where scripts are off.
_N_PRINTED = 10
# Long, and not of the data.
_WHOLE = ("config", "networks")


def render(facts: JsonObject) -> str:
    """Make the page.

    facts (dict): As `report` collects them.
    RETURNS (str): HTML, complete in itself.
    RAISES (ImportError): T081 without Jinja or matplotlib.
    """
    jinja = require("jinja2", "report")
    markup = require("markupsafe", "report").Markup
    shown = _for_people(facts)
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(percent=_percent, span=_span, number=_number, percents=_percents)
    script, style = ((_TEMPLATES / name).read_text("utf-8") for name in ("page.js", "page.css"))
    charts = _charts(facts)
    return str(environment.get_template("page.html.jinja").render(
        **shown,
        charts={name: [{"title": printable(one.title), "svg": markup(one.svg)} for one in some]
                for name, some in charts.items()},
        script=markup(script),
        # Nothing but this very script runs, whatever a text says.
        script_hash=base64.b64encode(bytes.fromhex(sha256_of_data(script.encode("utf-8")))).decode("ascii"),
        style=markup(style),
        generator=GENERATOR,
        n_printed=_N_PRINTED,
        components=[_for_script(one) for test in shown["tests"] for one in test["components"]],
    ))  # fmt: skip


def _charts(facts: JsonObject) -> dict[str, list[Chart]]:
    found = {
        "training": training_charts(facts["training"]["curves"]) if facts["training"] else [],
        "search": depth_charts(facts["search"]),
        "curve": [curve_chart(facts["curve"])] if facts["curve"] and not facts["curve"]["error"] else [],
    }
    for i, test in enumerate(facts["tests"]):
        for j, one in enumerate(test["components"]):
            exclusive, key = one["exclusive"], f"t{i}-c{j}"
            found[f"{key}-scores"] = [
                *([reliability_chart(f"{key}-reliability", one["calibration"], exclusive=exclusive)]
                  if one["calibration"]["bins"] else []),
                *([threshold_chart(f"{key}-threshold", one["thresholds"], exclusive=exclusive)]
                  if len(one["thresholds"]) > 1 else []),
                *([precision_recall_chart(f"{key}-curve", one["precision_recall"])]
                  if one["precision_recall"]["micro"]["recall"] else []),
            ]  # fmt: skip
    return found


def _for_script(component: JsonObject) -> JsonObject:
    """What the script needs of a component."""
    return {
        "texts": component["texts"], "thresholds": component["thresholds"], "exclusive": component["exclusive"],
        "n_errors": component["n_errors"],
    }  # fmt: skip


def _for_people(value: Any, longest: float = LONGEST_TEXT) -> Any:
    """The same with all text as it can be shown: cut, control characters as escapes, no secrets."""
    if isinstance(value, Mapping):
        return {
            _for_people(key): _for_people(part, math.inf if key in _WHOLE else longest) for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_for_people(part, longest) for part in value]
    if not isinstance(value, str):
        return value
    return printable_lines(value if len(value) <= longest else f"{value[: int(longest)]} ...")


def _percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _percents(value: float | None) -> str:
    """A position within a bar, for CSS."""
    return "0%" if value is None else f"{100 * min(1.0, max(0.0, value)):.2f}%"


def _span(interval: JsonObject | None, digits: int = 1) -> str:
    if interval is None or interval["low"] is None:
        return ""
    low, high = (100 * interval[end] for end in ("low", "high"))
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _number(value: float | None, form: str = ",") -> str:
    return "" if value is None else format(value, form)
