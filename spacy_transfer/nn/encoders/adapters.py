"""The only entry to peft: small weights added to the linear layers of a frozen encoder, and merged into them."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

import torch
from torch import nn

from ...checks import check_least, check_number, check_share
from ...errors import T155, T156, T160, require
from ...files import sha256_of_parts
from ...json_types import JsonMapping, JsonObject
from .encoder import Encoder

Targets: TypeAlias = list[str] | Literal["auto", "all_linear"]
Save: TypeAlias = Literal["all", "adapter"]

_NAME = "default"
_ADAPTER_WEIGHT = re.compile(r"\.(?:lora_[A-Za-z_]+|ia3_l)\.")
_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
_KEY_OR_VALUE = re.compile(r"(?:^|\.)(?:k|v|key|value|[kv]_(?:lin|proj)|(?:key|value)_proj|Wqkv|c_attn)$")
_BEFORE_LAYER = re.compile(r"^(?:.*?\.)?(?:layer|layers|block|h|albert_layer_groups)\.\d+\.")


@dataclass(frozen=True)
class Places:
    """Linear maps of an encoder, by the names of its body.

    linear (tuple[str, ...]): All that an adapter may sit in.
    in_layers (tuple[str, ...]): Those in the layers.
    attention (tuple[str, ...]): Those in attention.
    last (tuple[str, ...]): The last one of each layer outside attention, which ends its feed-forward part.
    """

    linear: tuple[str, ...]
    in_layers: tuple[str, ...]
    attention: tuple[str, ...]
    last: tuple[str, ...]


class Adapter(Protocol):
    """A block for adapters; `LoRA` and `IA3`."""

    @property
    def lr_factor(self) -> float:
        """Factor on the learning rate of adapter weights."""

    @property
    def save(self) -> Save:
        """What `to_disk` writes."""

    @property
    def kind(self) -> str:
        """Name under which it is stored."""

    def shape(self) -> JsonObject:
        """The fields that must be the same for stored weights to mean the same; JSON-able."""

    def choose(self, places: Places) -> list[str]:
        """Names of the linear maps to adapt.

        RAISES (ValueError): T155 for a target that matches nothing.
        """

    def peft_config(self, modules: list[str], last: list[str]) -> object:
        """Make peft's configuration.

        modules (list[str]): Full names of linear maps to adapt.
        last (list[str]): Full names of those that end a feed-forward part; see `Places`.
        RETURNS (object): A `PeftConfig`.
        """


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters: beside a frozen weight W a product B A of rank `rank`; B starts at zero.

    rank (int): Rank of the update.
    alpha (float): The update is scaled by alpha / rank.
    dropout (float): On what enters the adapter; 0 <= dropout < 1.
    targets (list[str] | str): "auto" adapts query, key, value and output of attention, "all_linear" every linear map of
        the layers; or names, or ends of names, such as ["query", "value"]. Only above the frozen depth.
    variant (str): "dora" learns the length of each weight's columns apart from its direction.
    scaling (str): "root" scales by alpha / sqrt(rank), which keeps high ranks learning (rsLoRA).
    lr_factor (float): Factor on the learning rate of adapter weights; LoRA wants about ten times that of full tuning.
    save (str): "all" stores the encoder too; "adapter" stores adapter, pooling and head only, a hundredth of the size,
        and loading needs the encoder of `encoder.name` on the same machine, verified by SHA-256. It counts for
        `to_disk`; copies, `to_bytes` and pickles are always whole.
    SOURCE: Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024, arXiv:2402.09353; rsLoRA: Kalajdzievski 2023,
        arXiv:2312.03732. Through huggingface/peft.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Targets = "auto"
    variant: Literal["plain", "dora"] = "plain"
    scaling: Literal["rank", "root"] = "rank"
    lr_factor: float = 10.0
    save: Save = "all"
    kind: ClassVar[str] = "LoRA"

    def __post_init__(self) -> None:
        # The config system hands a number in quotes on as a str.
        object.__setattr__(self, "rank", int(self.rank))
        check_least("adapter", self, "rank", 1)
        check_number("adapter", self, "alpha", "alpha > 0", lambda value: value > 0)
        check_share("adapter", self, "dropout")
        check_number("adapter", self, "lr_factor", "lr_factor > 0", lambda value: value > 0)

    def shape(self) -> JsonObject:
        """See `Adapter`."""
        return {"rank": self.rank, "alpha": self.alpha, "variant": self.variant, "scaling": self.scaling}

    def choose(self, places: Places) -> list[str]:
        """See `Adapter`."""
        return _matching(self.targets, places, places.attention)

    def peft_config(self, modules: list[str], last: list[str]) -> object:
        """See `Adapter`."""
        return require("peft", "peft").LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules, bias="none",
            use_dora=self.variant == "dora", use_rslora=self.scaling == "root",
        )  # fmt: skip


@dataclass(frozen=True)
class IA3:
    """One learned factor per number: on keys, values and inside the feed-forward part; all start at one.

    targets (list[str] | str): "auto" adapts key, value and the last linear map of each layer (by its input),
        "all_linear" every linear map of the layers; or names, or ends of names. Only above the frozen depth.
    lr_factor (float): Factor on the learning rate of adapter weights.
    save (str): As for LoRA.
    SOURCE: Liu et al. 2022, arXiv:2205.05638. Through huggingface/peft.
    """

    targets: Targets = "auto"
    lr_factor: float = 10.0
    save: Save = "all"
    kind: ClassVar[str] = "IA3"

    def __post_init__(self) -> None:
        check_number("adapter", self, "lr_factor", "lr_factor > 0", lambda value: value > 0)

    def shape(self) -> JsonObject:
        """See `Adapter`."""
        return {}

    def choose(self, places: Places) -> list[str]:
        """See `Adapter`."""
        scaled = [name for name in places.attention if _KEY_OR_VALUE.search(name)]
        return _matching(self.targets, places, tuple(scaled + list(places.last)))

    def peft_config(self, modules: list[str], last: list[str]) -> object:
        """See `Adapter`."""
        return require("peft", "peft").IA3Config(target_modules=modules, feedforward_modules=last)


_KINDS: Mapping[str, Callable[..., Adapter]] = {"LoRA": LoRA, "IA3": IA3}


def attach(encoder: Encoder, adapter: Adapter, above: int) -> JsonObject:
    """Put a new adapter into an encoder, in place; it changes no state yet.

    encoder (Encoder): Changed in place.
    adapter (Adapter): The block.
    above (int): Layers at or below this depth get none.
    RETURNS (dict): What `reattach` needs; JSON-able.
    RAISES (ValueError): T155 for a target that matches nothing, T156 if no linear map lies above the depth.
    RAISES (ImportError): T081 without peft.
    """
    places = _places(encoder, above)
    if not places.linear:
        raise ValueError(T156.format(depth=above, family=encoder.family, n_layers=encoder.n_layers))
    modules = adapter.choose(places)
    last = [name for name in modules if name in places.last]
    _inject(encoder, adapter.peft_config(modules, last))
    return {"kind": adapter.kind, **adapter.shape(), "modules": modules, "last": last}


def reattach(encoder: Encoder, stored: JsonMapping, adapter: Adapter | None = None) -> None:
    """Put the adapter of a saved encoder into it; the caller loads the weights. torch's random state does not move.

    encoder (Encoder): Changed in place.
    stored (Mapping): As `attach` gave it.
    adapter (Adapter | None): The config's block, for dropout.
    RAISES (ImportError): T081 without peft.
    """
    fields = {key: value for key, value in stored.items() if key not in ("kind", "modules", "last")}
    block = _KINDS[stored["kind"]](**fields) if adapter is None else adapter
    with torch.random.fork_rng(devices=[]):
        _inject(encoder, block.peft_config(list(stored["modules"]), list(stored["last"])))


def check_same(stored: JsonMapping, adapter: Adapter) -> None:
    """Compare the config's adapter with the stored one.

    RAISES (ValueError): T160 if the weights would not fit.
    """
    want = {"kind": adapter.kind, **adapter.shape()}
    have = {key: value for key, value in stored.items() if key not in ("modules", "last")}
    if want != have:
        raise ValueError(T160.format(stored=have or "none", config=want))


def merge(encoder: Encoder) -> int:
    """Add the adapter to the weights it sits beside, in place; peft is not needed afterwards.

    RETURNS (int): Weights that the adapter had.
    """
    n_weights = sum(w.numel() for name, w in encoder.named_parameters() if is_adapter_weight(name))
    adapted = require("peft.tuners.tuners_utils", "peft").BaseTunerLayer
    for name, module in list(encoder.body.named_modules()):
        if isinstance(module, adapted):
            holder, _, last = name.rpartition(".")
            module.merge(safe_merge=True)
            setattr(encoder.body.get_submodule(holder), last, module.get_base_layer())
    if hasattr(encoder.body, "peft_config"):
        del encoder.body.peft_config
    return n_weights


def is_adapter_weight(name: str) -> bool:
    """Whether a weight belongs to an adapter.

    name (str): As `named_parameters()` gives it.
    """
    return _ADAPTER_WEIGHT.search(name) is not None


def is_transposed(module: nn.Module) -> bool:
    """Whether a module is the linear map of GPT-2, which keeps its weights as (width in, width out)."""
    return type(module).__name__ == "Conv1D"


def is_factor(name: str) -> bool:
    """Whether a weight is neutral at one, not at zero: decay would not pull it to what the encoder was."""
    return ".ia3_l." in name


def fingerprint(encoder: Encoder) -> str:
    """SHA-256 over an encoder's own weights, adapters left out: the same before and after `attach`."""
    return sha256_of_parts(_as_bytes(encoder))


