"""What was trained on what: from the pipeline's config, the run's files and the training data."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from spacy.language import Language

from ...corpora.inspection.check import check
from ...files.strangers import UnusableFile, parse_object
from ...json_types import ConfigMapping, JsonObject
from ...model.networks import networks_of
from ...model.show import draw
from ...pipeline.components import classifiers_of
from ...training.output.result import Result
from .place import LOG, RESULT, Place

# Points of a curve over the steps.
_MOST_POINTS = 300
# Keys of the block [training] that make a recipe, in this order.
_RECIPE = (
    "seed", "max_epochs", "max_steps", "n_epochs", "patience", "dropout", "accumulate_gradient", "eval_frequency",
    "batcher", "optimizer",
)  # fmt: skip
_MODEL = (
    "encoder", "tuning", "pooling", "head", "loss", "label_texts", "head_init", "windows", "text", "augmentation",
    "features",
)  # fmt: skip


def training_facts(place: Place, nlp: Language | None, data: list[Path]) -> JsonObject:
    """Collect what is known about the training.

    place (Place): Where things are.
    nlp (Language | None): The pipeline.
    data (list[Path]): Test data, to be compared with the training data.
    RETURNS (dict): Result, machine, recipe, networks, data; each empty where nothing is known.
    """
    config: ConfigMapping = {} if nlp is None else nlp.config
    result = _result(place.run)
    lines = list(log_lines(place.run))
    machine = result.get("machine") or next((one.get("machine") for one in lines if one.get("kind") == "run"), None)
    if not machine and nlp is not None:
        machine = nlp.meta.get("spacy_transfer")
    networks = {} if nlp is None else {name: draw(name, nlp) for name in networks_of(nlp)}
    return {
        "result": result,
        "machine": machine if isinstance(machine, dict) else {},
        "recipe": _recipe(config),
        "networks": networks,
        "config": "" if nlp is None else nlp.config.to_str(interpolate=False),
        "curves": _curves(lines),
        "has_log": place.run is not None and (place.run / LOG).is_file(),
        **_data(place, nlp, config, data),
    }


def _result(run: Path | None) -> JsonObject:
    """The result of a run; one that goes on, or was killed, has none."""
    if run is None or not (run / RESULT).is_file():
        return {}
    with suppress(UnusableFile):
        return asdict(Result.read(run))
    return {}


def log_lines(run: Path | None) -> Iterator[JsonObject]:
    """Read the log of a run; a last line that a kill has cut off is left out.

    run (Path | None): Its folder; None gives nothing.
    YIELDS (dict): One line.
    """
    if run is None or not (run / LOG).is_file():
        return
    with (run / LOG).open("rb") as file:
        for line in file:
            with suppress(UnusableFile):
                yield parse_object(line, run / LOG)


# ---- the recipe --------------------------------------------------------------------------------------------------


def _recipe(config: ConfigMapping) -> dict[str, str]:
    """Keys and values that make the training what it is, short."""
    found: dict[str, str] = {}
    with suppress(ValueError, AttributeError):
        # Paths are variables of the config.
        config = config.interpolate()  # type: ignore[attr-defined]
    models = {
        name: block["model"]
        for name, block in (config.get("components") or {}).items()
        if isinstance(block, dict) and isinstance(block.get("model"), dict)
    }
    for name, model in models.items():
        prefix = f"{name}: " if len(models) > 1 else ""
        for key in _MODEL:
            # A neutral block changes nothing.
            if model.get(key) and not (shown := _shown(model[key])).startswith("No"):
                found[f"{prefix}{key.replace('_', ' ')}"] = shown
    training = config.get("training") or {}
    for key in _RECIPE:
        if training.get(key) not in (None, 0, ""):
            found[key.replace("_", " ")] = _shown(training[key])
    return found


def _shown(value: object) -> str:
    """A value of the config in one line: of a block the name of its builder, and what else it says."""
    if isinstance(value, dict):
        names = [str(one).split(".") for key, one in value.items() if str(key).startswith("@")]
        name = (names[0][-2] if len(names[0]) > 1 else names[0][0]) if names else ""
        rest = ", ".join(
            f"{key} {_shown(one)}" for key, one in value.items() if not str(key).startswith("@") and one is not None
        )
        return f"{name} ({rest})" if name and rest else name or rest
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


# ---- curves ------------------------------------------------------------------------------------------------------


def _curves(lines: list[JsonObject]) -> JsonObject:
    """Loss by step, score by evaluation, and what was frozen when."""
    steps = [one for one in lines if one.get("kind") == "step" and isinstance(one.get("loss"), dict)]
    evaluations = [
        one for one in lines if one.get("kind") == "evaluation" and isinstance(one.get("score"), int | float)
    ]
    names = list(dict.fromkeys(name for one in steps for name in one["loss"]))
    frozen: dict[str, list[list[int]]] = {}
    for one in evaluations:
        for name, known in (one.get("components") or {}).items():
            frozen.setdefault(name, []).append([int(one["step"]), int(known["frozen_depth"])])
    return {
        "steps": [int(mean) for mean in _thinned([float(one["step"]) for one in steps])],
        "loss": {name: _thinned([_number(one["loss"].get(name)) for one in steps]) for name in names},
        "learn_rate": _thinned([_number(one.get("learn_rate")) for one in steps]),
        "evaluations": [
            {key: one.get(key) for key in ("step", "score", "best", "seconds", "docs_per_second")}
            for one in evaluations
        ],
        "measure": evaluations[-1].get("measure", "") if evaluations else "",
        "frozen_depth": frozen,
    }  # fmt: skip


def _number(value: object) -> float:
    # A loss that was not finite stands in the log as text.
    return float(value) if isinstance(value, int | float) else 0.0


def _thinned(values: list[float]) -> list[float]:
    """Means over so many neighbors that a chart can show them."""
    width = max(1, -(-len(values) // _MOST_POINTS))
    return [sum(part) / len(part) for i in range(0, len(values), width) if (part := values[i : i + width])]


# ---- data --------------------------------------------------------------------------------------------------------


def _data(place: Place, nlp: Language | None, config: ConfigMapping, tests: list[Path]) -> JsonObject:
    """The splits in numbers, and what `spacy transfer check` says about them together."""
    given, found = _given(config), training_paths(place, config)
    facts: JsonObject = {
        "splits": [], "findings": [], "data_error": "", "training_labels": {},
        "missing_data": [text for name, text in given.items() if name not in found],
    }  # fmt: skip
    if not found or nlp is None:
        return facts
    # A split is named after its file; of two with one name the training data are looked at.
    named: dict[str, Path] = {}
    for file in [*found.values(), *tests]:
        named.setdefault(file.resolve().name if file.is_dir() else file.stem, file)
    pipes = list(classifiers_of(nlp).values())
    try:
        report = check(list(named.values()), exclusive=len(pipes) == 1 and pipes[0].exclusive)
    except (ValueError, OSError) as error:
        return {**facts, "data_error": str(error)}
    return {
        **facts,
        "splits": [{"name": one.name, "path": one.path, "n_texts": one.n_texts} for one in report.splits],
        "findings": [asdict(one) for one in report.findings],
        "training_labels": report.splits[0].label_counts if "train" in found else {},
    }


def training_paths(place: Place, config: ConfigMapping) -> dict[str, Path]:
    """Find the data that a pipeline was trained on.

    place (Place): Where things are.
    config (ConfigMapping): Of the pipeline.
    RETURNS (dict[str, Path]): Of "train" and "dev" those that are still there.
    """
    return {name: file for name, text in _given(config).items() if (file := _found(text, place)) is not None}


def _given(config: ConfigMapping) -> dict[str, str]:
    return {name: path for name in ("train", "dev") if (path := _path_of(config, name))}


def _path_of(config: ConfigMapping, name: str) -> str:
    with suppress(ValueError, KeyError, AttributeError, TypeError):
        path = config.interpolate()["corpora"][name]["path"]  # type: ignore[attr-defined]
        return path if isinstance(path, str) else ""
    return ""


def _found(given: str, place: Place) -> Path | None:
    """A path of the config: relative to where the command runs, or to a folder above the run."""
    path = Path(given).expanduser()
    above = [] if place.run is None else list(place.run.absolute().parents)
    candidates = [path] if path.is_absolute() else [path, *(folder / path for folder in above)]
    return next((one for one in candidates if one.exists()), None)
