"""What a run is made of, so that a checkpoint is not continued with something else."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spacy.training import Example

from ..errors import T167
from ..log import logger

# Only others' values count: paths stand where they are used, and a logger changes no weight.
_IGNORED = ("paths", "training.logger")
_ATTRS = ["ENT_IOB", "ENT_TYPE", "TAG", "POS", "MORPH", "LEMMA", "DEP", "HEAD", "SENT_START"]


def example_digest(example: Example) -> bytes:
    """Of a text and its annotations."""
    doc = example.reference
    digest = hashlib.blake2b(digest_size=16)
    digest.update(doc.text.encode("utf-8", "surrogatepass"))
    digest.update(repr(sorted(doc.cats.items(), key=repr)).encode("utf-8", "surrogatepass"))
    digest.update(doc.to_array(_ATTRS).tobytes())
    return digest.digest()


def examples_digest(examples: Iterable[Example]) -> str:
    """Of texts in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(example_digest(example))
    return digest.hexdigest()


def fingerprint_of(corpus: Any) -> str | None:
    """What a reader says itself of all its data, by a method `fingerprint() -> str`; None where it has none."""
    say = getattr(corpus, "fingerprint", None)
    return None if say is None else str(say())


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config as dotted keys and plain values, without what changes no weight."""
    found: dict[str, Any] = {}
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


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
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

    found (Sequence[str]): What is other now, as `differences` says it. force (bool): Only say so.
    RAISES (ValueError): T167 if anything is, unless forced.
    """
    if found:
        message = T167.format(folder=folder, differences="\n".join(found))
        if not force:
            raise ValueError(message)
        logger.warning(message)
