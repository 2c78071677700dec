"""Holds a vision or audio encoder among the features: loaded, frozen by depth, run, stepped, stored as safetensors."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import srsly
import torch
from thinc.api import Optimizer
from thinc.shims import Shim
from thinc.types import ArrayXd
from torch import Tensor, nn

from ....errors import T006, T061, T082
from ....files.fields import NAME, OBJECT, TEXT, check_field, maybe, one_of, take
from ....files.strangers import UnusableFile, parse_object, read_object
from ....json_types import JsonObject
from ....nn.building import no_larger_than
from ....nn.media.encoder import MediaEncoder
from ....nn.media.reading import read_media, rebuild_media, try_media
from ....repository.encoder_folder import PREPROCESSOR
from ....repository.resolve import find_media_encoder
from ...learning.thinc_optimizers import averaged, step_by_weight
from ...storage.weights import fill_weights, weights_from_bytes, weights_of, weights_to_bytes
from .contents import Content, Unreadable
from .medium import Medium, Prepared
from .readers import medium_of_processor, medium_of_record
from .settings import MediaSettings
from .vector_memory import VectorMemory

# Pictures or sounds of one size that are encoded together.
_TOGETHER = 16
_RECORD = {
    "kind": one_of("image", "audio"), "config": OBJECT, "preparation": OBJECT, "source": NAME, "license": maybe(TEXT),
}  # fmt: skip
_STORED = "features.msgpack"


@final
class MediaShim(Shim):  # type: ignore[misc]
    """Contents to vectors, by an encoder of transformers.

    settings (MediaSettings): The block.
    """

    settings: MediaSettings

    def __init__(self, settings: MediaSettings) -> None:
        super().__init__(None)
        self.settings = settings
        self.memory = VectorMemory(settings.memory)
        # Names of what was reported as unreadable.
        self.told: set[str] = set()
        self._record: JsonObject = {}
        self._medium: Medium | None = None
        self._device = torch.device("cpu")

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> MediaEncoder:
        """The encoder.

        RAISES (ValueError): T006 before it has weights.
        """
        if self._model is None:
            raise ValueError(T006.format(name=f"features of {self.settings.attribute}"))
        encoder: MediaEncoder = self._model
        return encoder

    @property
    def medium(self) -> Medium:
        """What reads contents for the encoder.

        RAISES (ValueError): T006 before there is an encoder.
        """
        if self._medium is None:
            raise ValueError(T006.format(name=f"features of {self.settings.attribute}"))
        return self._medium

    def load(self) -> None:
        """Read the encoder from its folder.

        RAISES (ValueError, OSError): What is wrong with the folder, or T061 for a depth that it does not have.
        """
        settings = self.settings
        found = find_media_encoder(settings.encoder)
        encoder, config = read_media(found, settings.kind, settings.pooling)
        file = found.folder / PREPROCESSOR
        medium = medium_of_processor(settings, read_object(file), file, encoder)
        trial = medium.trial()
        try_media(encoder, trial.values[None], None if trial.n_inner is None else [trial.n_inner], found.name)
        record = {"kind": settings.kind, "config": config, "source": found.name, "license": found.license}
        self._take(encoder, medium, {**record, "preparation": medium.to_json()})

    def _take(self, encoder: MediaEncoder, medium: Medium, record: JsonObject) -> None:
        depth = self.settings.frozen_depth
        if depth != "all" and depth > encoder.n_layers:
            raise ValueError(T061.format(frozen=depth, name=record["source"], n_layers=encoder.n_layers))
        encoder.freeze(encoder.n_layers if depth == "all" else depth)
        self._model, self._medium, self._record = encoder.to(self._device), medium, record
        self.memory.clear()

    @property
    def is_empty(self) -> bool:
        """Whether there is no encoder yet."""
        return self._model is None

    @property
    def source(self) -> str:
        """Where the encoder came from."""
        return str(self._record.get("source", ""))

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The weights that are tuned, by name."""
        if self._model is None:
            return {}
        return {name: weight for name, weight in self.encoder.named_parameters() if weight.requires_grad}

    def compute_on(self, device: torch.device) -> None:
        """Move the encoder.

        device (torch.device): Where the classifier computes.
        """
        self._device = device
        if self._model is not None and self.encoder.device != device:
            self._model.to(device)

    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc's `Model.to_gpu` and `to_cpu`."""
        self.compute_on(torch.device(f"cuda:{device_id}" if device_type == "gpu" else "cpu"))

    # ---- encoding ------------------------------------------------------------------------------------------------

    def encode(self, contents: Sequence[Content], is_train: bool) -> tuple[dict[int, Unreadable], Tensor]:
        """Compute vectors.

        contents (Sequence[Content]): Any number.
        is_train (bool): Whether a gradient will come back to weights that are tuned.
        RETURNS (tuple[dict[int, Unreadable], Tensor]): What could not be read, by its place, and vectors of the others
            in their order, (n, width), on the encoder's device; those of equal contents are computed once.
        """
        if self.trainable:
            with torch.set_grad_enabled(is_train):
                return self._computed(contents)
        return self._remembered(contents)

    def _remembered(self, contents: Sequence[Content]) -> tuple[dict[int, Unreadable], Tensor]:
        digests = [content.digest for content in contents]
        found = {digest: vector for digest in digests if (vector := self.memory.get(digest)) is not None}
        unknown = {digest: i for i, digest in enumerate(digests) if digest not in found}
        places = list(unknown.values())
        with torch.no_grad():
            lost, vectors = self._computed([contents[i] for i in places])
        wrong = {digests[places[i]]: error for i, error in lost.items()}
        known = [digest for digest in unknown if digest not in wrong]
        for digest, vector in zip(known, vectors.cpu().numpy(), strict=True):
            found[digest] = vector.copy()
            self.memory.keep(digest, found[digest])
        rows = [found[digest] for digest in digests if digest in found]
        out = np.stack(rows) if rows else np.zeros((0, self.encoder.width), dtype=np.float32)
        named = {i: Unreadable(contents[i].name, wrong[d].reason) for i, d in enumerate(digests) if d in wrong}
        return named, torch.from_numpy(out).to(self.encoder.device)

    def _computed(self, contents: Sequence[Content]) -> tuple[dict[int, Unreadable], Tensor]:
        lost: dict[int, Unreadable] = {}
        waiting: dict[object, list[tuple[int, Prepared]]] = {}
        parts: dict[int, Tensor] = {}
        size = 1 if not torch.is_grad_enabled() and self._device.type == "cpu" else _TOGETHER
        for place, content in enumerate(contents):
            try:
                prepared = self.medium.prepare(content)
            except Unreadable as error:
                lost[place] = error
                continue
            group = waiting.setdefault(prepared.values.shape, [])
            group.append((place, prepared))
            if len(group) == size:
                parts |= self._vectors(group)
                group.clear()
        for group in waiting.values():
            parts |= self._vectors(group)
        rows = [parts[place] for place in sorted(parts)]
        return lost, torch.stack(rows) if rows else torch.zeros((0, self.encoder.width), device=self.encoder.device)

    def _vectors(self, group: Sequence[tuple[int, Prepared]]) -> dict[int, Tensor]:
        if not group:
            return {}
        n_inner = [prepared.n_inner for _, prepared in group if prepared.n_inner is not None]
        inputs = torch.stack([prepared.values for _, prepared in group]).to(self.encoder.device)
        vectors = self.encoder(inputs, n_inner or None)
        return {place: vectors[i] for i, (place, _) in enumerate(group)}

    # ---- learning ------------------------------------------------------------------------------------------------

    def finish_update(self, optimizer: Optimizer) -> None:
        """Let the optimizer move what is tuned; its rate is that of the features.

        optimizer (Optimizer): Of Thinc, or ours.
        """
        weights = {name: weight for name, weight in self.trainable.items() if weight.grad is not None}
        step_by_weight(optimizer, self.id, weights, dict.fromkeys(weights, 1.0), 1.0)
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forget what was summed since the last step."""
        for weight in self.trainable.values():
            weight.grad = None

    @contextlib.contextmanager
    def use_params(self, params: Mapping[tuple[int, str], ArrayXd]) -> Iterator[None]:
        """Within: the tuned weights are the averages that the optimizer kept under (shim id, name)."""
        with averaged(self.trainable, params, self.id):
            yield

    # ---- storage -------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """All that rebuilds the encoder without its folder: a record, and weights as safetensors."""
        if self._model is None:
            return b""
        message = {
            "record": json.dumps(self._record, sort_keys=True),
            "weights": weights_to_bytes(weights_of(self._model)),
        }
        data: bytes = srsly.msgpack_dumps(message)
        return data

    def from_bytes(self, data: bytes) -> "MediaShim":
        """Take what `to_bytes` gave.

        RAISES (UnusableFile): T082, T451, T452, T453 for bytes that are damaged or altered.
        """
        if not data:
            return self
        message = srsly.msgpack_loads(data)
        if not isinstance(message, dict) or not isinstance(message.get("weights"), bytes):
            raise UnusableFile(T082.format(file=_STORED, error="it holds no weights"))
        record = take(_STORED, parse_object(str(message.get("record")), _STORED), _RECORD)
        weights, kind = weights_from_bytes(message["weights"]), self.settings.kind
        check_field(_STORED, "kind", record["kind"], one_of(kind))
        with no_larger_than([tuple(weight.shape) for weight in weights.values()]):
            encoder = rebuild_media(record["config"], kind, self.settings.pooling, _STORED)
        fill_weights(encoder, weights, _STORED)
        self._take(encoder, medium_of_record(self.settings, record["preparation"], _STORED), record)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # torch does not pickle all of these encoders.
        return _rebuilt, (self.settings, self.id, str(self._device), self.to_bytes())


def _rebuilt(settings: MediaSettings, own_id: int, device: str, data: bytes) -> MediaShim:
    shim = MediaShim(settings)
    shim.id = own_id
    shim.from_bytes(data)
    if shim._model is not None:
        shim.compute_on(torch.device(device))
    return shim
