"""Samples of augmented training texts of a config."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.training.loop import subdivide_batch
from spacy.util import load_model_from_config, registry, resolve_dot_names
from thinc.config import Config

from ...config.reading import read_config
from ...errors import T005, T125, T126, T127
from ...json_types import ConfigMapping
from ...model.learning.augmentation import NoAugmentation, draw_texts
from ...model.networks import networks_of
from ...model.shims.settings import Settings
from ...pipeline.components import name_meant
from ...pipeline.gold import read_gold
from ..reading.config_corpora import check_corpora, naming_damaged_corpora

# Of a corpus that may have no end.
_MOST_READ = 20_000


@dataclass(frozen=True)
class Sample:
    """One training text.

    clean (str): As it is read of the document, before and after.
    augmented (str): As it is read of the document, before and after.
    labels (list[str]): Those that it has.
    is_clean (bool): Whether it was left as it is.
    """

    clean: str
    augmented: str
    labels: list[str]
    is_clean: bool


def augment(
    config: Path,
    *,
    n: int = 10,
    component: str | None = None,
    skip: int = 0,
    overrides: ConfigMapping | None = None,
) -> list[Sample]:
    """Show what the batches of a training with this config would read; no network is built.

    It shuffles and batches as `spacy train` does, but not in the same order, since that also depends on what else was
    drawn before.

    config (Path): A training config.
    n (int): Samples.
    component (str | None): Which component's augmentation; not needed where only one has any.
    skip (int): Draws to skip, to see others.
    overrides (Mapping | None): Settings in place of the config's, by dotted name.
    RETURNS (list[Sample]): At most n, fewer where the corpus has no more.
    RAISES (ValueError): T005 for n below 1 or skip below 0, T125 for a component that is not there, T126 for one that
        changes nothing, T127 for a corpus without texts; T032, T033, T036 for bad annotations; T330 to T334 and T420 to
        T426 for a config or values that nothing reads.
    """
    for field, value, least in (("n", n, 1), ("skip", skip, 0)):
        if value < least:
            raise ValueError(T005.format(block="augment", field=field, value=value, want=f"{field} >= {least}"))
    raw = read_config(config, overrides)
    check_corpora(raw)
    nlp = load_model_from_config(raw, auto_fill=True)
    name, settings = _component(nlp, component, config)
    pipe, builder = nlp.get_pipe(name), settings.augmentation
    if isinstance(builder, NoAugmentation):
        raise ValueError(T126.format(name=name, block="spacy-transfer.NoAugmentation.v1", path=config))
    filled = nlp.config.interpolate()
    training = registry.resolve(filled["training"], schema=ConfigSchemaTraining)
    with naming_damaged_corpora(raw):
        examples = list(_examples(nlp, filled, training))
    labels = list(pipe.labels) or sorted({label for eg in examples for label in eg.reference.cats})
    samples: list[Sample] = []
    for number, batch in enumerate(_batches(examples, training)):
        docs = [eg.reference for eg in batch]
        gold = read_gold(docs, labels, exclusive=pipe.exclusive, name=name)
        texts = settings.text.read([eg.predicted for eg in batch])
        targets = np.where(gold.known > 0, gold.targets, np.float32("nan"))
        drawn, clean = draw_texts(builder, texts, targets, skip + number)
        for old, new, same, doc in zip(texts, drawn, clean, docs, strict=True):
            samples.append(Sample(old, new, [label for label, value in doc.cats.items() if value >= 0.5], same))
        if len(samples) >= n:
            break
    if not samples:
        raise ValueError(T127.format(corpus=training["train_corpus"], path=config, name=name))
    return samples[:n]


def _component(nlp: Language, name: str | None, config: Path) -> tuple[str, Settings]:
    ours = {key: shim.settings for key, shim in networks_of(nlp).items()}
    changing = [key for key, settings in ours.items() if not isinstance(settings.augmentation, NoAugmentation)]
    # Of several, the one whose texts change.
    meant = name_meant(ours, name) or (name_meant(changing, None) if name is None else None)
    if meant is None:
        raise ValueError(T125.format(name=name or "", path=config, found=", ".join(changing) or "none"))
    return meant, ours[meant]


def _examples(nlp: Language, config: Config, training: ConfigMapping) -> Iterable[Example]:
    (corpus,) = resolve_dot_names(config, [training["train_corpus"]])
    return islice(corpus(nlp), _MOST_READ)


def _batches(examples: list[Example], training: ConfigMapping) -> Iterator[list[Example]]:
    """As `spacy train` makes them: shuffled, batched, subdivided."""
    before = random.getstate()
    try:
        random.seed(training["seed"] or 0)
        if training["max_epochs"] >= 0:
            random.shuffle(examples)
        # All at once: the batcher draws from the same source, which is to be left as it was.
        batches = [list(batch) for batch in training["batcher"](examples)]
    finally:
        random.setstate(before)
    for batch in batches:
        yield from (part for part in subdivide_batch(batch, training["accumulate_gradient"]) if part)
