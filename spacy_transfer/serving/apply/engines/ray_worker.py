"""What runs in a worker of a Ray cluster: it holds a pipeline, and scores rows."""

import os
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ....errors import T602
from ....json_types import JsonObject
from ....training.device import use_device
from .engine import Facts, LoadedPipeline, Scored, computing
from .shipping import ShippedPipeline, ShippedRows

_LONGEST = 500
_CODE = re.compile(r"\[T\d{3}\]")


@dataclass(frozen=True)
class Greeting:
    """What a worker says when it is ready.

    facts (Facts): Of its pipeline.
    host (str): Its machine.
    pid (int): Its process.
    version (str): Of spacy-transfer there.
    """

    facts: Facts
    host: str
    pid: int
    version: str


class Worker:
    """Loads a pipeline and scores with it until it is lost; then Ray starts it again elsewhere.

    shipped (ShippedPipeline): The pipeline.
    machine (dict): How the run computes, as far as it is known.
    folder (Path): Of the run, for messages.
    keeps_docs (bool): Whether documents are written.
    on_gpu (bool): Whether it has a GPU.
    """

    def __init__(
        self, shipped: ShippedPipeline, machine: JsonObject, folder: Path, *, keeps_docs: bool, on_gpu: bool
    ) -> None:
        self._error: Exception | None = None
        self._computing = ExitStack()
        try:
            use_device(0 if on_gpu else -1)
            self._machine = self._computing.enter_context(computing(machine))
            nlp = shipped.load()
            self._loaded = LoadedPipeline(nlp, self._machine, keeps_docs=keeps_docs, folder=folder)
        except Exception as error:
            # An error here would be a worker that is lost, which Ray starts again and again.
            self._error = _plain(error)

    def greet(self) -> Greeting:
        """Say that the pipeline is loaded.

        RETURNS (Greeting): Who says so.
        RAISES (Exception): What loading raised.
        """
        if self._error is not None:
            raise self._error
        return Greeting(self._loaded.facts, socket.gethostname(), os.getpid(), version("spacy-transfer"))

    def score(self, rows: ShippedRows) -> Scored:
        """Score rows.

        rows (ShippedRows): Of a block.
        RETURNS (Scored): What comes of them.
        """
        if self._error is not None:
            raise self._error
        with computing(self._machine):
            return self._loaded.score(rows.unpack(self._loaded.nlp.vocab))


def _plain(error: Exception) -> Exception:
    """An error that another process can read, with a code of this package."""
    if _CODE.search(str(error)) and type(error).__module__ == "builtins":
        return error
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
    return RuntimeError(T602.format(host=socket.gethostname(), reason=reason, version=version("spacy-transfer")))
