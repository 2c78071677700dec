"""Evaluations during a run: spaCy's scores, weighted into one."""

import math
from collections.abc import Callable, Iterable
from timeit import default_timer

from spacy.language import Language, _copy_examples
from spacy.scorer import Scorer
from spacy.training import Example, validate_examples

from ...errors import T175
from ...json_types import Scores
from ...log import logger
from ..state.fingerprint import examples_digest, fingerprint_of

# Told after each document: how many are done, and of how many.
Tick = Callable[[int, int], None]


class Evaluation:
    """Scores a pipeline on the dev data.

    nlp (Language): The pipeline.
    corpus (Callable): The reader of the dev data.
    weights (dict): Weight of each score in the main one; None counts nothing.
    share (Callable): Lets several ranks predict a part each; gives the examples with all predictions.
    """

    def __init__(
        self,
        nlp: Language,
        corpus: Callable[[Language], Iterable[Example]],
        weights: dict[str, float | None],
        share: Callable[[list[Example], Callable[[list[Example]], None]], list[Example]] | None = None,
    ) -> None:
        self.nlp, self.corpus = nlp, corpus
        # A score that is None once counts no more for the rest of the run, as in spaCy.
        self.weights = {key: value for key, value in weights.items() if value is not None}
        self._share = share
        self._told = False
        # Dev texts, from 1, to which the last evaluation gave scores that are no finite numbers.
        self.not_finite: list[int] = []
        # Of the dev data, from the first evaluation on.
        self.fingerprint: str | None = None

    def read(self) -> list[Example]:
        """The dev data.

        RETURNS (list[Example]): Read anew.
        """
        examples = list(self.corpus(self.nlp))
        if self.fingerprint is None:
            self.fingerprint = fingerprint_of(self.corpus) or examples_digest(examples)
        return examples

    def __call__(self, tick: Tick) -> tuple[float, dict[str, object]]:
        """Evaluate.

        RETURNS (tuple): The main score, and all scores.
        """
        examples = self.read()
        validate_examples(examples, "spacy transfer train")
        examples = _copy_examples(examples)
        start = default_timer()

        def predict(some: list[Example]) -> None:
            """Predict some examples and tell how far it is."""
            docs = self.nlp.pipe((example.predicted for example in some), batch_size=self.nlp.batch_size)
            for n_done, (example, doc) in enumerate(zip(some, docs, strict=True), start=1):
                example.predicted = doc
                tick(n_done, len(some))

        tick(0, len(examples))
        if self._share is None:
            predict(examples)
        else:
            examples = self._share(examples, predict)
        seconds = default_timer() - start
        self.not_finite = [
            number for number, example in enumerate(examples, start=1)
            if not all(math.isfinite(value) for value in example.predicted.cats.values())
        ]  # fmt: skip
        found = Scorer(nlp=self.nlp).score(examples)
        scores = {key: value for key, value in found.items() if value is not None}
        scores["speed"] = sum(len(example.predicted) for example in examples) / seconds
        return self.weigh(scores), scores

    def measure(self, scores: Scores) -> str:
        """What the main score is: the name of the one score that counts, or the sum that it is.

        scores (dict): Of the last evaluation; they say what spaCy's "cats_score" is.
        """
        counts = {key: weight for key, weight in self.weights.items() if weight}
        if len(counts) == 1:
            (key,) = counts
            return str(scores.get(f"{key}_desc") or key)
        return " + ".join(f"{weight:g} {key}" for key, weight in counts.items())

    def weigh(self, scores: Scores) -> float:
        """The main score of some scores."""
        self.weights = {key: value for key, value in self.weights.items() if key in scores}
        if not self.weights and not self._told:
            self._told = True
            logger.warning(T175.format(scores=sorted(scores)))
        return float(sum(scores[key] * weight for key, weight in self.weights.items()))