def _as_bytes(encoder: Encoder) -> Iterator[bytes]:
    for name, weight in sorted(_own_weights(encoder)):
        yield f"{name} {tuple(weight.shape)}\0".encode()
        yield weight.detach().cpu().float().contiguous().view(torch.uint8).numpy().tobytes()


def _own_weights(encoder: Encoder) -> Iterator[tuple[str, nn.Parameter]]:
    for name, weight in encoder.named_parameters():
        if not is_adapter_weight(name):
            yield name.replace(".base_layer.", "."), weight


def _inject(encoder: Encoder, config: object) -> None:
    with warnings.catch_warnings():
        # peft warns of what it would have to know for its own way of saving.
        warnings.simplefilter("ignore")
        require("peft", "peft").inject_adapter_in_model(config, encoder.body, _NAME)


def _places(encoder: Encoder, above: int) -> Places:
    # Only plain ones: torch's own attention reads the weights of its output map without calling it.
    linear = [
        name for name, module in encoder.body.named_modules()
        if (type(module) is nn.Linear or is_transposed(module)) and encoder.depth_of(f"{name}.weight") > above
    ]  # fmt: skip
    in_layers = [name for name in linear if _BEFORE_LAYER.match(name)]
    within = {name: _BEFORE_LAYER.sub("", name) for name in in_layers}
    attention = [name for name in in_layers if _ATTENTION.search(within[name])]
    last: dict[str, str] = {}
    for name in in_layers:
        if name not in attention:
            last[name.removesuffix(within[name])] = name
    return Places(tuple(linear), tuple(in_layers), tuple(attention), tuple(last.values()))


def _matching(targets: Targets, places: Places, auto: tuple[str, ...]) -> list[str]:
    unmatched: list[str] = []
    if isinstance(targets, str):
        chosen = set(auto if targets == "auto" else places.in_layers)
    else:
        found = {t: [name for name in places.linear if f".{name}".endswith(f".{t}")] for t in targets}
        unmatched = [target for target, names in found.items() if not names]
        chosen = {name for names in found.values() for name in names}
    if unmatched or not chosen:
        there = list(dict.fromkeys(_BEFORE_LAYER.sub("", name) for name in places.linear))
        raise ValueError(T155.format(targets=unmatched or targets, there=", ".join(there)))
    return [name for name in places.linear if name in chosen]
