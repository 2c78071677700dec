"""Averages the weights of several trained pipelines if that scores better on dev than each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.util import registry, resolve_dot_names
from torch import Tensor

from ..loop.evaluation import Evaluation
from ..state.pipeline_state import all_weights, fill_all_weights, network_shims


@dataclass(frozen=True)
class Soup:
    """What was mixed.

    nlp (Language): With the mean weights.
    ingredients (list[Path]): Pipelines that went in, the best one alone first.
    score (float): Main score on the dev data.
    single (float): That of the best one alone, measured in the same way.
    """

    nlp: Language
    ingredients: list[Path]
    score: float
    single: float

    @property
    def is_better(self) -> bool:
        """Whether mixing has gained anything."""
        return len(self.ingredients) > 1 and self.score > self.single


def mix(pipelines: Sequence[Path]) -> Soup:
    """Begin with the first, and add each of the others that makes the mean of the weights better on the dev data.

    pipelines (Sequence[Path]): Saved pipelines, best first. One with other labels or weights than the first is
        passed over.
    RETURNS (Soup): With the first alone where nothing was gained.
    SOURCE: Wortsman et al. 2022 (model soups: the greedy one), arXiv:2203.05482.
    """
    nlp = spacy.load(pipelines[0])
    config = nlp.config.interpolate()
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (dev_corpus,) = resolve_dot_names(config, [settings["dev_corpus"]])

    def score_of(weights: Mapping[str, Tensor]) -> float:
        """Evaluate the pipeline with these weights."""
        _fill(nlp, weights)
        score, _ = Evaluation(nlp, dev_corpus, settings["score_weights"])(lambda done, total: None)
        return score

    best = {name: value.clone() for name, value in all_weights(nlp, only_trainable=False).items()}
    sums = {name: value.double() for name, value in best.items() if value.is_floating_point()}
    single = score = score_of(best)
    ingredients = [pipelines[0]]
    for path in pipelines[1:]:
        loaded = spacy.load(path)
        other = all_weights(loaded, only_trainable=False)
        if loaded.pipe_labels != nlp.pipe_labels or not _fit(best, other):
            continue
        tried = {name: total + other[name].double() for name, total in sums.items()}
        n = len(ingredients) + 1
        mean = {**best, **{name: (total / n).to(best[name].dtype) for name, total in tried.items()}}
        if (found := score_of(mean)) > score:
            score, best, sums = found, mean, tried
            ingredients.append(path)
    _fill(nlp, best)
    return Soup(nlp, ingredients, score, single)


def _fit(weights: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two pipelines have the same weights, and the same numbers where there is no mean of them."""
    return weights.keys() == other.keys() and all(
        value.shape == other[name].shape
        and value.dtype == other[name].dtype
        and (value.is_floating_point() or torch.equal(value, other[name]))
        for name, value in weights.items()
    )


def _fill(nlp: Language, weights: Mapping[str, Tensor]) -> None:
    fill_all_weights(nlp, weights)
    for shim in network_shims(nlp).values():
        # Frozen depths may run on copies in bf16.
        shim.forget_copies()
