"""The model card of a pipeline: labels, test scores, sizes of the data, encoder, license; `spacy package` prints it."""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import srsly
from spacy.language import Language

from ..docbins import read_all_docs
from ..errors import T163, T527, T568, T569, T569_LICENSE
from ..evaluation.evaluate import evaluate
from ..files import all_or_none, hold_place, new_folder, refuse_same, size_of
from ..json_types import JsonObject, Scores
from ..model.exported.onnx_shim import OnnxShim
from ..model.networks import networks_of
from ..model.shared.shim import SharedEncoderShim
from ..model.shims.own_encoder_shim import OwnEncoderShim
from ..pipeline.components import classifiers_of
from ..pipeline.loading import load_pipeline
from ..repository.licenses import whole_text

# spaCy's name for the licenses of what a pipeline was made of; `spacy package` copies it.
LICENSES = "LICENSES_SOURCES"
_KEY = "model_card"
# Of `evaluate`, what is no score, or a score once more.
_NO_SCORES = ("accuracy", "n_docs", "docs_per_second", "components")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelCard:
    """What a model card says.

    folder (Path): The pipeline that has it.
    n_docs (dict[str, int]): Documents of the data sets that were there: "train", "dev", "test".
    scores (Scores): On the test data; empty without.
    encoders (list[JsonObject]): Of each classifier: component, name, revision, license.
    warnings (list[str]): What a package of it would lack.
    """

    folder: Path
    n_docs: dict[str, int]
    scores: Scores
    encoders: list[JsonObject]
    warnings: list[str]


def card(
    pipeline: str | Path,
    *,
    test: str | Path | None = None,
    train: str | Path | None = None,
    dev: str | Path | None = None,
    license_name: str | None = None,
    output: str | Path | None = None,
    force: bool = False,
) -> ModelCard:
    """Write the model card of a trained pipeline into its meta.json, from where `spacy package` prints it.

    Where a description, an author or other sources stand in meta.json, they stay. The text of the encoder's license
    goes into LICENSES_SOURCES too, which the package takes along.

    pipeline (str | Path): Folder of a trained pipeline, or with an output also the name of a package.
    test (str | Path | None): Annotated documents to score it on. None: the scores of training, which are on dev data.
    train (str | Path | None): Training data, to count it. None: that of the pipeline's config, where it is still there.
    dev (str | Path | None): Development data, to count it. None: as for `train`.
    license_name (str | None): License of the pipeline itself. None: what meta.json says.
    output (str | Path | None): Folder for a copy that gets the card. None: the pipeline itself gets it.
    force (bool): Replace the output.
    RETURNS (ModelCard): What it says.
    RAISES (ValueError): T527 for a pipeline without a spacy-transfer classifier, T568 for a package without an output,
        T373 if the output is the pipeline; as `evaluate` for the data.
    RAISES (FileExistsError): T163 if output exists.
    RAISES (FileNotFoundError): T440 for data that is missing.
    """
    folder, given = Path(pipeline), _Given(test, train, dev, license_name)
    nlp = load_pipeline(pipeline)
    if not classifiers_of(nlp):
        components = ", ".join(nlp.component_names) or "none"
        raise ValueError(T527.format(pipeline=pipeline, components=components))
    if output is None:
        if not folder.is_dir():
            raise ValueError(T568.format(pipeline=pipeline))
        files, made = _filled(nlp, folder, given)
        with hold_place(folder), all_or_none() as stage:
            for name, text in files.items():
                stage(folder / name).write_text(text, "utf-8")
        return made
    place = Path(output)
    if place.exists() and not (force and place.is_dir()):
        raise FileExistsError(T163.format(path=place))
    if nlp.path is None:
        raise ValueError(T568.format(pipeline=pipeline))
    refuse_same([place], [folder, nlp.path])
    with hold_place(place):
        files, made = _filled(nlp, place, given)
        with new_folder(place, needs=size_of(nlp.path), sync=True) as part:
            shutil.copytree(nlp.path, part, dirs_exist_ok=True)
            for name, text in files.items():
                (part / name).write_text(text, "utf-8")
    return made


