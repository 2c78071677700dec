"""The modules after the encoder in a sentence-transformers folder: pooling, dense layers, normalization, max length."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import (
    T350,
    T350_ACTIVATION,
    T350_FINITE,
    T350_INPUT,
    T350_MODES,
    T350_PICKLED,
    T350_PLACE,
    T350_SHAPE,
    T350_TYPE,
    T350_WIDTH,
    T351,
)
from ..files.fields import FLAG, take, whole
from ..files.strangers import UnusableFile, parse, read_bytes
from ..json_types import JsonMapping, JsonObject
from ..repository.weight_files import open_weights
from .pooling import ClsPooling, LastPooling, MaxPooling, MeanPooling, Pooling

Parsed = TypeVar("Parsed")

_ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU, "Sigmoid": nn.Sigmoid}
_POOLINGS: dict[str, type[ClsPooling | LastPooling | MaxPooling | MeanPooling]] = {
    "cls": ClsPooling,
    "max": MaxPooling,
    "mean": MeanPooling,
    "lasttoken": LastPooling,
}
# Their keys in the folder's pooling config, in the order in which sentence-transformers joins several.
MODES = {
    "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens", "mean": "pooling_mode_mean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}  # fmt: skip
_MODULE_FOLDER = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Dense:
    """A linear layer behind the pooling: widths in and out, whether it has a bias, its activation."""

    n_in: int
    n_out: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceModules:
    """What modules.json of a folder says.

    modes (list[str]): Of "cls", "max", "mean", "lasttoken"; the vectors of several are joined.
    after (list[Dense | "normalize"]): What follows, in order.
    max_length (int | None): Longest text in pieces, special pieces included.
    unknown (list[str]): What cannot be followed here, and why.
    """

    modes: list[str]
    after: list[Dense | Literal["normalize"]] = field(default_factory=list)
    max_length: int | None = None
    unknown: list[str] = field(default_factory=list)

    def to_json(self) -> JsonObject:
        """As encoder.json keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, record: JsonMapping) -> "SentenceModules":
        """What the record of an encoder says; where it says nothing, that of an encoder alone."""
        return cls.from_json(record.get("sentence")) or cls([])

    @classmethod
    def from_json(cls, data: JsonMapping | None) -> "SentenceModules | None":
        """Read what `to_json` gave; None where nothing was said."""
        if data is None:
            return None
        after = [Dense(**one) if isinstance(one, dict) else one for one in data["after"]]
        return cls(data["modes"], after, data["max_length"], data["unknown"])

    def beyond_mean(self) -> list[str]:
        """What a mean over the pieces does not follow, in words."""
        found = [] if self.modes == ["mean"] else [f"pooling by {' and '.join(self.modes)}"] if self.modes else []
        for one in self.after:
            found.append("Normalize" if one == "normalize" else f"Dense ({one.n_in} to {one.n_out})")
        return [*found, *self.unknown]


@dataclass(frozen=True)
class AutoPooling:
    """As the encoder's folder says in modules.json, the form of sentence-transformers: first or last piece, mean or
    maximum, dense layers with their weights, normalization. Without such a file, the mean; for a decoder that reads
    from left to right, the last piece.

    What it says is kept with the saved pipeline, which needs the folder no more. Dense layers are trained with the
    head.
    SOURCE: Reimers & Gurevych 2019, arXiv:1908.10084.
    """

    def following(
        self, said: SentenceModules | None, *, is_causal: bool = False
    ) -> "MeanPooling | LastPooling | SentencePooling":
        """The pooling that an encoder asks for.

        said (SentenceModules | None): Of its record.
        is_causal (bool): Its pieces see only those to their left.

        RAISES (ValueError): T350 for a module that cannot be followed.
        """
        if said is None:
            return LastPooling() if is_causal else MeanPooling()
        if said.unknown:
            raise ValueError(T350.format(problems="; ".join(said.unknown)))
        return SentencePooling(said.modes, said.after)

    def build(self, width: int) -> Pooling:
        """Never called: the encoder has to be asked first.

        RAISES (ValueError): T351.
        """
        raise ValueError(T351)


@dataclass(frozen=True)
class SentencePooling:
    """Pool as an encoder's own modules of sentence-transformers do.

    modes (list[str]): As in `SentenceModules`.
    after (list[Dense | Literal['normalize']]): As in `SentenceModules`.
    """

    modes: list[str]
    after: list[Dense | Literal["normalize"]]

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): With the weights of the dense layers, drawn at random.
        RAISES (ValueError): T350 for a dense layer of another width.
        """
        have, layers = width * len(self.modes), list[nn.Module]()
        for one in self.after:
            if isinstance(one, Dense):
                if one.n_in != have:
                    raise ValueError(T350.format(problems=T350_WIDTH.format(n_in=one.n_in, have=have)))
                have = one.n_out
                layers.append(_Dense(one))
            else:
                layers.append(_Normalize())
        return _Sentence([_POOLINGS[mode]().build(width) for mode in self.modes], layers)


class _Sentence(Pooling):
    def __init__(self, poolings: list[Pooling], after: list[nn.Module]) -> None:
        super().__init__()
        self.poolings, self.after = nn.ModuleList(poolings), nn.Sequential(*after)

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Join what the poolings give, and apply what comes after them.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width of the last layer).
        """
        vectors = torch.cat([pooling(states, counted, owner, n_docs) for pooling in self.poolings], dim=1)
        out: Tensor = self.after(vectors)
        return out


