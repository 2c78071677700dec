"""Fits an estimator: writes texts to a folder, runs the training loop, loads the pipeline."""

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import spacy
import torch
from sklearn.model_selection import train_test_split
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.config import Config

from ..errors import T494
from ..pipeline.components import classifiers_of
from ..quiet import quiet
from ..training.loop.loop import Update
from ..training.state.random_state import RandomState
from ..training.train import train
from .config import training_config, without_data
from .data import Targets
from .parameters import Parameters

# Texts that stand in for held-out ones where nothing is held out: the loop evaluates on something.
_MOST_STAND_INS = 32


@dataclass(frozen=True)
class Fitted:
    """Result of a fit.

    nlp (Language): The pipeline, trained.
    n_steps (int): Updates made.
    score (float | None): Main score on the held-out texts, None where nothing was held out.
    """

    nlp: Language
    n_steps: int
    score: float | None


def fit(
    params: Parameters, texts: Sequence[str], targets: Targets, *, source: Callable[[Path], None] | None = None
) -> Fitted:
    """Train a pipeline.

    params (Parameters): Parameters of the estimator, checked.
    texts (Sequence[str]): Training texts, held-out ones included.
    targets (Targets): Their labels.
    source (Callable[[Path], None] | None): Writes the pipeline to go on from into a folder; None begins with the
        pretrained encoder.
    RETURNS (Fitted): The pipeline with the best weights on the held-out texts, or else the last weights.
    RAISES (ValueError): As `spacy_transfer.train`.
    """
    exclusive = targets.kind == "exclusive"
    holds_out = params["early_stopping"]
    learned, held_out = _split(params, targets) if holds_out else (list(range(len(texts))), _stand_ins(targets))
    state = RandomState.now()
    with TemporaryDirectory(prefix="spacy-transfer-", ignore_cleanup_errors=True) as name, quiet():
        folder = Path(name)
        blank = spacy.blank(params["lang"])
        _write(folder / "train.spacy", blank, texts, targets, learned)
        _write(folder / "dev.spacy", blank, texts, targets, held_out)
        if source is not None:
            source(folder / "source")
        config = training_config(
            params, targets.names, exclusive=exclusive, data=folder, n_texts=len(learned),
            source=None if source is None else folder / "source",
        )  # fmt: skip
        n_epochs = params["n_epochs"]
        bar = _Bar(len(learned) * n_epochs if n_epochs else None) if params["progress"] else None
        try:
            fitted = _train(config, folder / "run", bar, params, holds_out)
        finally:
            if bar is not None:
                bar.close()
            state.restore()
        fitted.nlp.config = without_data(fitted.nlp.config)
    return fitted


def _train(config: Config, output: Path, bar: "_Bar | None", params: Parameters, holds_out: bool) -> Fitted:
    trained = train(
        config, output, gpu_id=_gpu_id(params["device"]), checkpoint_every="1000h", show="none",
        make_update=None if bar is None else bar.updating, max_seconds=params["max_seconds"] or 0.0,
    )  # fmt: skip
    if trained.status == "interrupted":
        # SIGTERM: the loop has ended in good order, and the process is to end too.
        signal.raise_signal(trained.signal or signal.SIGTERM)
    if holds_out:
        trained.nlp.from_disk(output / "model-best")
    _clear(trained.nlp)
    return Fitted(trained.nlp, trained.n_steps, trained.score if holds_out else None)


def _clear(nlp: Language) -> None:
    for classifier in classifiers_of(nlp, enabled_only=True).values():
        classifier.clear_cache()


class _Bar:
    """A progress bar over texts.

    n_texts (int | None): Of all epochs, where that is known.
    """

    def __init__(self, n_texts: int | None) -> None:
        # In a notebook a widget, elsewhere text.
        from tqdm.auto import tqdm

        self._bar = tqdm(total=n_texts, unit="text", desc="training")

    def updating(self, nlp: Language) -> Update:
        """Make the step function of a pipeline, which moves the bar on.

        nlp (Language): The pipeline.
        RETURNS (Update): In place of `nlp.update`.
        """
        block = nlp.config.interpolate()["training"]
        frozen, annotating = block["frozen_components"], block["annotating_components"]

        def update(batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
            """Update as the pipeline does, and move the bar on."""
            nlp.update(batch, drop=drop, losses=losses, sgd=False, exclude=frozen, annotates=annotating)
            # A tensor on a GPU would make each step wait for the device.
            total = [value for value in losses.values() if not isinstance(value, torch.Tensor)]
            if total:
                self._bar.set_postfix_str(f"loss {sum(total) / len(batch):.3f}", refresh=False)
            self._bar.update(len(batch))

        return update

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def _gpu_id(device: str) -> int:
    if device == "auto":
        return 0 if torch.cuda.is_available() else -1
    if device == "cpu":
        return -1
    kind, _, number = device.partition(":")
    if kind == "cuda" and (number.isdigit() or not number):
        return int(number or 0)
    raise ValueError(T494.format(parameter="device", value=repr(device), want='"auto", "cpu", "cuda" or "cuda:1"'))


def _split(params: Parameters, targets: Targets) -> tuple[list[int], list[int]]:
    """Texts to learn from, and held-out ones with every label, where there are enough of it."""
    rows = list(range(len(targets.matrix)))
    share, seed = params["validation_fraction"], params["seed"]
    if targets.kind == "exclusive":
        with suppress(ValueError):
            learned, held_out = train_test_split(
                rows, test_size=share, random_state=seed, stratify=targets.matrix.argmax(axis=1)
            )
            return sorted(learned), sorted(held_out)
    learned, held_out = train_test_split(rows, test_size=share, random_state=seed)
    return sorted(learned), sorted(held_out)


def _stand_ins(targets: Targets) -> list[int]:
    """The first text of each label."""
    first = {int(column.argmax()) for column in targets.matrix.T if column.any()}
    return sorted(first)[:_MOST_STAND_INS] or [0]


def _write(path: Path, nlp: Language, texts: Sequence[str], targets: Targets, rows: Sequence[int]) -> None:
    docs = DocBin(attrs=[])
    for row, cats in zip(rows, targets.cats(rows), strict=True):
        doc = nlp.make_doc(texts[row])
        doc.cats = cats
        docs.add(doc)
    docs.to_disk(path)
