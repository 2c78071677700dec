"""The tokenizer of an encoder folder, built only from that folder's own files under their fixed names."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..errors import T017, T454
from ..files import write_text
from ..files.fields import FLAG, NAME, Kind, dict_of, is_whole, list_of, maybe, refuse, shown, take, whole
from ..files.strangers import (
    MEGABYTE,
    UnusableFile,
    check_inside,
    parse_object,
    read_bytes,
    read_object,
    read_string,
)
from ..json_types import JsonMapping

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TOKENIZER_FILE = "tokenizer.json"
VOCABULARIES = (
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model",
)  # fmt: skip
# A vocabulary of a million pieces has about 80.
MOST_BYTES = 250 * MEGABYTE

_PIECE = Kind(
    "a piece: a string, an object with its content, or null",
    lambda value: value is None or isinstance(value, str) or (
        isinstance(value, dict) and isinstance(value.get("content"), str)
        and all(isinstance(one, str | bool | int) for one in value.values())
    ),
)  # fmt: skip
_PIECES = {
    **{f"{one}_token": _PIECE for one in ("bos", "cls", "eos", "mask", "pad", "sep", "unk")},
    "additional_special_tokens": maybe(list_of(_PIECE)),
}
_FLAGS = (
    "add_bos_token", "add_eos_token", "add_prefix_space", "do_basic_tokenize", "do_lower_case", "do_word_tokenize",
    "keep_accents", "lowercase", "remove_space", "split_by_punct", "tokenize_chinese_chars", "trim_offsets",
)  # fmt: skip
# Nothing of it names a file: transformers would read what stands there, wherever it is.
_CONFIG = {
    **_PIECES,
    **{key: maybe(FLAG) for key in _FLAGS},
    "added_tokens_decoder": dict_of(_PIECE),
    "extra_ids": whole(0, 10_000),
    "legacy": maybe(FLAG),
    "split_special_tokens": maybe(FLAG),
    "strip_accents": maybe(FLAG),
    "tokenizer_class": maybe(NAME),
}
# The largest vocabularies have a million pieces.
_MOST_ROWS = 2**24
_LONG = re.compile(r"[:\[,]\s*\d{8}")
_ID = whole(0, _MOST_ROWS - 1)
# None: pieces and their ids, under whatever names.
_JSON = {"tokenizer_config.json": _CONFIG, "special_tokens_map.json": _PIECES, "added_tokens.json": None}


# Roles of pieces that frame a row, pad it, or stand for what is hidden or unknown.
_ROLES = (
    "bos_token_id",
    "eos_token_id",
    "cls_token_id",
    "sep_token_id",
    "pad_token_id",
    "mask_token_id",
    "unk_token_id",
)


# Neither code nor files from anywhere else.
_OWN_FILES = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer in the form of the `tokenizers` library.

    text (str): As JSON. "special" are in it the pieces that frame rows, and no others: in a text those are text.
    markers (list[str]): Other special pieces of the folder; in a text each is one piece.
    """

    text: str
    markers: list[str]


def fast_tokenizer(folder: Path, config: JsonMapping, n_rows: int | None = None) -> FolderTokenizer:
    """The pieces that `AutoTokenizer` makes of a folder, in the form of the `tokenizers` library.

    tokenizer.json alone does not say it all: the family's class and tokenizer_config.json change case, accents, the
    space before a text, and add pieces.

    folder (Path): Of the encoder.
    config (Mapping): Its configuration, cleaned.
    n_rows (int | None): Rows of the embedding, if known: special pieces above them are text.
    RAISES (UnusableFile): T450, T451 for a file that cannot be read or holds a wrong value, T454 for a broken one.
    RAISES (ValueError): T017 for a tokenizer that transformers cannot convert.
    """
    check_inside(folder, (TOKENIZER_FILE, *VOCABULARIES, *_JSON))
    with TemporaryDirectory(prefix="spacy-transfer-") as place:
        _copy(folder, Path(place), config)
        if not (folder / TOKENIZER_FILE).exists():
            return settled(_converted(Path(place), folder), n_rows)
        text = read_string(folder / TOKENIZER_FILE, MOST_BYTES)
        check_ids(text, folder / TOKENIZER_FILE)
        with reading_tokenizer(folder / TOKENIZER_FILE):
            (Path(place) / TOKENIZER_FILE).write_bytes(text.encode("utf-8"))
            return settled(_read(Path(place)), n_rows)


