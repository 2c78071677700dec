"""An exported network as plain data, saved to files or to one message and loaded again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import srsly

from ...errors import T082, T082_LISTED
from ...files import write_data, write_text
from ...files.fields import SHA256, TEXT, Kind, dict_of, list_of, maybe, one_of, real, take, whole
from ...files.strangers import read_string
from ...json_types import JsonMapping, JsonObject
from ...repository.tokenizer_files import MOST_BYTES, TOKENIZER_FILE
from .graph_bytes import GraphBytes

ENCODER, TOP, LICENSE = "encoder.onnx", "head.onnx", "LICENSE.encoder"
_FILES = (ENCODER, TOP, TOKENIZER_FILE)
_COUNT = whole(0, 2**31)
# What it needs beside its files.
STATE: Mapping[str, Kind] = {
    "n_labels": _COUNT, "precision": one_of("fp32", "int8"), "pad_id": _COUNT, "max_pieces": maybe(whole(1, 2**31)),
    "n_pieces": whole(1, 2**31), "width": whole(1, 2**31), "row_multiple": whole(1, 2**20),
    "reads": one_of("vectors", "states"), "n_features": _COUNT, "probe": list_of(list_of(whole(0, 2**31))),
    "scores": list_of(list_of(real(0, 1))), "encoder": dict_of(maybe(TEXT)),
}  # fmt: skip


@dataclass(frozen=True)
class StoredGraphs:
    """What is kept of an exported network.

    state (JsonObject): What the runtime must know of it, JSON-able: precision and sizes; what the head reads ("vectors"
        or "states"); `probe`, piece ids of two documents, and `scores`, theirs where it was exported; which encoder it
        was made from.
    tokenizer (str): The tokenizer as JSON.
    encoder (GraphBytes): Piece ids to states.
    top (GraphBytes): States to scores and vectors.
    license (str): Of the encoder.
    """

    state: JsonObject
    tokenizer: str
    encoder: GraphBytes
    top: GraphBytes
    license: str = ""

    def to_folder(self, folder: Path) -> JsonObject:
        """Write encoder.onnx, head.onnx, tokenizer.json and the encoder's license into a folder.

        RETURNS (JsonObject): What `from_folder` needs beside them: state and checksums.
        """
        checksums = {
            ENCODER: write_data(folder / ENCODER, self.encoder.read()),
            TOP: write_data(folder / TOP, self.top.read()),
            TOKENIZER_FILE: write_text(folder / TOKENIZER_FILE, self.tokenizer),
        }
        if self.license:
            write_text(folder / LICENSE, self.license)
        return {**self.state, "sha256": checksums}

    @classmethod
    def from_folder(cls, folder: Path, state: JsonMapping) -> "StoredGraphs":
        """Read what `to_folder` wrote.

        folder (Path): The folder.
        state (Mapping): What `to_folder` gave.
        RETURNS (StoredGraphs): Checked; the graphs are read and compared with their checksums where they are used.
        RAISES (OSError): T082 for a file that is missing or not listed; T450, T451 for values that cannot be used.
        """
        file = folder / "cfg"
        plain = clean_state(state, file)
        checksums = take(file, state, {"sha256": dict_of(SHA256)}, within="network.")["sha256"]
        for name in sorted({*_FILES, *checksums}):
            if name not in _FILES or name not in checksums:
                raise OSError(T082.format(file=file, error=T082_LISTED.format(name=repr(name)[:80])))
        graphs = {name: GraphBytes.of_file(folder / name, checksums[name]) for name in _FILES}
        # Checks its checksum.
        tokenizer = graphs[TOKENIZER_FILE].read().decode("utf-8", "strict")
        terms = read_string(folder / LICENSE, MOST_BYTES) if (folder / LICENSE).is_file() else ""
        return cls(plain, tokenizer, graphs[ENCODER], graphs[TOP], terms)

    def to_bytes(self) -> bytes:
        """All of it as one message."""
        message = {
            "state": self.state, "tokenizer": self.tokenizer, "license": self.license, "encoder": self.encoder.read(),
            "top": self.top.read(),
        }  # fmt: skip
        data: bytes = srsly.msgpack_dumps(message)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "StoredGraphs | None":
        """Read what `to_bytes` gave.

        data (bytes): A message.
        RETURNS (StoredGraphs | None): None for the message of a network that was not loaded.
        RAISES (OSError): T450, T451 for values that cannot be used.
        """
        message = srsly.msgpack_loads(data)
        if not message:
            return None
        where = "the message"
        encoder, top = (GraphBytes(bytes(message[name]), where) for name in ("encoder", "top"))
        state = clean_state(message["state"], where)
        return cls(state, message["tokenizer"], encoder, top, message["license"])


def clean_state(state: JsonMapping, file: Path | str) -> JsonObject:
    """The values that are known, checked.

    state (Mapping): As `StoredGraphs.state`.
    file (Path | str): Where it comes from.
    RAISES (UnusableFile): T451.
    """
    return take(file, state, STATE, within="network.")
