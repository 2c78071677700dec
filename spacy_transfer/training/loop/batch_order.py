"""The texts of each batch: as in `spacy train`, and from any position in the run."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from spacy.language import Language
from spacy.training import Example
from torch import Tensor

from ...corpora.reading.config_corpora import check_path_of
from ...errors import T171, T185
from ...files import Fingerprint
from ...json_types import JsonObject
from ..state.fingerprint import example_digest, fingerprint_of
from ..state.random_state import EVERY, RandomState
from .schedules import CountedBatcher

# Places of texts in a stream that are known: enough for the batches that messages may still name.
_MOST_NUMBERS = 50_000


@dataclass
class _Epoch:
    """How an epoch began, and what is needed to draw its batches again.

    random (RandomState): After the shuffle.
    positions (list[int]): Of the batcher's schedules.
    foreign (list): Before which batch somebody else had drawn random numbers that the batcher's own then followed.
    """

    random: RandomState
    positions: list[int]
    place: int = 0
    foreign: list[tuple[int, RandomState]] = field(default_factory=list)


class Order:
    """Batches of the training data, epoch after epoch.

    nlp (Language): The pipeline.
    corpus (Callable): The reader of the training data.
    batching (CountedBatcher): The batcher and its schedules.
    max_epochs (int): Ends after so many; 0 never, -1 never and reads the data anew in every epoch (streamed).
    apart (bool): Draw from random numbers of its own, so that ranks which train on different texts agree on the order.
    """

    def __init__(
        self,
        nlp: Language,
        corpus: Callable[[Language], Iterable[Example]],
        batching: CountedBatcher,
        max_epochs: int,
        *,
        apart: bool = False,
    ) -> None:
        self.nlp, self.corpus, self.batching, self.max_epochs = nlp, corpus, batching, max_epochs
        self.epoch = 0
        self.examples: list[Example] = []
        self._numbers: dict[int, int] = {}
        self._reading: RandomState | None = None
        self._stream: Iterator[list[Example]] | None = None
        self._begun: _Epoch | None = None
        self._after: RandomState | None = None
        self._own = RandomState.now() if apart else None
        self._digest = Fingerprint()
        self._n_read = 0
        # A reader that is read meanwhile may draw any.
        self._watched = EVERY if self.is_streamed else batching.draws

    @property
    def is_streamed(self) -> bool:
        """Whether the data are read anew in every epoch."""
        return self.max_epochs < 0

    def read(self) -> None:
        """Read the training data.

        RAISES (ValueError): T171 if there are none.
        """
        self._reading = RandomState.now()
        if self.is_streamed:
            return
        self.examples = list(self.corpus(self.nlp))
        if not self.examples:
            check_path_of(self.corpus)
            raise ValueError(T171)
        self._numbers = {id(example): i for i, example in enumerate(self.examples)}

    def fingerprint(self) -> str:
        """Of all training data, in the order of the corpus; of a stream, of what was read in this epoch."""
        if (whole := fingerprint_of(self.corpus)) is not None:
            return whole
        if self.is_streamed:
            return f"{self._n_read} read: {self._digest.hexdigest()}"
        digest = Fingerprint()
        for example in sorted(self.examples, key=lambda one: self._numbers[id(one)]):
            digest.update(example_digest(example))
        return digest.hexdigest()

    def lines(self, batch: Iterable[Example]) -> list[int]:
        """Places of texts in the training data, from 1."""
        return sorted(self._numbers[id(example)] + 1 for example in batch if id(example) in self._numbers)

    # ---- drawing -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[tuple[int, list[Example]]]:
        return self

    def __next__(self) -> tuple[int, list[Example]]:
        """RETURNS: Epoch, from 0, and batch."""
        if self._own is None:
            return self._next()
        outer = RandomState.now()
        self._own.restore()
        try:
            return self._next()
        finally:
            self._own = RandomState.now()
            outer.restore()

    def _next(self) -> tuple[int, list[Example]]:
        while True:
            if self._begun is None or self._stream is None:
                if self.max_epochs >= 1 and self.epoch == self.max_epochs:
                    raise StopIteration
                if not self.is_streamed:
                    random.shuffle(self.examples)
                self._begin(RandomState.now(), self.batching.positions())
                assert self._begun is not None
                assert self._stream is not None
            before = RandomState.now(self._watched)
            batch = next(self._stream, None)
            if batch is None:
                if not self._begun.place:
                    raise ValueError(T185)
                self._stream = self._begun = None
                self.epoch += 1
                continue
            after = RandomState.now(self._watched)
            assert self._after is not None
            # Only where the batcher's numbers follow upon somebody else's does drawing again need to know of these.
            if (drawn := after.drawn_since(before)) and drawn & before.drawn_since(self._after):
                self._begun.foreign.append((self._begun.place, before))
            self._after = after
            self._begun.place += 1
            return self.epoch, list(batch)

    def _begin(self, state: RandomState, positions: list[int]) -> None:
        self._begun = _Epoch(state, positions)
        self._after = state
        self._stream = iter(self.batching.batcher(self._streamed() if self.is_streamed else self.examples))

    def _streamed(self) -> Iterator[Example]:
        self._digest, self._n_read = Fingerprint(), 0
        self._numbers.clear()
        is_known = fingerprint_of(self.corpus) is not None
        for example in self.corpus(self.nlp):
            if not is_known:
                self._digest.update(example_digest(example))
            self._numbers.pop(id(example), None)
            self._numbers[id(example)] = self._n_read
            if len(self._numbers) > _MOST_NUMBERS:
                del self._numbers[next(iter(self._numbers))]
            self._n_read += 1
            yield example

    # ---- resuming ------------------------------------------------------------------------------------------------

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """What `restore` needs: JSON, and the order of the texts in this epoch."""
        assert self._reading is not None
        data: JsonObject = {"epoch": self.epoch, "reading": self._reading.to_json(), "begun": None}
        if self._own is not None:
            data["own"] = self._own.to_json()
        if self._begun is not None:
            data["begun"] = {
                "random": self._begun.random.to_json(),
                "positions": self._begun.positions,
                "place": self._begun.place,
                "foreign": [(place, state.to_json()) for place, state in self._begun.foreign],
            }
        numbers = [self._numbers[id(example)] for example in self.examples]
        return data, {"order": torch.tensor(numbers, dtype=torch.int32)} if numbers else {}

    def reread(self, data: JsonObject) -> None:
        """Read the training data as at the start of the run.

        data (dict): Of `state`.
        """
        RandomState.from_json(data["reading"]).restore()
        self.read()

    def restore(self, data: JsonObject, tensors: dict[str, Tensor]) -> None:
        """After `reread`: go on to the place that `state` took down; moves the global random numbers."""
        if tensors:
            self.examples = [self.examples[i] for i in tensors["order"].tolist()]
        self.epoch = data["epoch"]
        if data["begun"] is not None:
            begun = data["begun"]
            state = RandomState.from_json(begun["random"])
            foreign = {place: RandomState.from_json(one) for place, one in begun["foreign"]}
            self.batching.advance(begun["positions"])
            state.restore()
            self._begin(state, begun["positions"])
            assert self._begun is not None
            assert self._stream is not None
            for place in range(begun["place"]):
                if place in foreign:
                    foreign[place].restore()
                next(self._stream, None)
            self._begun.place, self._begun.foreign = begun["place"], list(foreign.items())
            self._after = RandomState.now(self._watched)
        if self._own is not None:
            self._own = RandomState.from_json(data["own"]) if "own" in data else RandomState.now()
