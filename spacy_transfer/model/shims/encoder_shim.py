"""A shim whose network has an encoder, a tokenizer and micro-batches of its own."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from thinc.util import get_torch_default_device
from torch import nn

from ...errors import T024
from ...json_types import JsonObject
from ...locks import changes_network
from ...nn.devices.precision import Precision, choose_precision, resolve_device
from ...nn.devices.product_speed import Shapes, shapes_of
from ...nn.encoders.pretrained import LoadedEncoder
from ...nn.sentence_pooling import SentenceModules
from ..learning.accumulation import Gradients
from ..learning.memory import PieceBudget
from ..text.reader import TextReader
from ..text.tokenizer import PieceTokenizer, check_rows
from ..text.windows import FittedWindows, Windows
from .torch_shim import DeviceSettings, TorchShim


class EncoderSettings(DeviceSettings, Protocol):
    """What the config of a network with an encoder says."""

    @property
    def windows(self) -> Windows:
        """How long documents are read."""

    @property
    def piece_budget(self) -> int | Literal["auto"]:
        """Most pieces in a micro-batch."""

    @property
    def precision(self) -> Precision:
        """Of its arithmetic."""


class EncoderShim(TorchShim):
    """Reads texts with a tokenizer, and runs the encoder that it belongs to.

    settings (EncoderSettings): The blocks of the config.
    """

    settings: EncoderSettings

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__(settings)
        self.record: JsonObject = {}
        # As the encoder reads them; from `initialize` or `load` on.
        self.windows = FittedWindows(0, 0, "all")
        # The least is that of the windows, once they are fitted to the encoder.
        self.room = PieceBudget(settings.piece_budget, 1)
        self._reader: TextReader | None = None

    @property
    def reader(self) -> TextReader:
        """Texts to rows.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self._there(self._reader)

    @property
    def tokenizer(self) -> PieceTokenizer:
        """Texts to pieces.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self.reader.tokenizer

    def _prepare_for(
        self, loaded: LoadedEncoder, *, to_predict: bool = False
    ) -> tuple[PieceTokenizer, torch.device, torch.dtype]:
        """Tokenizer of an encoder, and where and how the network on it will compute.

        to_predict (bool): It is loaded: where device or precision are not available here, others are taken, and a
            warning says so (T301).
        RAISES (ValueError): T024 for a budget below a window, and what windows, precision and device find wrong.
        """
        settings = self.settings
        default = get_torch_default_device()
        device = self._available("device", settings.device, lambda value: resolve_device(value, default), to_predict)
        precision = self._choose(device, shapes_of(loaded.encoder), to_predict)
        tokenizer = PieceTokenizer(loaded.tokenizer)
        check_rows(tokenizer, loaded.encoder.n_pieces, str(loaded.record.get("source")))
        longest = SentenceModules.of(loaded.record).max_length
        windows = settings.windows.fitted(tokenizer, loaded.encoder.max_pieces, longest)
        if settings.piece_budget != "auto" and settings.piece_budget < windows.length:
            raise ValueError(T024.format(budget=settings.piece_budget, length=windows.length))
        self.windows = windows
        self.room.least = windows.length
        return tokenizer, device, precision

    def _choose(self, device: torch.device, shapes: Shapes, to_predict: bool) -> torch.dtype:
        wanted = self.settings.precision
        self._choice = choice = self._available(
            "precision", wanted, lambda value: choose_precision(value, device, shapes), to_predict
        )
        return choice.dtype

    def _hold(self, loaded: LoadedEncoder, tokenizer: PieceTokenizer) -> None:
        """Take what belongs to the network, which was made on an encoder and is there."""
        self.record = loaded.record
        self._reader = TextReader(tokenizer, self.windows)
        self.gradients = Gradients(half=self.precision == torch.float16)

    @changes_network
    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc's `Model.to_gpu` and `to_cpu`."""
        if self.is_built:
            device = torch.device("cpu") if device_type == "cpu" else torch.device("cuda", device_id)
            network = self.network.to(device)
            network.precision = self._choose(device, shapes_of(network.encoder), to_predict=True)
            self.gradients = Gradients(half=network.precision == torch.float16)
            # Another device has other memory.
            self.room.limit = None
            self._was_moved()

    @abstractmethod
    def _was_moved(self) -> None:
        """The network is on another device."""

    @changes_network
    def forget_texts(self) -> None:
        """Drop what is remembered of texts for the next epoch and the next evaluation."""
        if self._reader is not None:
            self._reader.forget()
            self._texts_forgotten()

    @abstractmethod
    def _texts_forgotten(self) -> None:
        """The reader remembers no rows any more."""

    def _weights_elsewhere(self) -> list[tuple[int, Mapping[str, nn.Parameter]]]:
        return []
