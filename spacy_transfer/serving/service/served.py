"""Pipelines by name, each of which can be loaded again while it is in use."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from spacy.language import Language

from ...errors import T581, T581_NAME, T581_NONE, T581_TWICE
from ...pipeline.interface import Floats
from ...pipeline.loading import load_pipeline
from ...text_output import printable
from ..apply.options import Options
from ..apply.reading.rows import Row
from ..apply.scoring import (
    DirectScoring,
    Scoring,
    active_classifiers,
    attributes_read_by,
    check_components,
    make_scoring,
    media_read_in,
    require_documents,
)
from .lanes import Lane, LaneClosed, row_of
from .limits import ServiceLimits

Given: TypeAlias = Language | str | Path
# One pipeline, several folders or NAME=FOLDER, or pipelines by name.
Pipelines: TypeAlias = Given | Sequence[str | Path] | Mapping[str, Given]

_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
# Of the text that warms up: about as long as an e-mail.
_WARM = "warm " * 64


def named(pipelines: Pipelines) -> dict[str, Given]:
    """Give each pipeline a name.

    pipelines (Pipelines): As the user gave them; a folder without a name has that of the folder.
    RETURNS (dict[str, Given]): At least one.
    RAISES (ValueError): T581 for a name that is none, or that is there twice.
    """
    if isinstance(pipelines, Mapping):
        pairs = list(pipelines.items())
    else:
        several = [pipelines] if isinstance(pipelines, Language | str | Path) else list(pipelines)
        pairs = [_named(one) for one in several]
    if not pairs:
        raise ValueError(T581.format(given="nothing", problem=T581_NONE))
    found: dict[str, Given] = {}
    for name, given in pairs:
        if not _NAME.fullmatch(name):
            raise ValueError(T581.format(given=printable(f"{name}={given}"), problem=T581_NAME))
        if name in found:
            raise ValueError(T581.format(given=printable(f"{name}={given}"), problem=T581_TWICE.format(name=name)))
        found[name] = given
    return found


def _named(given: Given) -> tuple[str, Given]:
    if isinstance(given, Language):
        return str(given.meta.get("name") or "pipeline"), given
    name, mark, path = str(given).partition("=")
    if mark and _NAME.fullmatch(name) and not Path(given).exists():
        return name, path
    return Path(given).expanduser().resolve().name, given


@dataclass(frozen=True)
class Loaded:
    """A pipeline that is ready to score.

    lane (Lane): Its queue.
    scoring (Scoring): Whose scores there are.
    exclusive (tuple[bool, ...]): Of each component, whether a text has exactly one label.
    thresholds (tuple[float, ...]): Of each component, the score from which a label counts where there are any number.
    attributes (tuple[str, ...]): What it reads of a document besides its text.
    media (frozenset[str]): Those of them that hold pictures or sounds.
    longest (int): Characters of a text.
    version (str): As its meta.json says.
    """

    lane: Lane
    scoring: Scoring
    exclusive: tuple[bool, ...]
    thresholds: tuple[float, ...]
    attributes: tuple[str, ...]
    media: frozenset[str]
    longest: int
    version: str


class Served:
    """A pipeline under a name.

    name (str): As requests call it.
    given (Given): A pipeline, or its folder or package.
    options (Options): Which scores are given where a request does not say.
    limits (ServiceLimits): Of batches and of the queue.
    watch (Callable): Told the texts of each batch and the seconds it took.
    """

    def __init__(
        self, name: str, given: Given, options: Options, limits: ServiceLimits, watch: Callable[[int, float], None]
    ) -> None:
        self.name = name
        self._given, self._options, self._limits, self._watch = given, options, limits, watch
        self._loading = threading.Lock()
        self._is_closed = False
        self.loaded: Loaded | None = None

    def load(self) -> None:
        """Load it, beside the one that is in use if there is one, and put it in its place when it is warm.

        RAISES: What `spacy.load` raises; ValueError with T527 for a pipeline without a spacy-transfer component, T006
            for one that was never trained.
        """
        with self._loading:
            nlp = self._given if isinstance(self._given, Language) else load_pipeline(self._given)
            made = self._make(nlp)
            made.lane.start()
            old, self.loaded = self.loaded, made
            if self._is_closed:
                made.lane.close()
        if old is not None:
            # What it has accepted it still answers.
            old.lane.close()
            old.lane.join()

    @property
    def may_change(self) -> bool:
        """Whether there is something to load again."""
        return not isinstance(self._given, Language)

    def _make(self, nlp: Language) -> Loaded:
        scoring = make_scoring(nlp, keeps_docs=False)
        require_documents(scoring.components)
        check_components(scoring.components, self._options)
        attributes, media = tuple(attributes_read_by(nlp)), frozenset(media_read_in(nlp))
        most = self._limits.batch
        lane = Lane(
            scoring, lambda: _warm_up(scoring, most, attributes), name=self.name, most_texts=most,
            most_waiting=self._limits.queue, watch=self._watch,
        )  # fmt: skip
        # spaCy refuses longer ones.
        longest = (
            self._limits.length if isinstance(scoring, DirectScoring) else min(self._limits.length, nlp.max_length)
        )
        pipes = active_classifiers(nlp)
        return Loaded(
            lane, scoring, tuple(pipe.exclusive for pipe in pipes), tuple(pipe.cfg["threshold"] for pipe in pipes),
            attributes, media, longest, str(nlp.meta.get("version", "")),
        )  # fmt: skip

    @property
    def n_waiting(self) -> int:
        """Texts in the queue."""
        return self.loaded.lane.n_waiting if self.loaded is not None else 0

    def submit(self, rows: Sequence[Row], loaded: Loaded) -> Future[Floats] | None:
        """Put the texts of a request into the queue.

        rows (Sequence[Row]): The texts.
        loaded (Loaded): What they were checked for.
        RETURNS (Future | None): Scores, (n_rows, n_labels); None where another pipeline has come into its place.
        RAISES (QueueFull): Where there is no place for them.
        """
        try:
            return loaded.lane.submit(rows).done
        except LaneClosed:
            return None

    def close(self) -> None:
        """Finish what was accepted, and stop."""
        self._is_closed = True
        if (loaded := self.loaded) is not None:
            loaded.lane.close()
            loaded.lane.join()


def _warm_up(scoring: Scoring, n_texts: int, attributes: Sequence[str]) -> None:
    """What is made at a first use is made before the first request, and memory for a full batch is there."""
    # Features of documents may refuse ones that have nothing.
    with suppress(*([ValueError] if attributes else [])):
        scoring.score([row_of("warm", {})])
        scoring.score([row_of(_WARM, {})] * n_texts)