@dataclass(frozen=True)
class _Given:
    """What the user gives: data sets, a license."""

    test: str | Path | None
    train: str | Path | None
    dev: str | Path | None
    license_name: str | None


def _filled(nlp: Language, folder: Path, given: _Given) -> tuple[dict[str, str], ModelCard]:
    """Fill the meta of a pipeline.

    RETURNS (tuple): Contents of files by name, and the card.
    """
    meta = nlp.meta
    old: JsonObject = meta.get(_KEY) or {}
    # What was there before the first card: scores of training.
    said: JsonObject = {
        "scored_on": old.get("scored_on"),
        "dev_performance": old.get("dev_performance", meta.get("performance", {})),
    }
    n_docs: dict[str, int] = {}
    for split, path in (("train", given.train), ("dev", given.dev)):
        if (found := path or _path_in_config(nlp, split)) is not None:
            n_docs[split] = _count(found, nlp)
    scores: Scores = {}
    if given.test is not None:
        scores = evaluate(nlp, Path(given.test))
        n_docs["test"] = int(scores["n_docs"])
        said["scored_on"] = Path(given.test).name
        # With its 95 % interval.
        said["accuracy"] = {name: one["accuracy"] for name, one in scores["components"].items()}
        # How well tokens are cut is no question here.
        meta["performance"] = {
            name: value for name, value in scores.items() if name not in _NO_SCORES and not name.startswith("token_")
        }
    elif said["scored_on"] is not None:
        n_docs["test"] = int(old["n_docs"]["test"])
        said["accuracy"] = old["accuracy"]
    encoders = list(_encoders(nlp))
    named = [{key: value for key, value in encoder.items() if key != "license"} for encoder in encoders]
    meta[_KEY] = {**said, "n_docs": n_docs, "encoders": named}
    meta["description"] = meta.get("description") or _description(nlp, encoders)
    meta["sources"] = _sources(meta.get("sources"), encoders)
    if given.license_name is not None:
        meta["license"] = given.license_name
    meta["notes"] = "\n\n".join(_notes(nlp, encoders))
    files = {"meta.json": srsly.json_dumps(meta, indent=2)}
    if texts := _licenses(encoders):
        files[LICENSES] = "\n\n".join(f"{name}\n{'=' * len(name)}\n\n{text.strip()}\n" for name, text in texts.items())
    return files, ModelCard(folder, n_docs, scores, encoders, list(_lacks(nlp, encoders)))


# ---- what it says ------------------------------------------------------------------------------------------------


def _path_in_config(nlp: Language, split: str) -> Path | None:
    """Data that the config names and that is still there."""
    corpora = nlp.config.interpolate().get("corpora", {})
    block = corpora.get(split) if isinstance(corpora, Mapping) else None
    path = block.get("path") if isinstance(block, Mapping) else None
    if not isinstance(path, str) or not path or not Path(path).exists():
        return None
    return Path(path)


def _count(path: str | Path, nlp: Language) -> int:
    return sum(1 for _ in read_all_docs(Path(path), nlp.vocab))


def _encoders(nlp: Language) -> Iterator[JsonObject]:
    for name, pipe in classifiers_of(nlp).items():
        shim = next(iter(pipe.model.shims), None)
        if isinstance(shim, SharedEncoderShim):
            yield {"component": name, "name": _shared(nlp, shim.builder.upstream), "revision": None, "license": None}
        elif isinstance(shim, OnnxShim) and shim.is_built:
            said = shim.state["encoder"]
            yield {
                "component": name,
                "name": str(said["source"] or said["family"]),
                "revision": said["revision"],
                "license": whole_text(shim.license) if shim.license else None,
            }
        elif isinstance(shim, OwnEncoderShim) and shim.is_built:
            record = shim.record
            text = record.get("license")
            yield {
                "component": name,
                "name": str(record.get("source") or record["config"]["model_type"]),
                "revision": record.get("revision"),
                "license": None if text is None else whole_text(text),
            }


