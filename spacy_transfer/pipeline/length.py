"""The length of a training in steps and epochs, counted before the first step.

`[training]` says it in spaCy's own words, `max_epochs` and `max_steps`; a rate that falls to 0 at the end has to know
how many steps that is. A schedule sees neither data nor `[training]`, so the number is written into its block.
"""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from weakref import WeakSet

import numpy as np
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from ..errors import T325, T326, T338
from ..json_types import ConfigMapping
from ..log import announce, logger

# Schedules of ours wait for the number in this key; others have no such key.
COUNTED = "counted_steps"
# Texts that are batched to count the batches of all epochs; further epochs are taken to be like the last one.
_MOST_BATCHED = 200_000
# Steps of a schedule that are looked through for a rate of 0.
_MOST_RATES = 100_000

Batcher = Callable[[Iterable[Example]], Iterable[list[Example]]]

# Within a loop of our own: it counts, and says what it counted, itself.
_is_counted_elsewhere: ContextVar[bool] = ContextVar("is_counted_elsewhere", default=False)
# Pipelines whose config holds numbers that were counted, which are true of one training and not to be saved.
_written: "WeakSet[Language]" = WeakSet()


@dataclass(frozen=True)
class Length:
    """Of a training.

    n_steps (int): Updates until the first of `max_steps` and `max_epochs`; 0 where neither ends it.
    n_texts (int): Of the training data; 0 for a stream.
    steps_per_epoch (float): Mean number of batches in an epoch.
    max_steps (int): Of [training].
    max_epochs (int): Of [training].
    patience (int): Of [training].
    """

    n_steps: int
    n_texts: int
    steps_per_epoch: float
    max_steps: int
    max_epochs: int
    patience: int

    @property
    def n_epochs(self) -> float:
        """Passes over the training data; 0 where nobody knows."""
        return self.n_steps / self.steps_per_epoch if self.steps_per_epoch else 0.0

    def __str__(self) -> str:
        """The length in one line."""
        texts = f"your {self.n_texts:,} training texts" if self.n_texts else "a stream of texts"
        if not self.n_steps:
            sentence = f"Training on {texts} has no end (max_steps and max_epochs are 0)"
        elif not self.n_texts:
            sentence = f"{_many(self.n_steps, 'step')} on {texts}"
        else:
            n_epochs = f"{self.n_epochs:.2g}" if self.n_epochs < 1 else f"{self.n_epochs:.1f}".removesuffix(".0")
            epochs = "1 epoch" if n_epochs == "1" else f"{n_epochs} epochs"
            sentence = f"{_many(self.n_steps, 'step')} = {epochs} of {texts}"
            if self.max_steps and self.max_epochs > 0:
                first, second = "max_steps", "max_epochs"
                if self.n_steps < self.max_steps:
                    first, second = second, first
                values = {"max_steps": self.max_steps, "max_epochs": self.max_epochs}
                sentence += f" ({first} = {values[first]} comes before {second} = {values[second]})"
        if self.patience:
            sentence += f", or until the score has not improved for {_many(self.patience, 'step')}"
        elif not self.n_steps:
            sentence += ": it runs until you stop it"
        return sentence


def measure(training: ConfigMapping, examples: Sequence[Example]) -> Length:
    """Count the steps of a training.

    training (Mapping): The block [training], interpolated.
    examples (Sequence): All training data; not looked at where they are streamed.
    RETURNS (Length): Exact where batches do not depend on the order of the texts, else within a few steps.
    """
    max_steps, max_epochs, patience = (int(training[key]) for key in ("max_steps", "max_epochs", "patience"))
    if max_epochs < 0 or not examples:
        return Length(max(0, max_steps), 0, 0.0, max_steps, max_epochs, patience)
    batcher = registry.resolve({"batcher": training["batcher"]})["batcher"]
    n_wanted = max_epochs or 1
    with _random_numbers_of_its_own():
        counts = list(_batches_of_epochs(batcher, examples, n_wanted))
    total = sum(counts) + (n_wanted - len(counts)) * counts[-1]
    ends = [n for n in (max_steps, total if max_epochs else 0) if n > 0]
    return Length(min(ends, default=0), len(examples), total / n_wanted, max_steps, max_epochs, patience)


