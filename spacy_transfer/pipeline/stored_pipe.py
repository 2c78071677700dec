"""A component of ours on disk and in one message."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import srsly
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.util import SimpleFrozenList, from_bytes, to_bytes

from ..errors import T006, T082, T083
from ..files import new_contents, repair

# Form of what `to_disk` writes; raised when an older version could not read it.
FORMAT = 1
Self = TypeVar("Self", bound="StoredPipe")


class StoredPipe(TrainablePipe):  # type: ignore[misc]
    """A component with a model whose attrs hold `is_built`, `save_network` and `load_network`; `cfg` is JSON-able."""

    cfg: dict[str, Any]

    def _require_weights(self) -> None:
        """RAISES (ValueError): T006 before `initialize` or loading."""
        if not self.model.attrs["is_built"](self.model):
            raise ValueError(T006.format(name=self.name))

    def _cfg_was_read(self) -> None:
        """`cfg` is that of a stored component now."""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Write `cfg`, `weights.safetensors`, `tokenizer.json`, `encoder.json` and the encoder's licence.

        All of them are the new ones, or all are those that were there, whatever happens meanwhile.

        RAISES (OSError): T372 for a full disk; what the file system says otherwise.
        """
        folder = Path(path)
        with new_contents(folder, last="cfg") as made:
            cfg = {**self.cfg, "format": FORMAT}
            if "model" not in exclude and self.model.attrs["is_built"](self.model):
                cfg["network"] = self.model.attrs["save_network"](self.model, made)
            if "vocab" not in exclude:
                self.vocab.to_disk(folder / "vocab", exclude=exclude)
            (made / "cfg").write_text(json.dumps(cfg, indent=2), "utf-8")

    def from_disk(self: Self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> Self:
        """Read what `to_disk` wrote; without the network, and without the encoder it started from.

        RAISES (OSError): T082 for files that are missing, cut short or altered.
        RAISES (ValueError): T083 for a form that this version does not know.
        """
        folder = Path(path)
        # Writing may have been interrupted.
        repair(folder)
        try:
            cfg = json.loads((folder / "cfg").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise OSError(T082.format(file=folder / "cfg", error=error)) from error
        if not isinstance(cfg, dict):
            raise OSError(T082.format(file=folder / "cfg", error="it holds no settings"))
        network = self._take_cfg(cfg, folder)
        if "vocab" not in exclude and (folder / "vocab").exists():
            self.vocab.from_disk(folder / "vocab", exclude=exclude)
        if network is not None and "model" not in exclude:
            self.model.attrs["load_network"](self.model, folder, network)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """The component as one message (msgpack, weights as safetensors inside)."""
        serialize: dict[str, Callable[[], Any]] = {
            "cfg": lambda: srsly.json_dumps({**self.cfg, "format": FORMAT}),
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
            "model": self.model.to_bytes,
        }
        data: bytes = to_bytes(serialize, exclude)
        return data

    def from_bytes(self: Self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()) -> Self:
        """Read what `to_bytes` gave."""
        deserialize: dict[str, Callable[[bytes], Any]] = {
            "cfg": lambda b: self._take_cfg(srsly.json_loads(b), "the message"),
            "vocab": lambda b: self.vocab.from_bytes(b, exclude=exclude),
            "model": self.model.from_bytes,
        }
        from_bytes(bytes_data, deserialize, exclude)
        return self

    def _take_cfg(self, cfg: dict[str, Any], where: Path | str) -> dict[str, Any] | None:
        found = cfg.pop("format", None)
        if found != FORMAT:
            raise ValueError(T083.format(folder=where, found=found, known=FORMAT))
        network: dict[str, Any] | None = cfg.pop("network", None)
        self.cfg.update(cfg)
        self._cfg_was_read()
        return network