class _Dense(nn.Module):
    def __init__(self, block: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(block.n_in, block.n_out, bias=block.bias)
        self.activation = _ACTIVATIONS[block.activation]()

    def forward(self, vectors: Tensor) -> Tensor:
        """Apply the linear map and its activation.

        vectors (Tensor): (n_docs, n_in).
        RETURNS (Tensor): (n_docs, n_out).
        """
        out: Tensor = self.activation(self.linear(vectors))
        return out


class _Normalize(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        """Scale each vector to length 1.

        vectors (Tensor): (n_docs, width).
        RETURNS (Tensor): (n_docs, width).
        """
        return F.normalize(vectors, dim=1)


# ---- reading -----------------------------------------------------------------------------------------------------


def read_modules(folder: Path) -> tuple[SentenceModules | None, dict[str, Tensor]]:
    """Read modules.json of an encoder's folder and what it names; of a stranger's folder nothing else is opened.

    folder (Path): Of the encoder.
    RETURNS (tuple): What it says, None without the file; and the weights of its dense layers, by their name in the
        pooling's module.
    """
    if not (folder / "modules.json").is_file():
        return None, {}
    said, weights = SentenceModules([]), dict[str, Tensor]()
    try:
        entries = [(_kind(entry), str(entry.get("path", ""))) for entry in _json(folder / "modules.json", list)]
    except (OSError, ValueError, AttributeError) as error:
        return SentenceModules([], unknown=[f"modules.json cannot be read ({error})"]), {}
    for kind, path in entries:
        try:
            if kind == "Transformer":
                continue
            if kind == "Normalize":
                said.after.append("normalize")
            elif kind == "Pooling" and not said.modes and not said.after:
                said.modes.extend(_modes(_json(_inside(folder, path) / "config.json", dict)))
            elif kind == "Dense" and said.modes:
                dense, own = _dense(_inside(folder, path))
                weights.update({f"after.{len(said.after)}.{name}": value for name, value in own.items()})
                said.after.append(dense)
            else:
                said.unknown.append(kind)
        except (OSError, ValueError, KeyError, TypeError) as error:
            said.unknown.append(f"{kind} in '{path}' ({error})")
    if not said.modes and not said.unknown:
        said.unknown.append("no Pooling")
    return SentenceModules(said.modes, said.after, _max_length(folder), said.unknown), weights


def _json(path: Path, kind: type[Parsed]) -> Parsed:
    data = parse(read_bytes(path), path.name)
    if not isinstance(data, kind):
        raise ValueError(T350_TYPE.format(file=path.name, type=type(data).__name__))
    return data


def _kind(entry: JsonMapping) -> str:
    return str(entry["type"]).rsplit(".", 1)[-1]


def _inside(folder: Path, name: str) -> Path:
    place = folder / name
    if not _MODULE_FOLDER.fullmatch(name) or place.is_symlink():
        raise ValueError(T350_PLACE)
    return place


def _modes(config: JsonObject) -> list[str]:
    named = config.get("pooling_mode")
    if named is not None:
        # Of newer versions: one, or several in their order.
        modes = [str(one) for one in ([named] if isinstance(named, str) else named)]
        other = [mode for mode in modes if mode not in MODES]
    else:
        modes = [mode for mode, key in MODES.items() if config.get(key)]
        other = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
        other = [key for key in other if key not in MODES.values()]
    if other or not modes:
        raise ValueError(T350_MODES.format(modes=", ".join(other) or "nothing"))
    return modes


def _dense(folder: Path) -> tuple[Dense, dict[str, Tensor]]:
    config = _json(folder / "config.json", dict)
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise ValueError(T350_ACTIVATION.format(activation=activation))
    if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise ValueError(T350_INPUT.format(name=config["module_input_name"]))
    if not (folder / "model.safetensors").is_file():
        raise ValueError(T350_PICKLED)
    sizes = take(
        "config.json", config, {"in_features": whole(1, 2**31), "out_features": whole(1, 2**31)}, {"bias": FLAG}
    )
    dense = Dense(sizes["in_features"], sizes["out_features"], sizes.get("bias", True), activation)
    wanted = {"linear.weight": (dense.n_out, dense.n_in), **({"linear.bias": (dense.n_out,)} if dense.bias else {})}
    with open_weights([folder / "model.safetensors"]) as weights:
        if {name: one.shape for name, one in weights.stored.items()} != wanted:
            raise ValueError(T350_SHAPE)
        try:
            return dense, {name: weights.floats(name).float() for name in wanted}
        except UnusableFile as error:
            raise ValueError(T350_FINITE) from error


def _max_length(folder: Path) -> int | None:
    try:
        longest = _json(folder / "sentence_bert_config.json", dict).get("max_seq_length")
    except (OSError, ValueError):
        return None
    return longest if isinstance(longest, int) and longest > 0 and not isinstance(longest, bool) else None