def _lacks(nlp: Language, encoders: Iterable[JsonObject]) -> Iterator[str]:
    shims = networks_of(nlp)
    for encoder in encoders:
        component, name = encoder["component"], encoder["name"]
        adapter = shims[component].settings.tuning.adapter if component in shims else None
        if adapter is not None and adapter.save == "adapter":
            yield T569.format(component=component, name=name)
        if encoder["license"] is None:
            yield T569_LICENSE.format(component=component, name=name)


def _shared(nlp: Language, upstream: str) -> str:
    """Name of the encoder that a `transformer` component has."""
    found = [
        name for name in nlp.component_names
        if upstream in ("*", name) and "transformer" in nlp.get_pipe_meta(name).factory
    ]  # fmt: skip
    if not found:
        return upstream
    named = str(nlp.get_pipe_config(found[-1])["model"].get("name") or found[-1])
    # The path of a folder is nobody's business.
    return named if _HUB_NAME.fullmatch(named) else Path(named).name


def _description(nlp: Language, encoders: Iterable[JsonObject]) -> str:
    parts = []
    for encoder in encoders:
        classifier = classifiers_of(nlp)[encoder["component"]]
        number = "exactly one" if classifier.exclusive else "any number"
        labels = f"{number} of {len(classifier.labels)} labels"
        parts.append(f"{encoder['component']} gives each text {labels} (encoder: {encoder['name']})")
    return f"Text classification: {'; '.join(parts)}."


def _sources(known: object, encoders: Iterable[JsonObject]) -> list[dict[str, str]]:
    """Sources that are there, and the encoders; in the form that spaCy prints."""
    found = [{"name": one} if isinstance(one, str) else dict(one) for one in known] if isinstance(known, list) else []
    names = {one.get("name") for one in found}
    for encoder in encoders:
        if encoder["name"] not in names:
            names.add(encoder["name"])
            source = {"name": encoder["name"]}
            # A name on the hub: nothing else has a revision.
            if encoder["revision"] is not None and _HUB_NAME.fullmatch(encoder["name"]):
                source["url"] = f"https://huggingface.co/{encoder['name']}"
            found.append(source)
    return found


def _licenses(encoders: Iterable[JsonObject]) -> dict[str, str]:
    return {encoder["name"]: encoder["license"] for encoder in encoders if encoder["license"]}


def _notes(nlp: Language, encoders: list[JsonObject]) -> Iterator[str]:
    """Markdown below what spaCy prints itself: labels and scores."""
    said = nlp.meta[_KEY]
    scored_on = "the dev data of its training" if said["scored_on"] is None else f"`{said['scored_on']}`"
    yield f"Scores are those on {scored_on}."
    for name, one in said.get("accuracy", {}).items():
        share, low, high = (f"{one[key]:.1%}" for key in ("value", "low", "high"))
        yield f"`{name}`: accuracy {share} (95 % interval {low} to {high}) on {said['n_docs']['test']:,} documents."
    yield from _tables(nlp.meta.get("performance", {}))
    if said["n_docs"]:
        rows = [f"| {split} | {n:,} |" for split, n in said["n_docs"].items()]
        yield "\n".join(["### Data", "", "| split | documents |", "|---|---|", *rows])
    rows = [f"| `{e['component']}` | {e['name']} | {e['revision'] or 'n/a'} |" for e in encoders]
    yield "\n".join(["### Encoder", "", "| component | encoder | revision |", "|---|---|---|", *rows])
    for name, text in _licenses(encoders).items():
        # A fence longer than any in the text.
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
        yield f"### License of {name}\n\n{fence}text\n{text.strip()}\n{fence}"


def _tables(performance: Mapping[str, object]) -> Iterator[str]:
    for key, per_label in performance.items():
        if not key.endswith("cats_f_per_type") or not isinstance(per_label, Mapping):
            continue
        rows = [
            f"| {label.replace('|', chr(92) + '|')} | {found['p']:.3f} | {found['r']:.3f} | {found['f']:.3f} |"
            for label, found in per_label.items()
        ]
        title = "### Scores per label" + (f" ({key})" if key != "cats_f_per_type" else "")
        yield "\n".join([title, "", "| label | precision | recall | F |", "|---|---|---|---|", *rows])
