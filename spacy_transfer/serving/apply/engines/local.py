"""Scores rows in this process."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.language import Language
from thinc.compat import has_torch

from ....files import sha256_of_folder, sha256_of_parts
from ....json_types import JsonObject
from ....pipeline.components import classifiers_of
from ....pipeline.interface import classifier_of
from ....pipeline.loading import load_pipeline
from .engine import Engine, Facts, LoadedPipeline, Scored, Work, computing

if TYPE_CHECKING:
    from spacy.vocab import Vocab

    from ....model.architectures.classifier import OwnEncoderClassifier
    from ....pipeline.textcat import TransferTextCategorizer


class LocalEngine:
    """One block after the other.

    loaded (LoadedPipeline): The pipeline.
    is_own (bool): Whether it was loaded here, from files that nothing has changed since.
    """

    def __init__(self, loaded: LoadedPipeline, *, is_own: bool) -> None:
        self._loaded, self._is_own = loaded, is_own

    @property
    def facts(self) -> Facts:
        """See `Engine`."""
        return self._loaded.facts

    @property
    def vocab(self) -> "Vocab | None":
        """See `Engine`."""
        return self._loaded.nlp.vocab if self.facts.makes_docs else None

    def digest(self) -> str:
        """See `Engine`."""
        nlp = self._loaded.nlp
        return sha256_of_folder(nlp.path) if self._is_own else digest_of_loaded(nlp)

    def score_all(self, works: Iterable[Work]) -> Generator[tuple[Work, Scored], None, None]:
        """See `Engine`."""
        for work in works:
            yield work, self._loaded.score(work.new)


@contextmanager
def local_engine(
    pipeline: Language | str | Path, machine: JsonObject, folder: Path, *, keeps_docs: bool
) -> Iterator[Engine]:
    """Load a pipeline; within, it computes as the run began.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    machine (dict): How the run computes, as far as it is known.
    folder (Path): Of the run, for messages.
    keeps_docs (bool): Whether documents are written.
    YIELDS (Engine): Scores in this process.
    RAISES (ValueError): As `LoadedPipeline`, and what loading raises.
    """
    with computing(machine) as settled:
        is_own = not isinstance(pipeline, Language)
        nlp = pipeline if isinstance(pipeline, Language) else load_pipeline(pipeline)
        yield LocalEngine(LoadedPipeline(nlp, settled, keeps_docs=keeps_docs, folder=folder), is_own=is_own)


def digest_of_loaded(nlp: Language) -> str:
    """SHA-256 of a pipeline in memory, without its vocabulary, to which every text that it reads adds words.

    nlp (Language): The pipeline.
    RETURNS (str): 64 hexadecimal digits.
    """
    # As bytes of the pipeline, weights would be copied several times, more than a second for a small encoder.
    own = _with_own_weights(nlp) if has_torch else {}
    # A tokenizer may be any function.
    plain = [] if hasattr(nlp.tokenizer, "to_bytes") else ["tokenizer"]
    parts = [nlp.to_bytes(exclude=["vocab", *plain, *own])]
    for pipe, net in own.values():
        parts += [pipe.to_bytes(exclude=["vocab", "model"]), net.shim.digest().encode("ascii")]
        parts += [layer.to_bytes() for layer in pipe.model.layers]
    return sha256_of_parts(parts)


def _with_own_weights(nlp: Language) -> "dict[str, tuple[TransferTextCategorizer, OwnEncoderClassifier]]":
    """By name of the component; where torch is not installed there are none, only exported ones."""
    from ....model.architectures.classifier import OwnEncoderClassifier

    return {
        pipe.name: (pipe, net)
        for pipe in classifiers_of(nlp).values()
        if isinstance(net := classifier_of(pipe.model), OwnEncoderClassifier)
    }