def _batches_of_epochs(batcher: Batcher, examples: Sequence[Example], n_epochs: int) -> Iterator[int]:
    order = list(examples)
    for _ in range(max(1, min(n_epochs, _MOST_BATCHED // len(order)))):
        random.shuffle(order)
        yield sum(1 for _ in batcher(order))


@contextlib.contextmanager
def _random_numbers_of_its_own() -> Iterator[None]:
    """Within: numbers that are the same in every process, whatever was drawn before; afterwards the old ones go on."""
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)


# ---- what there is to say --------------------------------------------------------------------------------------------


def warn(length: Length, training: ConfigMapping) -> None:
    """Say what is most likely not meant: data that are not seen once, a rate of 0.

    length (Length): Of the training.
    training (Mapping): The block [training], interpolated.
    """
    block = training["optimizer"].get("learn_rate") if isinstance(training["optimizer"], Mapping) else None
    if isinstance(block, int | float) and not block:
        # Somebody wants it so: the head was solved, and no step shall move it.
        return
    if length.n_texts and length.n_steps and length.n_epochs < 0.995:
        logger.warning(
            T325.format(n_steps=length.n_steps, share=length.n_epochs, n_texts=length.n_texts,
                        n_needed=int(np.ceil(length.steps_per_epoch)))
        )  # fmt: skip
    if not isinstance(block, Mapping) or COUNTED in block or is_ours(block):
        return
    n_looked_at = min(length.n_steps or 1000, _MOST_RATES)
    rates = islice(registry.resolve({"rate": block})["rate"], n_looked_at)
    zeros = [step for step, rate in enumerate(rates) if not rate]
    # Warm-ups begin with 0, and what falls in a line ends there.
    if len(zeros) > 2:
        logger.warning(T326.format(n_zeros=len(zeros), n_steps=length.n_steps or "1000 and more", first=zeros[1]))


def is_ours(block: ConfigMapping) -> bool:
    """Whether a block is of a schedule that waits for the number of steps."""
    return str(block.get("@schedules", "")).startswith("spacy-transfer.")


def look_ahead(nlp: Language | None, examples: Sequence[Example]) -> None:
    """While a pipeline is initialized for a training that its config describes: count the steps, write the number into
    the schedules that wait for it, and say how long the training will be.

    nlp (Language | None): The pipeline.
    examples (Sequence[Example]): The training data; a part of them of a stream.
    """
    if nlp is None or is_counted_elsewhere() or not is_for_a_loop(nlp):
        return
    training = nlp.config.interpolate()["training"]
    length = measure(training, examples)
    announce(f"{length}.")
    warn(length, training)
    if 1 < length.n_steps <= int(training["eval_frequency"]):
        logger.warning(T338.format(n_steps=length.n_steps, every=training["eval_frequency"]))
    if length.n_steps:
        for block in _waiting_blocks(nlp.config["training"]["optimizer"]):
            block[COUNTED] = length.n_steps
            _written.add(nlp)


def is_for_a_loop(nlp: Language) -> bool:
    """Whether the config says what to train on; that of `spacy.blank` does not."""
    config = nlp.config.interpolate()
    block: object = config
    for part in str(config["training"].get("train_corpus", "")).split("."):
        block = block.get(part) if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping):
        return False
    return "path" not in block or block["path"] is not None


def _waiting_blocks(block: object) -> Iterator[dict[str, object]]:
    if isinstance(block, dict):
        if is_ours(block):
            yield block
        for part in block.values():
            yield from _waiting_blocks(part)


def forget_counted_steps() -> None:
    """Take the numbers out of the configs again: the loop has read them, and a saved config is for other data too."""
    while _written:
        nlp = _written.pop()
        for block in _waiting_blocks(nlp.config["training"]["optimizer"]):
            block[COUNTED] = None


@contextlib.contextmanager
def counted_elsewhere() -> Iterator[None]:
    """Within: `look_ahead` does nothing; the loop that is to follow counts its own data."""
    token = _is_counted_elsewhere.set(True)
    try:
        yield
    finally:
        _is_counted_elsewhere.reset(token)


def is_counted_elsewhere() -> bool:
    """Whether a loop of our own looks at its data itself."""
    return _is_counted_elsewhere.get()


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
