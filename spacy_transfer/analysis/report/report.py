"""Write a report on a run or a pipeline: one page, and its data as JSON."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from spacy.language import Language

from ...errors import T376, T644, T645, T646, require
from ...evaluation.evaluate import Judged, judge
from ...evaluation.summary import without_nan
from ...files import all_or_none, refuse_others_file, refuse_same
from ...json_types import JsonObject
from ...pipeline.components import classifiers_of, require_whole_documents
from ...pipeline.loading import load_pipeline
from .comparison_facts import comparison_facts
from .data_facts import data_facts
from .doubt_facts import curve_facts, doctor_facts
from .page import GENERATOR, render
from .place import Place, find_place
from .search_facts import search_facts
from .training_facts import training_facts, training_paths

_SUFFIXES = (".html", ".htm")
# Bytes within which a page names what made it.
_HEAD = 2000


def report(
    target: Path | str,
    output: Path = Path("report.html"),
    *,
    data: Sequence[Path] = (),
    compare: Sequence[Path | str] = (),
    component: str | None = None,
    batch_size: int = 256,
    doctor: bool = False,
    curve: bool = False,
) -> JsonObject:
    """Write a report on a run or a pipeline: one page that needs nothing else, and its data as JSON next to it.

    target (Path | str): The output folder of a run or a search, the folder of a pipeline, or an installed package.
    output (Path): The page, .html; the data get the same name with .json. Older ones are replaced.
    data (Sequence[Path]): Test data: .spacy files or folders of them.
    compare (Sequence[Path | str]): Other runs or pipelines, measured on the same data.
    component (str | None): The spacy-transfer classifier to report on; None takes all of them.
    batch_size (int): Documents a batch.
    doctor (bool): Also look for wrong labels in the training data, as `doctor` does.
    curve (bool): Also estimate what more training data would bring, as `curve` does.
    RETURNS (dict): The data.
    RAISES (FileNotFoundError): T440 for what is not there.
    RAISES (FileExistsError): T376 for a file that is no older report.
    RAISES (ImportError): T081 without the extra `report`.
    RAISES (ValueError): T643 for a folder with neither a pipeline nor a run, T644 for data of a run without a pipeline,
        T645 for a comparison without data, T646 for another suffix, T791 for a classifier of sentences or spans;
        what `evaluate` finds wrong with data.
    """
    require("jinja2", "report")
    require("matplotlib", "report")
    place, others = find_place(target), [find_place(one) for one in compare]
    refuse_report(output, place, [*data, *(Path(one) for one in compare)])
    if others and not data:
        raise ValueError(T645)
    for one in [place, *others] if data else ():
        if one.pipeline is None:
            raise ValueError(T644.format(path=one.name))
    nlp = None if place.pipeline is None else load_pipeline(place.pipeline)
    if nlp is not None:
        require_whole_documents(nlp)
    judged = [judge(nlp, path, component=component, batch_size=batch_size) for path in data] if nlp else []
    facts: JsonObject = {
        "made_by": f"spacy-transfer {version('spacy-transfer')}",
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "name": place.name,
        "pipeline": None if place.pipeline is None else str(place.pipeline),
        "run": None if place.run is None else str(place.run),
        "training": training_facts(place, nlp, list(data)),
        "search": search_facts(place.study),
        "tests": [data_facts(path, one, nlp) for path, one in zip(data, judged, strict=True)] if nlp else [],
        "comparisons": _comparisons(data, judged, others, batch_size),
        **_of_training_data(place, nlp, doctor=doctor, curve=curve),
    }  # fmt: skip
    clean = without_nan(facts)
    page = render(clean)
    text = json.dumps(clean, ensure_ascii=False, indent=1)
    with all_or_none(sync=False) as stage:
        stage(output).write_bytes(page.encode("utf-8", "backslashreplace"))
        stage(output.with_suffix(".json")).write_bytes(text.encode("utf-8", "backslashreplace"))
    return clean


def _of_training_data(place: Place, nlp: Language | None, *, doctor: bool, curve: bool) -> JsonObject:
    """What was asked for about the training data; empty where it was not."""
    paths = {} if nlp is None else training_paths(place, nlp.config)
    pipes = [] if nlp is None else list(classifiers_of(nlp).values())
    exclusive = pipes[0].exclusive if len(pipes) == 1 else None
    return {
        "doctor": doctor_facts(list(paths.values()), exclusive=exclusive) if doctor else {},
        "curve": curve_facts(paths.get("train"), paths.get("dev"), exclusive=exclusive) if curve else {},
    }


def _comparisons(
    data: Sequence[Path], judged: Sequence[Judged], others: Sequence[Place], batch_size: int
) -> list[JsonObject]:
    """What each other pipeline makes of the same data; one of them is in memory at a time."""
    results: list[tuple[str, list[Judged]]] = []
    for other in others:
        assert other.pipeline is not None
        nlp: Language = load_pipeline(other.pipeline)
        results.append((other.name, [judge(nlp, path, batch_size=batch_size) for path in data]))
    if not results:
        return []
    return [
        row
        for i, (path, first) in enumerate(zip(data, judged, strict=True))
        for row in comparison_facts(path.stem or str(path), first, [(name, found[i]) for name, found in results])
    ]


def refuse_report(output: Path, place: Place, inputs: Sequence[Path]) -> None:
    """Refuse to write over anything but an older report, before time is spent.

    output (Path): The page.
    place (Place): What is reported on.
    inputs (Sequence[Path]): What else is read.
    RAISES (ValueError): T646 for another suffix, T373 for an input.
    RAISES (FileExistsError): T376 for another file.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise ValueError(T646.format(path=output))
    facts = output.with_suffix(".json")
    # A report may lie in the folder of the run, but not within a pipeline.
    refuse_same([output, facts], [*inputs, *([Path(place.pipeline)] if place.pipeline is not None else [])])
    refuse_others_file(facts, what="the data of a report", keys=["made_by", "training", "tests", "comparisons"])
    if output.exists():
        head = output.read_bytes()[:_HEAD] if output.is_file() else b""
        if f'content="{GENERATOR}'.encode() not in head:
            raise FileExistsError(T376.format(path=output, what="a report"))
