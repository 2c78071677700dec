"""A network as plain data, saved to files or to one message and loaded again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import srsly
import torch
from torch import Tensor

from ...errors import T082, T082_LISTED
from ...files import RunningSha256, write_text
from ...files.fields import FLAG, SHA256, Kind, dict_of, list_of, real, refuse, take, whole
from ...files.strangers import parse_object, read_string
from ...json_types import JsonMapping, JsonObject
from ...nn.building import no_larger_than
from ...nn.encoders.config import naming_sizes
from ...nn.encoders.record import clean_record, read_record
from ...repository.tokenizer_files import MOST_BYTES
from .weights import check_file, read_weights, weights_from_bytes, weights_to_bytes, write_weights

_WEIGHTS, _TOKENIZER, _RECORD = "weights.safetensors", "tokenizer.json", "encoder.json"
_COUNT = whole(0, 2**53)
# What a network of any kind may store beside its files; which of it must be there, the shim says.
STATE: Mapping[str, Kind] = {
    "n_steps": _COUNT, "n_labels": whole(0, 2**31), "label_weights": list_of(real(0)), "n_draws": _COUNT,
    "awaited": list_of(whole(0, 2**31), distinct=True), "balanced": FLAG, "n_features": whole(0, 2**31),
    "width": whole(1, 2**31), "n_groups": whole(0, 2**31),
}  # fmt: skip


@dataclass(frozen=True)
class StoredNetwork:
    """What is kept of a network.

    record (dict): What rebuilds the encoder offline, as `LoadedEncoder.record`; JSON-able. Empty, and the tokenizer
        with it, where the encoder is another component's.
    tokenizer (str): The tokenizer as JSON.
    weights (dict[str, Tensor]): By name, fp32.
    state (dict): Whatever else the shim needs; JSON-able.
    """

    record: JsonObject
    tokenizer: str
    weights: Mapping[str, Tensor]
    state: JsonObject

    def to_folder(self, folder: Path) -> JsonObject:
        """Write weights.safetensors, tokenizer.json, encoder.json and the encoder's license into a folder.

        RETURNS (dict): What `from_folder` needs beside them: state and checksums.
        """
        checksums = {"weights.safetensors": write_weights(self.weights, folder / "weights.safetensors")}
        if self.record:
            checksums["tokenizer.json"] = write_text(folder / "tokenizer.json", self.tokenizer)
            checksums["encoder.json"] = write_text(folder / "encoder.json", json.dumps(self.record, indent=2))
        if self.record.get("license"):
            write_text(folder / "LICENSE.encoder", self.record["license"])
        return {**self.state, "sha256": checksums}

    @classmethod
    def from_folder(
        cls, folder: Path, state: JsonMapping, *, needed: tuple[str, ...], has_encoder: bool
    ) -> "StoredNetwork":
        """Read what `to_folder` wrote.

        folder (Path): The folder.
        state (Mapping): What `to_folder` gave.
        needed (tuple[str, ...]): What the state must hold.
        has_encoder (bool): Whether the encoder is stored too.
        RETURNS (StoredNetwork): Checked.
        RAISES (OSError): T082 for a file that is missing, cut short, altered or not listed; T450 to T453 for one that
            holds what cannot be used.
        """
        cfg, names = folder / "cfg", [_WEIGHTS, *([_TOKENIZER, _RECORD] if has_encoder else [])]
        checksums = take(cfg, state, {"sha256": dict_of(SHA256)}, within="network.")["sha256"]
        plain = _clean_state(state, cfg, needed)
        for name in sorted({*names, *checksums}):
            if name not in names or name not in checksums:
                raise OSError(T082.format(file=cfg, error=T082_LISTED.format(name=repr(name)[:80])))
            check_file(folder / name, checksums[name])
        tokenizer = read_string(folder / _TOKENIZER, MOST_BYTES) if has_encoder else ""
        record = read_record(folder / _RECORD) if has_encoder else {}
        return cls(record, tokenizer, read_weights(folder / _WEIGHTS), plain)

    def to_bytes(self) -> bytes:
        """All of it as one message."""
        message = {
            "state": self.state,
            "encoder": json.dumps(self.record),
            "tokenizer": self.tokenizer,
            "weights": weights_to_bytes(self.weights),
        }
        return srsly.msgpack_dumps(message)

    def digest(self) -> str:
        """SHA-256 of all of it, as 64 hexadecimal digits. The message would copy the weights several times."""
        digest = RunningSha256(json.dumps([self.state, self.record, self.tokenizer], sort_keys=True).encode("utf-8"))
        for name, weight in sorted(self.weights.items()):
            digest.update(json.dumps([name, str(weight.dtype), list(weight.shape)]).encode("utf-8"))
            digest.update(weight.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, needed: tuple[str, ...], has_encoder: bool) -> "StoredNetwork | None":
        """Read what `to_bytes` gave; None for the message of a network that has no weights yet.

        data (bytes): A message.
        needed (tuple[str, ...]): As in `from_folder`.
        has_encoder (bool): As in `from_folder`.
        RETURNS (StoredNetwork | None): None without weights.
        RAISES (OSError): T082 for damaged weights; T450 to T453 for what cannot be used.
        """
        message = srsly.msgpack_loads(data)
        if not message:
            return None
        where = "the message"
        weights = weights_from_bytes(message["weights"])
        record = clean_record(parse_object(message["encoder"], where), where) if has_encoder else {}
        return cls(record, message["tokenizer"], weights, _clean_state(message["state"], where, needed))


@contextmanager
def room_for(stored: StoredNetwork) -> Iterator[None]:
    """Within: pooling and head are built, with no more room than their stored weights need.

    RAISES (UnusableFile): T451 for a number of labels that they do not have, T453 for other sizes.
    """
    state, shapes = stored.state, [tuple(weight.shape) for weight in stored.weights.values()]
    n_labels = state["n_labels"]
    if len(state["label_weights"]) != n_labels or max(state.get("awaited", ()), default=-1) >= n_labels:
        want = f"the number of labels, as in network.label_weights ({len(state['label_weights'])})"
        refuse("cfg", "network.n_labels", n_labels, want)
    with naming_sizes({f"network.{key}": value for key, value in state.items()}, "cfg"), no_larger_than(shapes):
        yield


def _clean_state(state: JsonMapping, file: Path | str, needed: tuple[str, ...]) -> dict[str, object]:
    must = {key: kind for key, kind in STATE.items() if key in needed}
    return take(file, state, must, STATE, within="network.")
