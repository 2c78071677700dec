"""The shim of an exported classifier: texts to rows of pieces, through two graphs, to scores."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn, final

import numpy as np
import srsly
from numpy.typing import NDArray
from thinc.shims import Shim

from ...errors import T006, T550
from ...json_types import JsonMapping, JsonObject
from ...pipeline.interface import Floats
from ..text.batching import RowArrays, micro_batches, row_arrays
from ..text.reader import Document, TextReader
from ..text.text import Text
from ..text.tokenizer import PieceTokenizer, check_rows
from ..text.windows import Row, Windows
from .session import GraphSession, Threads, runtime_version
from .stored import StoredGraphs

# Most pieces in a micro-batch where the config leaves it open.
_PIECES = 4096
# Of two texts, between here and where it was exported. int8 rounds values that lie between two numbers either way.
_TOLERANCES = {"fp32": 1e-3, "int8": 0.05}


@dataclass(frozen=True)
class OnnxSettings:
    """The blocks of a `spacy-transfer.OnnxClassifier.v1`; see there."""

    exclusive: bool
    text: Text
    windows: Windows
    piece_budget: int | Literal["auto"]
    threads: Threads


@dataclass(frozen=True)
class _Loaded:
    """What is there from `load` on."""

    stored: StoredGraphs
    reader: TextReader
    encoder: GraphSession
    top: GraphSession


@final
class OnnxShim(Shim):  # type: ignore[misc]
    """Holds tokenizer and graphs from `load` on, and runs them.

    settings (OnnxSettings): The blocks of the config.
    """

    def __init__(self, settings: OnnxSettings) -> None:
        super().__init__(None)
        self.settings = settings
        self._loaded: _Loaded | None = None

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether there are graphs."""
        return self._loaded is not None

    @property
    def state(self) -> JsonObject:
        """What is known of the network; see `StoredGraphs`.

        RAISES (ValueError): T006 before loading.
        """
        return self._there.stored.state

    @property
    def license(self) -> str:
        """Of the encoder that the network was made from; empty if it is not known.

        RAISES (ValueError): T006 before loading.
        """
        return self._there.stored.license

    @property
    def window_length(self) -> int:
        """Most pieces in a row, those included that the encoder adds.

        RAISES (ValueError): T006 before loading.
        """
        return self._there.reader.windows.length

    @property
    def _there(self) -> _Loaded:
        if self._loaded is None:
            raise ValueError(T006.format(name="transfer_classifier"))
        return self._loaded

    @property
    def computes_with(self) -> JsonObject:
        """What the network computes with, JSON-able."""
        return {"runtime": f"onnxruntime {runtime_version()}", "precision": self.state["precision"]}

    def take(self, stored: StoredGraphs, *, tries: bool = True) -> None:
        """Hold an exported network.

        stored (StoredGraphs): The network.
        tries (bool): Compare its scores with those of where it was exported.
        RAISES (OSError): T082 for altered files, T455 for a tokenizer of another encoder.
        RAISES (UnusableFile): T544 for graphs that the runtime cannot run.
        RAISES (ValueError): T021 to T023 for windows that do not fit the encoder.
        RAISES (ImportError): T081 without onnxruntime.
        """
        state, threads = stored.state, self.settings.threads
        tokenizer = PieceTokenizer(stored.tokenizer)
        check_rows(tokenizer, state["n_pieces"], str(stored.encoder.name))
        reader = TextReader(tokenizer, self.settings.windows.fitted(tokenizer, state["max_pieces"]))
        encoder = GraphSession(stored.encoder, ENCODER_INPUTS, threads)
        self._loaded = _Loaded(stored, reader, encoder, GraphSession(stored.top, top_inputs(state), threads))
        if tries:
            self._compare()

    def probe_scores(self) -> Floats:
        """Compute the scores of the documents that are stored to compare machines with, (n_docs, n_labels)."""
        state = self.state
        rows = [Document([Row(np.asarray(ids, dtype=np.int32), (0, len(ids)))]) for ids in state["probe"]]
        return self._run("scores", rows, np.zeros((len(rows), state["n_features"]), dtype=np.float32))

    def stored_with(self, **values: object) -> StoredGraphs:
        """What is stored of the network, with other values in its state."""
        stored = self._there.stored
        return replace(stored, state={**stored.state, **values})

    def _compare(self) -> None:
        """Warn where this machine computes other scores than the one that exported the network."""
        state = self.state
        expected = np.asarray(state["scores"], dtype=np.float32)
        found = self.probe_scores()
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        if not difference <= _TOLERANCES[state["precision"]]:
            warnings.warn(T550.format(name=self._there.stored.encoder.name, difference=difference), stacklevel=2)

    # ---- prediction ----------------------------------------------------------------------------------------------

    def scores(self, texts: Sequence[str], joined: Floats | None = None) -> Floats:
        """Compute scores of texts.

        texts (Sequence[str]): Cleaned.
        joined (Floats | None): What is joined to their vectors, (n_texts, n_features).
        RETURNS (Floats): (n_texts, n_labels).
        """
        return self._outputs("scores", texts, joined, self.state["n_labels"])

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Compute vectors of texts, (n_texts, width), as the pooling gives them."""
        return self._outputs("vectors", texts, None, self.state["width"])

    def _outputs(self, output: str, texts: Sequence[str], joined: Floats | None, width: int) -> Floats:
        documents = self._there.reader.read(texts, remember=False)
        budget = _PIECES if self.settings.piece_budget == "auto" else self.settings.piece_budget
        found = np.zeros((len(texts), width), dtype=np.float32)
        given = np.zeros((len(texts), self.state["n_features"]), dtype=np.float32) if joined is None else joined
        for group in micro_batches(documents, budget, "cpu"):
            found[group] = self._run(output, [documents[i] for i in group], given[group])
        return found

    def _run(self, output: str, documents: Sequence[Document], joined: Floats) -> Floats:
        state = self.state
        rows = row_arrays(documents, state["pad_id"])
        values: dict[str, NDArray[np.generic]] = {
            "states": self._states(rows), "counted": rows.counted.astype(np.int64), "owner": rows.owner,
            "n_rows": np.asarray([len(document) for document in documents], dtype=np.int64),
        }  # fmt: skip
        if state["reads"] == "states":
            values["places"] = places_of(rows, len(documents))
        if state["n_features"]:
            values["joined"] = np.ascontiguousarray(joined, dtype=np.float32)
        return self._there.top.run(output, values)

    def _states(self, rows: RowArrays) -> NDArray[np.float32]:
        """States of rows; those of a long document in parts, as large as a micro-batch."""
        ids, mask = rows.ids, rows.inside.astype(np.int64)
        n_rows, n_pieces = ids.shape
        more = -n_pieces % self.state["row_multiple"]
        if more:
            ids = np.pad(ids, ((0, 0), (0, more)), constant_values=self.state["pad_id"])
            mask = np.pad(mask, ((0, 0), (0, more)))
        budget = _PIECES if self.settings.piece_budget == "auto" else self.settings.piece_budget
        step = max(1, budget // ids.shape[1])
        encoder = self._there.encoder
        parts = [
            encoder.run("states", {"ids": ids[i : i + step], "mask": mask[i : i + step]})[:, :n_pieces]
            for i in range(0, n_rows, step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def forget_texts(self) -> None:
        """Nothing is kept of texts that are predicted."""

    # ---- Thinc's protocol ----------------------------------------------------------------------------------------

    def __call__(self, inputs: Sequence[str], is_train: bool) -> tuple[Floats, Callable[[object], NoReturn]]:
        """Not for training: there is no gradient."""
        raise NotImplementedError

    def finish_update(self, optimizer: object) -> None:
        """There is nothing to step."""

    def to_device(self, device_type: str, device_id: int) -> None:
        """It stays on the CPU."""

    # ---- storage -------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> JsonObject:
        """Write the network into a folder.

        RETURNS (JsonObject): What `load` needs beside the files: state and checksums.
        """
        return self._there.stored.to_folder(folder)

    def load(self, folder: Path, state: JsonMapping) -> None:
        """Read what `save` wrote.

        RAISES (OSError): As `take`, and T450, T451 for values that cannot be used.
        """
        self.take(StoredGraphs.from_folder(folder, state))

    def to_bytes(self) -> bytes:
        """All of it as one message; empty before loading."""
        empty: bytes = srsly.msgpack_dumps({})
        return empty if self._loaded is None else self._loaded.stored.to_bytes()

    def from_bytes(self, data: bytes) -> "OnnxShim":
        """Read what `to_bytes` gave."""
        if (stored := StoredGraphs.from_bytes(data)) is not None:
            self.take(stored)
        return self

    def __getstate__(self) -> JsonObject:
        return {"settings": self.settings, "bytes": self.to_bytes()}

    def __setstate__(self, state: JsonMapping) -> None:
        self.__init__(state["settings"])
        if (stored := StoredGraphs.from_bytes(state["bytes"])) is not None:
            # A copy of what was tried when it was loaded.
            self.take(stored, tries=False)


ENCODER_INPUTS = ("ids", "mask")


def top_inputs(state: JsonMapping) -> list[str]:
    """Names of the inputs of head.onnx, in order.

    state (Mapping): `reads` and `n_features` of the network.
    """
    more = ["places"] if state["reads"] == "states" else ["joined"] if state["n_features"] else []
    return ["states", "counted", "owner", "n_rows", *more]


def places_of(rows: RowArrays, n_docs: int) -> NDArray[np.int64]:
    """Where the pieces of each document are, each piece once.

    rows (RowArrays): Rows of the documents.
    n_docs (int): Documents.
    RETURNS (NDArray[np.int64]): Numbers of pieces in all rows seen as one, (n_docs, longest); -1 after the last one.
    """
    document = np.repeat(rows.owner, rows.counted.sum(axis=1))
    lengths = np.bincount(document, minlength=n_docs)
    place = np.arange(len(document)) - (lengths.cumsum() - lengths)[document]
    found = np.full((n_docs, int(lengths.max())), -1, dtype=np.int64)
    found[document, place] = np.flatnonzero(rows.counted)
    return found
