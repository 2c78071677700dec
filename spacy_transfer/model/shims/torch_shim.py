"""The base of all shims: an optimizer step, checkpoints and storage for a torch network."""

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Set
from functools import wraps
from pathlib import Path
from typing import ClassVar, Concatenate, Literal, ParamSpec, Protocol, TypedDict, TypeGuard, TypeVar, cast

import srsly
import torch
from thinc.api import Optimizer
from thinc.shims import Shim
from thinc.types import ArrayXd
from torch import Tensor, nn

from ...errors import T006, T301, T302
from ...json_types import JsonMapping, JsonObject
from ...locks import NetworkLock, changes_network, reads_network
from ...nn.devices.machine import describe_machine, versions
from ...nn.devices.precision import Choice
from ...nn.masked_lm import MaskedLMNetwork
from ...nn.network import Network
from ..learning.accumulation import Gradients
from ..learning.thinc_optimizers import averaged, step_by_weight
from ..storage.snapshot import StoredNetwork
from .forking import check_reach

P = ParamSpec("P")
R = TypeVar("R")
Owner = TypeVar("Owner", bound="TorchShim")
Part = TypeVar("Part")
Setting = TypeVar("Setting")
Taken = TypeVar("Taken")


class NetworkOptimizer(Protocol):
    """An optimizer that steps a whole torch network at once; others are called weight by weight, Thinc's way."""

    def step_network(
        self,
        owner: int,
        network: nn.Module,
        weights: Mapping[str, nn.Parameter],
        rates: Mapping[str, float],
        scale: float,
    ) -> Tensor:
        """Step all weights of a network.

        owner (int): Id of the shim.
        network (nn.Module): The network.
        weights (Mapping[str, nn.Parameter]): Trainable weights.
        rates (Mapping[str, float]): Factors on the learning rate, by weight.
        scale (float): Factor on gradients.
        RETURNS (Tensor): 1 where a gradient that is not finite has kept the weights as they were, else 0; ().
        """


def steps_networks(optimizer: Optimizer | NetworkOptimizer) -> TypeGuard[NetworkOptimizer]:
    """Whether an optimizer steps a whole network at once.

    optimizer (Optimizer | NetworkOptimizer): Of the config.
    RETURNS (TypeGuard[NetworkOptimizer]): False for one that takes weight by weight.
    """
    return hasattr(optimizer, "step_network")


class DeviceSettings(Protocol):
    """What the config of every network of ours says."""

    @property
    def device(self) -> str:
        """Where it computes."""


class _Copied(TypedDict):
    """What a copy within a process or a pickle takes along."""

    settings: DeviceSettings
    bytes: bytes
    more: JsonObject


