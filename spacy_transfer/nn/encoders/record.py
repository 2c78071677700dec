"""The record that rebuilds an encoder offline, as stored in encoder.json; checked before use."""

from pathlib import Path

from ...files.fields import FLAG, NAME, OBJECT, SHA256, TEXT, list_of, maybe, one_of, real, refuse, take, whole
from ...files.strangers import MEGABYTE, parse_object, read_string
from ...json_types import JsonMapping, JsonObject
from .config import clean_config

# What an encoder.json holds; anything else in it is left behind.
_OPTIONAL = {
    "source": maybe(TEXT), "revision": maybe(TEXT), "license": maybe(TEXT), "sentence": maybe(OBJECT),
    "adapter": OBJECT, "base": OBJECT, "pretrained": OBJECT,
}  # fmt: skip
_BASE = {"name": NAME, "revision": maybe(TEXT), "sha256": SHA256}
_ADAPTER = {"kind": one_of("LoRA", "IA3"), "modules": list_of(NAME), "last": list_of(NAME)}
_LORA = {
    "rank": whole(1, 1_000_000), "alpha": real(0, 1e9), "variant": one_of("plain", "dora"),
    "scaling": one_of("rank", "root"),
}  # fmt: skip
_DENSE = {
    "n_in": whole(1, 2**31), "n_out": whole(1, 2**31), "bias": FLAG,
    "activation": one_of("Identity", "Tanh", "ReLU", "GELU", "Sigmoid"),
}  # fmt: skip
_SENTENCE = {
    "modes": list_of(one_of("cls", "max", "mean", "lasttoken"), distinct=True), "after": list_of(maybe(OBJECT)),
    "max_length": maybe(whole(1)), "unknown": list_of(TEXT),
}  # fmt: skip
# The license's text stands in it.
_MOST_BYTES = 50 * MEGABYTE


def read_record(path: Path) -> JsonObject:
    """Read an encoder.json.

    RAISES (UnusableFile): T450 for what is not a JSON object, T451 for a value of the wrong type or out of range, T016
        for a configuration that makes transformers load something else.
    """
    return clean_record(parse_object(read_string(path, _MOST_BYTES), path), path)


def clean_record(record: JsonMapping, file: Path | str) -> JsonObject:
    """What of a record is known, checked.

    record (Mapping): As `LoadedEncoder.record`.
    file (Path | str): Where it comes from.

    RAISES (UnusableFile): As `read_record`.
    """
    found = take(file, record, {"config": OBJECT}, _OPTIONAL)
    found["config"] = clean_config(found["config"], file, str(found.get("source")))
    if found.get("sentence") is not None:
        found["sentence"] = _clean_sentence(found["sentence"], file)
    if "base" in found:
        found["base"] = take(file, found["base"], _BASE, within="base.")
    if "adapter" in found:
        kinds = _LORA if found["adapter"].get("kind") == "LoRA" else {}
        found["adapter"] = take(file, found["adapter"], {**_ADAPTER, **kinds}, within="adapter.")
    return found


def _clean_sentence(said: JsonMapping, file: Path | str) -> dict[str, object]:
    """As `SentenceModules.to_json` gives it."""
    if isinstance(said.get("after"), list):
        for one in said["after"]:
            if not isinstance(one, dict) and one != "normalize":
                refuse(file, "sentence.after", one, "'normalize' or a dense layer")
        dense = [
            one if one == "normalize" else take(file, one, _DENSE, within="sentence.after.") for one in said["after"]
        ]
        said = {**said, "after": [None if one == "normalize" else one for one in dense]}
    found = take(file, said, _SENTENCE, within="sentence.")
    found["after"] = ["normalize" if one is None else one for one in found["after"]]
    return found
