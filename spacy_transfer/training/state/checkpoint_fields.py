"""The fields that a checkpoint's state must have, checked before any of them is used."""

import re
from pathlib import Path
from typing import TypeGuard

import srsly
import torch

from ...files.fields import (
    ANYTHING,
    FLAG,
    OBJECT,
    SHA256,
    TEXT,
    Kind,
    dict_of,
    is_real,
    is_whole,
    list_of,
    maybe,
    one_of,
    real,
    refuse,
    take,
    whole,
)
from ...json_types import JsonMapping, JsonObject

_COUNT = whole()
_NUMBER = Kind("a number", lambda value: isinstance(value, float) or is_real(value))
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_MOST_HEX = 100_000
# Numbers that a batcher draws of a schedule: as many as batches.
_MOST_DRAWN = 100_000_000


def _is_writable(value: object) -> bool:
    """Whether a pipeline's meta.json can hold it."""
    try:
        srsly.json_dumps(value)
    except (ValueError, OverflowError, RecursionError, TypeError):
        return False
    return isinstance(value, dict)


def _is_words(value: object, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(is_whole(one) and 0 <= one < 2**32 for one in value)


def _is_python(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3 or value[0] != 3 or not _is_words(value[1], 625):
        return False
    return value[1][-1] <= 624 and (value[2] is None or is_real(value[2]))


def _is_numpy(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 5 or value[0] != "MT19937" or not _is_words(value[1], 624):
        return False
    place, has_gauss, cached = value[2:]
    return is_whole(place) and 0 <= place <= 624 and is_whole(has_gauss) and has_gauss in (0, 1) and is_real(cached)


def _is_hex(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _MOST_HEX and bool(_HEX.fullmatch(value))


def _is_torch(value: object) -> bool:
    if not _is_hex(value):
        return False
    try:
        torch.Generator().set_state(torch.frombuffer(bytearray.fromhex(value), dtype=torch.uint8))
    except (RuntimeError, TypeError):
        return False
    return True


def _is_pair(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and len(value) == 2


def _are_counts(value: list[object]) -> TypeGuard[list[int]]:
    return all(map(_COUNT.holds, value))


_RANDOM = {
    "python": maybe(Kind("a state of Python's random numbers", _is_python)),
    "numpy": maybe(Kind("a state of numpy's random numbers", _is_numpy)),
    "torch": maybe(Kind("a state of torch's random numbers", _is_torch)),
    "cuda": list_of(Kind("a state of CUDA's random numbers", _is_hex)),
}
_PERFORMANCE = Kind("an object of finite numbers", _is_writable)
_STATE = {
    "identity": OBJECT, "versions": dict_of(TEXT), "threads": whole(1, 1_000_000), "start": SHA256, "log_size": _COUNT,
    "log_sha256": TEXT, "position": OBJECT, "order": OBJECT, "random": OBJECT, "networks": dict_of(OBJECT),
    "optimizer": OBJECT, "extras": dict_of(ANYTHING), "performance": _PERFORMANCE, "score_weights": dict_of(real()),
    "precision": maybe(OBJECT),
}  # fmt: skip
_RANKS = {"ranks": maybe(list_of(OBJECT))}
_RESULT = Kind("a score and a step", lambda value: _is_pair(value) and _NUMBER.holds(value[0]) and is_whole(value[1]))
_MEASURED = Kind(
    "empty, or seconds and steps",
    lambda value: value == [] or (_is_pair(value) and is_real(value[0]) and is_whole(value[1])),
)
_LANDING = Kind(
    "empty, or two steps, the first before the second",
    lambda value: value == [] or (_is_pair(value) and _are_counts(value) and value[0] < value[1]),
)
_POSITION = {
    "n_done": _COUNT, "n_words": _COUNT, "n_skipped": _COUNT, "n_skipped_in_a_row": _COUNT, "n_docs": _COUNT,
    "epoch": _COUNT, "rate": _NUMBER, "seconds": real(0, 1e12), "pending": FLAG, "losses": dict_of(_NUMBER),
    "norms": dict_of(_NUMBER), "results": list_of(_RESULT), "best_scores": dict_of(_NUMBER), "measure": TEXT,
    "measured": _MEASURED, "landing": _LANDING,
}  # fmt: skip
_IDENTITY = {
    "config": OBJECT, "data": OBJECT, "precision": OBJECT, "parts": OBJECT, "dev": maybe(ANYTHING),
    "streamed": maybe(ANYTHING),
}  # fmt: skip
_ORDER = {"epoch": _COUNT, "reading": OBJECT, "begun": maybe(OBJECT)}
_BEGUN = {
    "random": OBJECT, "positions": list_of(whole(0, _MOST_DRAWN)),
    "foreign": list_of(Kind("a pair of numbers", _is_pair)),
}  # fmt: skip
_OPTIMIZER = {
    "settings": dict_of(real()), "kinds": dict_of(one_of("torch", "array")),
    "radam": list_of(Kind("a list", lambda value: isinstance(value, list))), "nr_update": dict_of(_COUNT),
    "last_seen": dict_of(_COUNT),
}  # fmt: skip
_SETTINGS = {field: real() for field in ("learn_rate", "grad_clip", "b1", "b2", "eps", "L2")}
_NETWORK = {"n_steps": _COUNT, "gradients": OBJECT}
_NETWORK_LATER = {
    "epoch": maybe(_COUNT), "label_weights": list_of(real(0)), "awaited": list_of(_COUNT, distinct=True),
    "n_draws": _COUNT, "pathway": OBJECT, "piece_limit": maybe(whole(1)),
}  # fmt: skip
_GRADIENTS = {"loss_scale": real(2.0**-24, 2.0**127), "n_good": _COUNT, "is_fitted": FLAG}
_PATHWAY = {"boundary": whole(-1), "n_filled": _COUNT, "n_predicted": _COUNT}
_PATHWAY_LATER = {"cached": OBJECT, "batches": OBJECT}
_CACHED = {"used": _COUNT, "told_full": FLAG, "seen": maybe(dict_of(_COUNT))}


def clean_state(state: JsonMapping, file: Path, n_done: int) -> JsonObject:
    """What of a checkpoint's state is known, all of it checked.

    state (JsonMapping): As it was read.
    file (Path): Where it comes from.
    n_done (int): Steps that the folder's name says.
    RETURNS (JsonObject): Known fields, of the right kinds.
    RAISES (UnusableFile): T451 for what is missing, of another type or out of range.
    """
    found = take(file, state, _STATE, _RANKS)
    found["position"] = take(file, found["position"], _POSITION, within="position.")
    if found["position"]["n_done"] != n_done:
        # As many steps are gone through anew, so a wrong number may never end.
        refuse(file, "position.n_done", found["position"]["n_done"], f"{n_done}, as the name of the folder says")
    found["identity"] = take(file, found["identity"], _IDENTITY, within="identity.")
    found["random"] = _clean_random(found["random"], file, "random.")
    for i, one in enumerate(found.get("ranks") or ()):
        _clean_random(one, file, f"ranks.{i}.")
    found["order"] = _clean_order(found["order"], file, n_done)
    found["optimizer"] = optimizer = take(file, found["optimizer"], _OPTIMIZER, within="optimizer.")
    optimizer["settings"] = take(file, optimizer["settings"], _SETTINGS, within="optimizer.settings.")
    if len(optimizer["radam"]) != 10 or any(len(one) != 3 for one in optimizer["radam"]):
        refuse(file, "optimizer.radam", optimizer["radam"], "10 lists of 3 values")
    found["networks"] = {name: _clean_network(one, file, name) for name, one in found["networks"].items()}
    return found


def _clean_random(data: object, file: Path, within: str) -> dict[str, object]:
    if not isinstance(data, dict):
        refuse(file, within.removesuffix("."), data, OBJECT.want)
    return take(file, data, _RANDOM, within=within)


def _clean_order(data: JsonMapping, file: Path, n_done: int) -> dict[str, object]:
    found = take(file, data, _ORDER, {"own": OBJECT}, within="order.")
    found["reading"] = _clean_random(found["reading"], file, "order.reading.")
    if "own" in found:
        found["own"] = _clean_random(found["own"], file, "order.own.")
    if found["begun"] is not None:
        # Each batch of an epoch was a step.
        begun = take(file, found["begun"], {**_BEGUN, "place": whole(0, n_done)}, within="order.begun.")
        begun["random"] = _clean_random(begun["random"], file, "order.begun.random.")
        for place, one in begun["foreign"]:
            if not _COUNT.holds(place):
                refuse(file, "order.begun.foreign", place, _COUNT.want)
            _clean_random(one, file, "order.begun.foreign.")
        found["begun"] = begun
    return found


def _clean_network(data: JsonMapping, file: Path, name: str) -> dict[str, object]:
    within = f"networks.{name}."
    found = take(file, data, _NETWORK, _NETWORK_LATER, within=within)
    found["gradients"] = take(file, found["gradients"], _GRADIENTS, within=f"{within}gradients.")
    if "pathway" in found:
        pathway = take(file, found["pathway"], _PATHWAY, _PATHWAY_LATER, within=f"{within}pathway.")
        if "cached" in pathway:
            pathway["cached"] = take(file, pathway["cached"], _CACHED, within=f"{within}pathway.cached.")
            batches = take(file, pathway, {"batches": OBJECT}, within=f"{within}pathway.")["batches"]
            pathway["batches"] = take(file, batches, {"others": list_of(TEXT)}, within=f"{within}pathway.batches.")
        found["pathway"] = pathway
    return found
