"""Fingerprint of a run, so that a checkpoint is not continued with other settings or data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import T167
from ...files import Fingerprint, fingerprint_of_data
from ...json_types import ConfigMapping, JsonObject
from ...log import logger
from ...model.shims.encoder_shim import EncoderShim
from ...model.shims.torch_shim import TorchShim

# Only others' values count: paths stand where they are used, and a logger changes no weight.
_IGNORED = ("paths", "training.logger")
_ATTRS = ["ENT_IOB", "ENT_TYPE", "TAG", "POS", "MORPH", "LEMMA", "DEP", "HEAD", "SENT_START"]


def doc_digest(doc: Doc) -> bytes:
    """Of a text and its annotations."""
    digest = Fingerprint()
    digest.update(doc.text.encode("utf-8", "surrogatepass"))
    digest.update(repr(sorted(doc.cats.items(), key=repr)).encode("utf-8", "surrogatepass"))
    digest.update(doc.to_array(_ATTRS).tobytes())
    # What components read beside the text: attributes and spans.
    data = [(_plain(key), _plain(value)) for key, value in doc.user_data.items()]
    spans = [(key, [(s.start, s.end, s.label_, s.id_) for s in group]) for key, group in doc.spans.items()]
    digest.update(repr((sorted(data, key=repr), sorted(spans))).encode("utf-8", "surrogatepass"))
    return digest.digest()


def docs_digest(docs: Iterable[Doc]) -> str:
    """Of texts and their annotations in their order."""
    digest = Fingerprint()
    for doc in docs:
        digest.update(doc_digest(doc))
    return digest.hexdigest()


def example_digest(example: Example) -> bytes:
    """Of a text and its annotations."""
    return doc_digest(example.reference)


def _plain(value: object) -> object:
    """A value that reads the same in every process."""
    if isinstance(value, str | int | float | bytes | None):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return sorted(((_plain(key), _plain(part)) for key, part in value.items()), key=repr)
    if hasattr(value, "tobytes"):
        return value.tobytes()
    return getattr(value, "text", type(value).__name__)


def parts_of(nlp: Language) -> JsonObject:
    """What a pipeline is made of beside its weights, its config and the texts, as `initialize` has read it.

    RETURNS (JsonObject): Labels, tokenizer and encoder record of our components, digests of all others.
    """
    found: JsonObject = {}
    vectors = nlp.vocab.vectors
    if vectors.shape[0]:
        found["vectors"] = _digest(repr(vectors.shape).encode() + vectors.to_bytes())
    for name, proc in nlp.pipeline:
        if labels := list(getattr(proc, "labels", ())):
            found[f"labels of {name}"] = [str(label) for label in labels]
        shims = [shim for shim in getattr(getattr(proc, "model", None), "shims", ()) if isinstance(shim, TorchShim)]
        for shim in shims:
            if isinstance(shim, EncoderShim) and shim.is_built:
                found[f"encoder of {name}"] = _digest(json.dumps(shim.record, sort_keys=True, default=str).encode())
                found[f"tokenizer of {name}"] = _digest(shim.reader.tokenizer.text.encode("utf-8"))
        if not shims and hasattr(proc, "to_bytes"):
            found[f"component {name}"] = _digest(proc.to_bytes(exclude=["vocab", "model", "tokenizer"]))
    return found


def _digest(data: bytes) -> str:
    return fingerprint_of_data(data, size=8).hex()


def examples_digest(examples: Iterable[Example]) -> str:
    """Of texts in their order."""
    return docs_digest(example.reference for example in examples)


def fingerprint_of(corpus: object) -> str | None:
    """What a reader says itself of all its data, by a method `fingerprint() -> str`; None where it has none."""
    say = getattr(corpus, "fingerprint", None)
    return None if say is None else str(say())


def flat(config: ConfigMapping, prefix: str = "") -> JsonObject:
    """A config as dotted keys and plain values, without what changes no weight."""
    found: JsonObject = {}
    for key, value in config.items():
        dotted = f"{prefix}{key}"
        if dotted in _IGNORED:
            continue
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{dotted}."))
        else:
            # As it reads after a trip through JSON, which the checkpoint makes it go.
            found[dotted] = json.loads(json.dumps(value, default=str))
    return found


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Lines that say what is other now."""
    missing = object()
    lines = []
    for key in sorted({*then, *now}):
        old, new = then.get(key, missing), now.get(key, missing)
        if old is missing:
            lines.append(f"{key}: now {new!r}, not there then")
        elif new is missing:
            lines.append(f"{key}: {old!r} then, not there now")
        elif old != new:
            lines.append(f"{key}: {old!r} then, {new!r} now")
    return lines


def refuse_others(folder: Path, found: Sequence[str], *, force: bool) -> None:
    """What is in a folder is not continued with something else.

    folder (Path): Of the run.
    found (Sequence[str]): What is other now, as `differences` says it.
    force (bool): Only say so.
    RAISES (ValueError): T167 if anything is, unless forced.
    """
    if found:
        message = T167.format(folder=folder, differences="\n".join(found))
        if not force:
            raise ValueError(message)
        logger.warning(message)