class TorchShim(Shim, ABC):  # type: ignore[misc]
    """Holds a torch network from initialization or `load` on, and what training it remembers.

    Subclasses accumulate gradients (summed in `gradients.n_docs` terms, through `gradients.backward`), say what is
    trainable (`_trainable`, `_rates`) and how the network is stored (`_stored`, `_restore`).

    settings (DeviceSettings): The blocks of the config.
    """

    # As messages name it.
    kind: ClassVar[str]
    # What its stored state must hold, and whether its encoder is stored with it.
    needed: ClassVar[tuple[str, ...]]
    has_encoder: ClassVar[bool]

    settings: DeviceSettings

    def __init__(self, settings: DeviceSettings) -> None:
        super().__init__(None)
        self.settings = settings
        self.n_steps = 0
        # Whether training texts are read once and never again: then nothing is remembered of them.
        self.is_streamed = False
        # Training and predicting from several threads.
        self.lock = NetworkLock()
        self.gradients = Gradients(half=False)
        # Set by a loop that trains on several ranks: sums gradients in place, and the number of terms.
        self.sum_over_ranks: Callable[[Mapping[str, nn.Parameter], int], int] | None = None
        # Set by a loop that looks at losses some steps later: on a GPU they stay there, and no step waits for them.
        self.keeps_losses_on_gpu = False
        self._left_out: bool | Tensor = False
        # What moves at present, by name, and its rate factor.
        self._trainable: dict[str, nn.Parameter] = {}
        self._rates: dict[str, float] = {}
        # Why its arithmetic is what it is.
        self._choice: Choice | None = None
        # What of the config a loaded network cannot have here, as it stands there, by setting.
        self._lacking: dict[str, str] = {}

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether there are weights."""
        return self._model is not None

    @property
    @abstractmethod
    def network(self) -> Network | MaskedLMNetwork:
        """The torch network.

        RAISES (ValueError): T006 before it has weights.
        """

    @property
    def device(self) -> torch.device:
        """Where the network computes.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self.network.device

    @property
    def precision(self) -> torch.dtype:
        """dtype of its arithmetic.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self.network.precision

    def _there(self, part: Part | None) -> Part:
        if part is None:
            raise ValueError(T006.format(name=self.kind))
        check_reach(self._model)
        return part

    def _available(
        self, field: str, value: Setting, resolve: Callable[[Setting | Literal["auto"]], Taken], to_predict: bool
    ) -> Taken:
        """What a setting stands for; of a loaded network "auto" where it is not available here."""
        self._lacking.pop(field, None)
        try:
            return resolve(value)
        except ValueError:
            if not to_predict or value == "auto":
                raise
            taken = resolve("auto")
            self._lacking[field] = f"{field} = '{value}'"
            warnings.warn(T301.format(saved=self._lacking[field], taken=taken, field=field), stacklevel=2)
            return taken

    def require_settings(self, name: str) -> None:
        """Before a run.

        name (str): Of the component.

        RAISES (ValueError): T302 if device or precision of the config are not available here.
        """
        for field, saved in self._lacking.items():
            raise ValueError(T302.format(name=name, saved=saved, field=field))

    @property
    def computes_with(self) -> JsonObject:
        """How the network computes: precision, why, what was measured; machine and versions. JSON-able."""
        choice = self._choice
        facts = {} if choice is None else {"precision": choice.precision, "chosen_by": choice.by}
        measured = {"gflops": dict(choice.gflops)} if choice is not None and choice.gflops else {}
        return {**facts, **measured, **describe_machine(self.device), "versions": versions()}

    @abstractmethod
    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc's `Model.to_gpu` and `to_cpu`."""

    # ---- a step --------------------------------------------------------------------------------------------------

    @changes_network
    def finish_update(self, optimizer: Optimizer | NetworkOptimizer) -> None:
        """Divide the summed gradients by the number of terms, then let the optimizer move what is not frozen.

        optimizer (Optimizer | NetworkOptimizer): `spacy-transfer.AdamW.v1`, which steps the whole network, or any
            optimizer of Thinc.
        """
        if self.is_built:
            self._step_weights(optimizer)
        self._update_finished()

    def _step_weights(self, optimizer: Optimizer | NetworkOptimizer) -> None:
        self._left_out = False
        if self.sum_over_ranks is not None:
            summed = {**self._trainable, **self._also_summed()}
            self.gradients.n_docs = self.sum_over_ranks(summed, self.gradients.n_docs)
        weights = {name: w for name, w in self._trainable.items() if w.grad is not None}
        if not weights:
            return
        self.gradients.make_dense(weights.values())
        rates = {name: self._rates[name] for name in weights}
        scale = self.gradients.factor()
        if not self.gradients.accept(weights):
            self._left_out = True
        elif steps_networks(optimizer):
            self._left_out = optimizer.step_network(self.id, self.network, weights, rates, scale)
        else:
            step_by_weight(optimizer, self.id, weights, rates, scale)
        for weight in weights.values():
            weight.grad = None
        self.gradients.finish()
        self.n_steps += 1
        self._stepped()

    @abstractmethod
    def _also_summed(self) -> Mapping[str, nn.Parameter]:
        """What else the ranks sum before a step: as the gradients of these."""

    @abstractmethod
    def _stepped(self) -> None:
        """A step is done, perhaps without moving anything, see `was_left_out`."""

    @abstractmethod
    def _update_finished(self) -> None:
        """`finish_update` is done, even where there was nothing to step with."""

    @property
    def was_left_out(self) -> bool:
        """Whether the last step has moved nothing, since its gradients were not finite. A GPU is waited for."""
        return bool(self._left_out)

    def _loss(self, total: Tensor) -> float:
        """A loss as spaCy's loops want it, which write it to JSON: a number, whatever device it was computed on.

        total (Tensor): Without dimensions.
        RETURNS (float): Still a tensor where the loop asks for one.
        """
        return cast(float, total) if self.keeps_losses_on_gpu and total.device.type == "cuda" else float(total)

    @abstractmethod
    def forget_copies(self) -> None:
        """To be called when weights were changed by other means than an optimizer."""

    @changes_network
    def drop_gradients(self) -> None:
        """Forget what was summed since the last step."""
        for weight in self._trainable.values():
            weight.grad = None
        self.gradients.n_docs = 0
        self._gradients_dropped()

    @abstractmethod
    def _gradients_dropped(self) -> None:
        """The batches since the last step count for nothing."""

    @abstractmethod
    def forget_texts(self) -> None:
        """Drop what is remembered of texts for the next epoch and the next evaluation."""

    # ---- resuming ------------------------------------------------------------------------------------------------

    @property
    def trainable(self) -> Set[str]:
        """Names of the weights that move at present; those that never moved are not among them."""
        return self._trainable.keys()

    @reads_network
    def checkpoint_state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """What training has made besides the weights and the optimizer's moments: JSON and tensors."""
        more, tensors = self._progress()
        return {"n_steps": self.n_steps, "gradients": self.gradients.state(), **more}, tensors

    @changes_network
    def restore_state(self, state: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """Take what `checkpoint_state` gave, after the weights are in their place."""
        self.n_steps = state["n_steps"]
        self.gradients.restore(state["gradients"])
        self._take_progress(state, tensors)

    @abstractmethod
    def _progress(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """What a checkpoint holds besides steps and gradients: JSON and tensors."""

    @abstractmethod
    def _take_progress(self, state: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """Take what `_progress` gave."""

    @contextlib.contextmanager
    def use_params(self, params: Mapping[tuple[int, str], ArrayXd]) -> Iterator[None]:
        """Within: the network has the averaged weights that the optimizer kept under (shim id, name)."""
        own = dict(self.network.named_parameters()) if self.is_built else {}
        with contextlib.ExitStack() as stack:
            for owner, weights in ((self.id, own), *self._weights_elsewhere()):
                stack.enter_context(self._averaged(weights, params, owner))
            yield

    @abstractmethod
    def _weights_elsewhere(self) -> list[tuple[int, Mapping[str, nn.Parameter]]]:
        """Weights of others that the network needs averaged with its own, under their owners' ids."""

    @contextlib.contextmanager
    def _averaged(
        self, weights: Mapping[str, nn.Parameter], params: Mapping[tuple[int, str], ArrayXd], owner: int
    ) -> Iterator[None]:
        """`averaged`; meanwhile others predict with these weights and nobody trains them."""
        if not weights or not params:
            yield
            return
        swapped = averaged(weights, params, owner)
        with self.lock.holding():
            with self.lock.changing():
                swapped.__enter__()
                # Weights change places through `.data`, which leaves no trace.
                self.forget_copies()
            try:
                yield
            finally:
                with self.lock.changing():
                    swapped.__exit__(None, None, None)
                    self.forget_copies()

    @contextlib.contextmanager
    def predicting(self) -> Iterator[None]:
        """Within: the network is in evaluation mode, and nobody changes it."""
        while True:
            if self.network.training:
                with self.lock.changing():
                    self.network.eval()
            with self.lock.predicting():
                if not self.network.training:
                    yield
                    return

    # ---- storage -------------------------------------------------------------------------------------------------

    @abstractmethod
    def _stored(self) -> StoredNetwork:
        """All of the network."""

    @abstractmethod
    def _for_disk(self) -> StoredNetwork:
        """What is written to a folder: all of it, or without what can be had elsewhere."""

    @abstractmethod
    def _restore(self, stored: StoredNetwork) -> None:
        """Take what `_stored` or `_for_disk` gave."""

    @reads_network
    def save(self, folder: Path) -> JsonObject:
        """Write the network into a folder.

        RETURNS (dict): What `load` needs beside the files: state and checksums.
        """
        return self._for_disk().to_folder(folder)

    @changes_network
    def load(self, folder: Path, state: JsonMapping) -> None:
        """Read what `save` wrote; needs neither the network nor the original encoder.

        RAISES (OSError): T082 for a file that is missing, cut short or altered.
        """
        self._restore(StoredNetwork.from_folder(folder, state, needed=self.needed, has_encoder=self.has_encoder))

    @changes_network
    def take(self, stored: StoredNetwork) -> None:
        """Take a network that was put together elsewhere.

        stored (StoredNetwork): All of it.
        RAISES (OSError): T082 for weights of another network.
        """
        self._restore(stored)

    @reads_network
    def to_bytes(self) -> bytes:
        """All of it as one message; empty before `initialize`."""
        return self._stored().to_bytes() if self.is_built else srsly.msgpack_dumps({})

    @changes_network
    def from_bytes(self, data: bytes) -> "TorchShim":
        """Read what `to_bytes` gave."""
        if (stored := StoredNetwork.from_bytes(data, needed=self.needed, has_encoder=self.has_encoder)) is not None:
            self._restore(stored)
        return self

    @abstractmethod
    def _state_of_copies(self) -> JsonObject:
        """What a copy within a process or a pickle takes along and no file does."""

    @abstractmethod
    def _take_state_of_copies(self, state: JsonMapping) -> None:
        """Take what `_state_of_copies` gave; weights are there already."""

    def __getstate__(self) -> _Copied:
        return {"settings": self.settings, "bytes": self.to_bytes(), "more": self._state_of_copies()}

    def __setstate__(self, state: _Copied) -> None:
        # A copy gets an id of its own: two with the same one would share moments in an optimizer.
        self.__init__(state["settings"])  # type: ignore[misc]
        self.from_bytes(state["bytes"])
        self._take_state_of_copies(state["more"])


def predicts(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
    """Let a method of a shim run within `predicting`."""

    @wraps(method)
    def undisturbed(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method within `predicting`."""
        with self.predicting():
            return method(self, *args, **kwargs)

    return undisturbed
