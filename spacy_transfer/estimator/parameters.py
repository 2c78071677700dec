"""Checks the estimator's own parameters; those of the config are checked by its blocks."""

from collections.abc import Mapping

from ..errors import T494
from ..files.fields import is_real, whole
from ..json_types import JsonMapping, JsonObject

# Of `TransferClassifier`, by name: numbers, names, blocks.
Parameters = JsonMapping


def check_parameters(params: Parameters) -> JsonObject:
    """Check the parameters that no config block checks.

    params (Parameters): All parameters of the estimator.
    RETURNS (JsonObject): The same, and `constant_rate`: whether the learning rate stays as it is.
    RAISES (ValueError): T494 for a value that is not possible.
    """
    n_epochs, seconds = params["n_epochs"], params["max_seconds"]
    has_end = n_epochs is not None or seconds is not None or params["early_stopping"]
    probes = params["frozen_depth"] == "all" and _name(params["head_init"]) not in ("", "RandomInit")
    _require(params, "batch_size", whole(1).holds(params["batch_size"]), "a whole number, 1 or more")
    _require(params, "n_epochs", n_epochs is None or whole().holds(n_epochs), "a whole number of epochs, or None")
    _require(params, "n_epochs", has_end, "a number of epochs where neither max_seconds nor early_stopping is set")
    want = 'at least 1, unless frozen_depth="all" and head_init="LinearProbe"'
    _require(params, "n_epochs", n_epochs != 0 or probes, want)
    _require(params, "max_seconds", seconds is None or (is_real(seconds) and seconds > 0), "a number above 0, or None")
    share = params["validation_fraction"]
    _require(params, "validation_fraction", is_real(share) and 0 < share < 1, "a number between 0 and 1")
    _require(params, "n_iter_no_change", whole(1).holds(params["n_iter_no_change"]), "a whole number, 1 or more")
    _require(params, "config", params["config"] is None or isinstance(params["config"], Mapping), "a dict, or None")
    return {**params, "constant_rate": n_epochs is None}


def _name(block: object) -> str:
    if isinstance(block, str):
        return block.removeprefix("spacy-transfer.").removesuffix(".v1")
    if isinstance(block, Mapping):
        return _name(next((value for key, value in block.items() if str(key).startswith("@")), ""))
    return type(block).__name__


def _require(params: Parameters, parameter: str, good: bool, want: str) -> None:
    if not good:
        raise ValueError(T494.format(parameter=parameter, value=repr(params[parameter]), want=want))