def settled(tokenizer: "PreTrainedTokenizerFast", n_rows: int | None = None) -> FolderTokenizer:
    """Settle which pieces are special in texts of ours.

    tokenizer (PreTrainedTokenizerFast): Of transformers.
    n_rows (int | None): Rows of the embedding, if known: special pieces above them are text.
    """
    form = json.loads(tokenizer.backend_tokenizer.to_str())
    added = form["added_tokens"]
    framing = set(_framing_ids(form.get("post_processor")))
    if n_rows is not None:
        # What nobody has trained cannot be meant: classes of transformers add special pieces unasked (T5's sentinels).
        added = [one for one in added if one["id"] < n_rows or not one["special"] or one["id"] in framing]
    roles = {getattr(tokenizer, role, None) for role in _ROLES}
    markers = []
    for token in added:
        if token["id"] in framing or (token["special"] and token["id"] in roles):
            token["special"] = True
        elif token["special"] and not getattr(tokenizer, "split_special_tokens", False):
            token["special"] = False
            markers.append(token["content"])
    form["added_tokens"] = added
    return FolderTokenizer(json.dumps(form, ensure_ascii=False), markers)


def _framing_ids(processor: JsonMapping | None) -> Iterator[int]:
    """Ids that a post-processor adds to a text."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        yield from _framing_ids(part)
    for piece in (processor.get("special_tokens") or {}).values():
        yield from piece["ids"]
    for field in ("cls", "sep"):
        if field in processor:
            yield processor[field][1]


@contextmanager
def reading_tokenizer(file: Path | str = TOKENIZER_FILE) -> Iterator[None]:
    """Within: whatever `tokenizers` finds wrong with a tokenizer is said of its file.

    RAISES (UnusableFile): T454.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # Broken files give a bare Exception, or a panic that is not even one.
    except BaseException as error:
        raise UnusableFile(T454.format(file=file, error=f"{type(error).__name__}: {error}"[:300])) from error


def check_readable(path: Path) -> None:
    """Read a tokenizer.json as the tokenizers library does.

    RAISES (UnusableFile): T450, T454 if that fails.
    """
    from tokenizers import Tokenizer

    text = read_string(path, MOST_BYTES)
    check_ids(text, path)
    with reading_tokenizer(path):
        Tokenizer.from_str(text)


def check_ids(text: str, file: Path | str = TOKENIZER_FILE) -> None:
    """Refuse piece ids far beyond any vocabulary: the tokenizers library makes a table up to the highest one, and where
    there is no room for it the process ends.

    text (str): Of a tokenizer.json.
    file (Path | str): Where they come from.
    RAISES (UnusableFile): T450 for no JSON object, T451 for such an id.
    """
    if _LONG.search(text) is None:
        return
    form = parse_object(text, file)
    model, added = form.get("model"), form.get("added_tokens")
    if isinstance(model, dict) and isinstance(model.get("vocab"), dict):
        _check_rows(model["vocab"], file)
    if isinstance(added, list):
        _check_rows({str(one.get("content")): one.get("id") for one in added if isinstance(one, dict)}, file)


def _check_rows(vocabulary: JsonMapping, file: Path | str) -> None:
    for piece, found in vocabulary.items():
        if is_whole(found) and found >= _MOST_ROWS:
            refuse(file, f"the id of {shown(piece)}", found, f"a piece id below {_MOST_ROWS}")


def _copy(folder: Path, place: Path, config: JsonMapping) -> None:
    """What a tokenizer is made of, and nothing else."""
    for name in VOCABULARIES:
        if (folder / name).exists():
            data = read_bytes(folder / name, MOST_BYTES)
            if name == "vocab.json":
                _check_rows(parse_object(data, folder / name), folder / name)
            (place / name).write_bytes(data)
    for name, kinds in _JSON.items():
        if (folder / name).exists():
            values = read_object(folder / name)
            write_text(place / name, json.dumps(take(folder / name, values, {}, kinds or dict.fromkeys(values, _ID))))
    write_text(place / "config.json", json.dumps({"model_type": config["model_type"]}))


def _read(place: Path) -> "PreTrainedTokenizerFast":
    """A tokenizer that has a tokenizer.json."""
    from transformers import PreTrainedTokenizerFast

    try:
        return _automatic(place)
    except Exception:
        # Of a class that this version does not know, or that has no fast tokenizer: the file speaks for itself.
        return PreTrainedTokenizerFast.from_pretrained(str(place), **_OWN_FILES)


def _converted(place: Path, folder: Path) -> "PreTrainedTokenizerFast":
    """A tokenizer that has a vocabulary alone."""
    try:
        return _automatic(place)
    except Exception as error:
        # What transformers says of its copy is said of the original.
        told = str(error).replace(str(place), str(folder))
        raise ValueError(T017.format(folder=folder, error=told)) from error


def _automatic(place: Path) -> "PreTrainedTokenizerFast":
    """The fast tokenizer that transformers makes of a folder; a slow one fails here."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(place), use_fast=True, **_OWN_FILES)
    tokenizer.backend_tokenizer.to_str()
    return tokenizer
