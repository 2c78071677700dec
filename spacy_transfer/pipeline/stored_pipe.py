"""Saves a spacy-transfer component to disk or to one message, and loads it."""

import json
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from packaging.version import InvalidVersion, Version
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.util import SimpleFrozenList, from_bytes, to_bytes

from ..errors import T006, T082, T083, T303
from ..files import new_contents, repair
from ..files.fields import OBJECT, TEXT, Kind, is_whole, shown, take
from ..files.strangers import MEGABYTE, UnusableFile, parse_object, read_object
from ..json_types import JsonObject
from .interface import NetworkInterface
from .sources import register_attributes

# Form of what `to_disk` writes; raised when an older version could not read it.
FORMAT = 1
_PACKAGE = "spacy-transfer"
# Of a hundred thousand labels with long names it is 20.
_MOST_BYTES = 200 * MEGABYTE
Self = TypeVar("Self", bound="StoredPipe")


class StoredPipe(TrainablePipe):  # type: ignore[misc]
    """A component whose model has a `NetworkInterface`.

    cfg (JsonObject): What the component is and has learned, JSON-able. Of it only `learned` is stored: settings
        stand in the config, where a value that is given at load, or edited in config.cfg, counts. Each of its keys must
        be of its kind. `learned_later` is an object for each key, and stored once there is something in it.
    """

    cfg: JsonObject
    learned: Mapping[str, Kind] = MappingProxyType({})
    learned_later: Mapping[str, Kind] = MappingProxyType({})

    @property
    @abstractmethod
    def _net(self) -> NetworkInterface:
        """The interface of its model, for one use."""

    def _require_weights(self) -> None:
        """RAISES (ValueError): T006 before `initialize` or loading."""
        if not self._net.is_built:
            raise ValueError(T006.format(name=self.name))

    def _note_machine(self, nlp: Language | None) -> None:
        """What the network computes on, and versions, go into the pipeline's meta.json."""
        if nlp is not None:
            nlp.meta.setdefault("spacy_transfer", {})[self.name] = self._net.computes_with()

    def _check_cfg(
        self, learned: Mapping[str, object], network: Mapping[str, object] | None, where: Path | str
    ) -> None:
        """Compare what a stored component has learned with itself.

        network (Mapping | None): What is stored of its network.
        where (Path | str): The file, for messages.
        RAISES (UnusableFile): T451 for values that do not go together.
        """

    def _cfg_was_read(self) -> None:
        """`cfg` is that of a stored component now."""

    def _model_was_read(self) -> None:
        """Weights and `cfg` are those of a stored component now."""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Write `cfg`, `weights.safetensors`, `tokenizer.json`, `encoder.json` and the encoder's license.

        All of them are the new ones, or all are those that were there, whatever happens meanwhile.

        RAISES (OSError): T372 for a full disk; what the file system says otherwise.
        """
        folder = Path(path)
        with new_contents(folder, last="cfg") as made:
            cfg = self._cfg_to_store()
            if "model" not in exclude and self._net.is_built:
                cfg["network"] = self._net.save(made)
            if "vocab" not in exclude:
                self.vocab.to_disk(folder / "vocab", exclude=exclude)
            (made / "cfg").write_text(json.dumps(cfg, indent=2), "utf-8")

    def from_disk(self: Self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> Self:
        """Read what `to_disk` wrote; without the network, and without the encoder it started from.

        RAISES (OSError): T082 for files that are missing, cut short or altered, T450 to T455 for values that cannot be
            used.
        RAISES (ValueError): T083 for a form that this version does not know.
        """
        folder = Path(path)
        # Writing may have been interrupted.
        repair(folder)
        try:
            cfg = read_object(folder / "cfg", _MOST_BYTES)
        except UnusableFile as error:
            raise OSError(T082.format(file=folder / "cfg", error=error)) from error
        network = self._take_cfg(cfg, folder / "cfg")
        if "vocab" not in exclude and (folder / "vocab").exists():
            self.vocab.from_disk(folder / "vocab", exclude=exclude)
        if network is not None and "model" not in exclude:
            self._net.load(folder, network)
            self._model_was_read()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """The component as one message (msgpack, weights as safetensors inside)."""
        serialize: dict[str, Callable[[], object]] = {
            # srsly writes no more than ten digits, and a threshold that moves between two scores is another one.
            "cfg": lambda: json.dumps(self._cfg_to_store()),
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
            "model": self.model.to_bytes,
        }
        data: bytes = to_bytes(serialize, exclude)
        return data

    def from_bytes(self: Self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()) -> Self:
        """Read what `to_bytes` gave."""
        deserialize: dict[str, Callable[[bytes], object]] = {
            "cfg": lambda b: self._take_cfg(parse_object(b, "the message"), "the message"),
            "vocab": lambda b: self.vocab.from_bytes(b, exclude=exclude),
            "model": self.model.from_bytes,
        }
        from_bytes(bytes_data, deserialize, exclude)
        if "model" not in exclude and self._net.is_built:
            self._model_was_read()
        return self

    def _cfg_to_store(self) -> dict[str, object]:
        learned = {key: self.cfg[key] for key in self.learned}
        learned |= {key: self.cfg[key] for key in self.learned_later if self.cfg[key]}
        return {**learned, "format": FORMAT, "written_by": version(_PACKAGE)}

    def _compare_versions(self, found: object) -> None:
        try:
            is_newer = Version(str(found)) > Version(version(_PACKAGE))
        except InvalidVersion:
            return
        if is_newer:
            warnings.warn(T303.format(name=self.name, found=found, installed=version(_PACKAGE)), stacklevel=2)

    def _take_cfg(self, cfg: JsonObject, where: Path | str) -> dict[str, object] | None:
        found = cfg.get("format")
        if not is_whole(found) or found != FORMAT:
            raise ValueError(T083.format(folder=where, found=shown(found), known=FORMAT))
        known = take(where, cfg, self.learned, {"written_by": TEXT, "network": OBJECT, **self.learned_later})
        known = {**{key: {} for key in self.learned_later}, **known}
        self._compare_versions(known.pop("written_by", None))
        network: JsonObject | None = known.pop("network", None)
        self._check_cfg(known, network, where)
        self.cfg.update(known)
        # What the documents bring along, nobody need register before the pipeline runs.
        register_attributes(self._net.sources)
        self._cfg_was_read()
        return network
