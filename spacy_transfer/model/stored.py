"""A network as it is stored: plain data to files or to one message, and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import srsly
from torch import Tensor

from ..files import write_text
from .storage import check_file, read_weights, weights_from_bytes, weights_to_bytes, write_weights


@dataclass(frozen=True)
class StoredNetwork:
    """What is kept of a network.

    record (dict): What rebuilds the encoder offline, as `LoadedEncoder.record`; JSON-able. Empty, and the tokenizer
        with it, where the encoder is another component's.
    tokenizer (str): The tokenizer as JSON.
    weights (dict[str, Tensor]): By name, fp32.
    state (dict): Whatever else the shim needs; JSON-able.
    """

    record: dict[str, Any]
    tokenizer: str
    weights: Mapping[str, Tensor]
    state: dict[str, Any]

    def to_folder(self, folder: Path) -> dict[str, Any]:
        """Write weights.safetensors, tokenizer.json, encoder.json and the encoder's licence into a folder.

        RETURNS (dict): What `from_folder` needs beside them: state and checksums.
        """
        checksums = {"weights.safetensors": write_weights(self.weights, folder / "weights.safetensors")}
        if self.record:
            checksums["tokenizer.json"] = write_text(folder / "tokenizer.json", self.tokenizer)
            checksums["encoder.json"] = write_text(folder / "encoder.json", json.dumps(self.record, indent=2))
        if self.record.get("licence"):
            write_text(folder / "LICENSE.encoder", self.record["licence"])
        return {**self.state, "sha256": checksums}

    @classmethod
    def from_folder(cls, folder: Path, state: Mapping[str, Any]) -> "StoredNetwork":
        """Read what `to_folder` wrote.

        RAISES (OSError): T082 for a file that is missing, cut short or altered.
        """
        for name, checksum in state["sha256"].items():
            check_file(folder / name, checksum)
        whole = "encoder.json" in state["sha256"]
        tokenizer = (folder / "tokenizer.json").read_text("utf-8") if whole else ""
        record = json.loads((folder / "encoder.json").read_text("utf-8")) if whole else {}
        plain = {key: value for key, value in state.items() if key != "sha256"}
        return cls(record, tokenizer, read_weights(folder / "weights.safetensors"), plain)

    def to_bytes(self) -> bytes:
        """All of it as one message."""
        message = {
            "state": self.state,
            "encoder": json.dumps(self.record),
            "tokenizer": self.tokenizer,
            "weights": weights_to_bytes(self.weights),
        }
        return cast(bytes, srsly.msgpack_dumps(message))

    @classmethod
    def from_bytes(cls, data: bytes) -> "StoredNetwork | None":
        """Read what `to_bytes` gave; None for the message of a network that has no weights yet.

        RAISES (OSError): T082 for damaged weights.
        """
        message = srsly.msgpack_loads(data)
        if not message:
            return None
        weights = weights_from_bytes(message["weights"])
        return cls(json.loads(message["encoder"]), message["tokenizer"], weights, message["state"])
