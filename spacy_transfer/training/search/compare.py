"""Compares recipes on the training texts alone, by cross-validation."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Config

from ...config.blocks import filled, function_of
from ...config.values import put_values
from ...corpora.reading.config_corpora import READERS, reads_docbins
from ...errors import T667, T667_KIND, T667_READER, T667_TARGET, T667_WHICH
from ...evaluation.scorer import score_cats
from ...json_types import ConfigBlock
from ...pipeline.components import classifiers_of, components_of, sources_read_by
from ...pipeline.sources import carry_over
from ...pipeline.targets.target import DOCUMENTS
from ...quiet import silent
from ..distillation.student import Student
from ..interrupted import to_its_end
from ..loop.loop import Update
from ..train import train

# Evaluated once, at the end: a number of steps that no training reaches.
_NEVER = 10**9
# Texts that stand in for a dev part, which the loop wants to see.
_MOST_STAND_INS = 32
# Of a component that has none of its own.
_THRESHOLD = 0.5
# Updates that are timed, the first left out, and seconds after which those that there are will do.
_TIMED, _TIMING = 6, 10.0


@dataclass(frozen=True)
class Compared:
    """What came of a recipe.

    name (str): The recipe.
    score (float): Of all held-out texts: the share that is right where labels exclude each other, else micro F.
    by_fold (list[float]): The same of each fold.
    n_texts (int): Held-out texts.
    seconds (float): Of training, all folds together.
    """

    name: str
    score: float
    by_fold: list[float]
    n_texts: int
    seconds: float

    @property
    def standard_error(self) -> float:
        """How far chance may move the score, as if it were a share of the texts."""
        return math.sqrt(max(0.0, self.score * (1.0 - self.score)) / max(1, self.n_texts))


def compare_recipes(
    configs: Mapping[str, Config],
    docs: Sequence[Doc],
    folds: Sequence[int],
    *,
    gpu_id: int = -1,
    max_seconds: float = 0.0,
) -> list[Compared]:
    """Train every recipe on all folds but one and score it on that one, fold by fold.

    configs (Mapping[str, Config]): A config for each recipe, with one text classifier; its corpora read these texts.
    docs (Sequence[Doc]): The training texts, labels in `cats`.
    folds (Sequence[int]): For each text its fold, from 0; near-duplicates should share one.
    gpu_id (int): -1 for the CPU.
    max_seconds (float): No fold is begun after so many seconds, or where the folds before say that it would end later,
        and no further recipe in the first; of it the first recipe is always tried. 0: no limit.
    RETURNS (list[Compared]): The best first; equal ones in the order given. All on the same folds; recipes for which
        there was no time are not among them.
    RAISES (ValueError): T667 for a config that cannot be scored, or not with the others; as `spacy_transfer.train`.
    RAISES (Interrupted): After SIGTERM or Ctrl-C: half a training is no recipe's.
    """
    start, left = perf_counter(), dict(configs)
    classifiers = {name: _classifier_of(config, name) for name, config in configs.items()}
    exclusive = _kind_of(classifiers)
    thresholds = {name: _threshold(config, classifiers[name]) for name, config in configs.items()}
    labels = sorted({label for doc in docs for label in doc.cats})
    seconds, by_fold = dict.fromkeys(configs, 0.0), {name: list[float]() for name in configs}
    predicted: dict[str, list[Example]] = {name: [] for name in configs}
    for n_done, fold in enumerate(sorted(set(folds))):
        spent = perf_counter() - start
        if max_seconds and n_done and spent * (n_done + 1) / n_done > max_seconds:
            break
        learned = [doc for doc, own in zip(docs, folds, strict=True) if own != fold]
        held = [doc for doc, own in zip(docs, folds, strict=True) if own == fold]
        for name, config in list(left.items()):
            if max_seconds and not n_done and any(by_fold.values()) and perf_counter() - start > max_seconds:
                del left[name]
                continue
            began = perf_counter()
            nlp = _fit(config, learned, gpu_id)
            seconds[name] += perf_counter() - began
            examples = list(_scored(nlp, held))
            by_fold[name].append(_score(examples, labels, exclusive=exclusive, threshold=thresholds[name]))
            predicted[name] += examples
    found = []
    for name in left:
        score = _score(predicted[name], labels, exclusive=exclusive, threshold=thresholds[name])
        found.append(Compared(name, score, by_fold[name], len(predicted[name]), seconds[name]))
    return sorted(found, key=lambda one: -one.score)


def time_updates(config: Config, docs: Sequence[Doc], *, gpu_id: int = -1) -> float:
    """Measure how long an update of a training takes, before anything is cached.

    config (Config): Of the training, with one text classifier; its corpora read these texts.
    docs (Sequence[Doc]): Some training texts, labels in `cats`.
    gpu_id (int): -1 for the CPU.
    RETURNS (float): Seconds, the median of some updates.
    RAISES (ValueError): T667 for a config whose texts cannot be replaced; as `spacy_transfer.train`.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    """
    times: list[float] = []

    def timing(nlp: Language) -> Update:
        """Make the step function of a pipeline, which takes the time."""
        frozen = nlp.config.interpolate()["training"]["frozen_components"]

        def update(batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
            """Update as the pipeline does."""
            begin = perf_counter()
            nlp.update(batch, drop=drop, losses=losses, sgd=False, exclude=frozen)
            times.append(perf_counter() - begin)

        return update

    few = put_values(config, {"training.max_epochs": 0, "training.max_steps": _TIMED})
    _fit(few, docs, gpu_id, make_update=timing, max_seconds=_TIMING, level=logging.ERROR)
    return median(times[1:] or times)


def _classifier_of(config: Config, name: str) -> Student:
    """The one classifier of a config.

    RAISES (ValueError): T667.
    """
    try:
        found = Student.of(config, None, name)
    except ValueError:
        which = T667_WHICH.format(components=", ".join(config["nlp"]["pipeline"]))
        raise ValueError(T667.format(name=name, problem=which)) from None
    whole, problem = filled(config), ""
    target = whole["components"][found.name].get("target", DOCUMENTS)
    block = whole["corpora"].get(found.corpora[0].removeprefix("corpora."))
    if target != DOCUMENTS:
        problem = T667_TARGET.format(component=found.name, target=target)
    elif not reads_docbins(block):
        _, reader = function_of(block) or ("", "nothing that is known")
        problem = T667_READER.format(corpus=found.corpora[0], reader=reader, readers=" or ".join(READERS))
    if problem:
        raise ValueError(T667.format(name=name, problem=problem))
    return found


def _kind_of(classifiers: Mapping[str, Student]) -> bool:
    """Whether labels exclude each other, for all configs alike.

    RAISES (ValueError): T667.
    """
    first, *others = classifiers
    for name in others:
        if classifiers[name].exclusive != classifiers[first].exclusive:
            kinds = {True: "exactly one label a text", False: "any number of labels a text"}
            own, its = (kinds[classifiers[one].exclusive] for one in (name, first))
            raise ValueError(T667.format(name=name, problem=T667_KIND.format(own=own, other=first, its=its)))
    return classifiers[first].exclusive


def _values(config: Config, folder: Path, labels: Sequence[str]) -> ConfigBlock:
    """What a training on some texts has in place of a config's values.

    The corpora keep their readers and what these change in the texts, so that a recipe is tried as it is.
    """
    classifier, corpora = _classifier_of(config, "the config"), filled(config)["corpora"]
    values: ConfigBlock = {
        "training.eval_frequency": _NEVER, f"initialize.components.{classifier.name}.labels": list(labels)
    }  # fmt: skip
    for key, part in zip(classifier.corpora, ("train", "dev"), strict=True):
        block, path = corpora.get(key.removeprefix("corpora.")), str(folder / f"{part}.spacy")
        # Whatever reads dev: nothing is chosen by it.
        block = block if reads_docbins(block) else {"@readers": READERS[0], "gold_preproc": False}
        # The variable too: something else in the config may read it.
        values |= {f"paths.{part}": path, key: {**block, "path": path}}
    return values


def _fit(
    config: Config,
    docs: Sequence[Doc],
    gpu_id: int,
    *,
    make_update: Callable[[Language], Update] | None = None,
    max_seconds: float = 0.0,
    level: int = logging.WARNING,
) -> Language:
    """A pipeline with the last weights of a training; nothing is held out of it."""
    labels = sorted({label for doc in docs for label in doc.cats})
    with TemporaryDirectory(prefix="spacy-transfer-", ignore_cleanup_errors=True) as name, silent(level):
        folder = Path(name)
        for part, its in (("train", docs), ("dev", _stand_ins(docs))):
            DocBin(attrs=["ORTH"], docs=its, store_user_data=True).to_disk(folder / f"{part}.spacy")
        run = put_values(config, _values(config, folder, labels))
        trained = to_its_end(lambda: train(
            run, folder / "run", gpu_id=gpu_id, checkpoint_every="1000h", show="none",
            make_update=make_update, max_seconds=max_seconds,
        ))  # fmt: skip
    for classifier in classifiers_of(trained.nlp, enabled_only=True).values():
        classifier.clear_cache()
    return trained.nlp


def _stand_ins(docs: Sequence[Doc]) -> list[Doc]:
    """The first text of each label."""
    first: dict[str, Doc] = {}
    for doc in docs:
        for label, value in doc.cats.items():
            if value:
                first.setdefault(label, doc)
    return list({id(doc): doc for doc in first.values()}.values())[:_MOST_STAND_INS] or list(docs[:1])


def _scored(nlp: Language, docs: Sequence[Doc]) -> Iterator[Example]:
    sources = sources_read_by(components_of(nlp).values())
    bare = [nlp.make_doc(doc.text) for doc in docs]
    for doc, own in zip(docs, bare, strict=True):
        # What a classifier reads besides the text is no annotation.
        carry_over(sources, doc, own)
    for predicted, doc in zip(nlp.pipe(bare), docs, strict=True):
        gold = nlp.make_doc(doc.text)
        gold.cats = doc.cats
        yield Example(predicted, gold)


def _threshold(config: Config, classifier: Student) -> float:
    """The score from which a label holds, as the config sets it."""
    return float(filled(config).interpolate()["components"][classifier.name].get("threshold", _THRESHOLD))


def _score(examples: Sequence[Example], labels: Sequence[str], *, exclusive: bool, threshold: float) -> float:
    scores = score_cats(examples, labels=labels, exclusive=exclusive, threshold=threshold)
    return float(scores["cats_acc" if exclusive else "cats_micro_f"] or 0.0)
