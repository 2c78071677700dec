"""The tokenizer of an encoder folder: the pieces are those that `AutoTokenizer` makes of it.

tokenizer.json alone does not say it all: the family's class and tokenizer_config.json change case, accents, the space
before a text, and add pieces.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import T472
from .encoder_folder import COMPANIONS, TOKENIZERS

# Pieces in a message.
_SHOWN = 5

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


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer in the form of the `tokenizers` library.

    text (str): As JSON. "special" are in it the pieces that frame rows, and no others: in a text those are text.
    markers (list[str]): Other special pieces of the folder; in a text each is one piece.
    """

    text: str
    markers: list[str]


def settled(tokenizer: Any, name: str, n_rows: int | None = None) -> FolderTokenizer:
    """Settle which pieces are special in texts of ours.

    tokenizer: A fast one of transformers. name (str): What messages call it. n_rows (int | None): Rows of the
        embedding, if known: special pieces above them are text.
    RAISES (ValueError): T472 for pieces that have no row.
    """
    form = json.loads(tokenizer.backend_tokenizer.to_str())
    added = form["added_tokens"]
    framing = set(_framing_ids(form.get("post_processor")))
    if n_rows is not None:
        # What nobody has trained cannot be meant: classes of transformers add special pieces unasked (T5's sentinels).
        added = [one for one in added if one["id"] < n_rows or not one["special"] or one["id"] in framing]
        vocabulary = form["model"]["vocab"]
        ids = {piece: i for i, (piece, _) in enumerate(vocabulary)} if isinstance(vocabulary, list) else vocabulary
        gone = {one["content"] for one in form["added_tokens"]} - {one["content"] for one in added}
        above = {piece: i for piece, i in ids.items() if i >= n_rows and piece not in gone}
        above |= {one["content"]: one["id"] for one in added if one["id"] >= n_rows}
        if above:
            first = sorted(above.items(), key=lambda item: item[1])[:_SHOWN]
            pieces = ", ".join(f"{piece!r} ({i})" for piece, i in first) + ", ..." * (len(above) > _SHOWN)
            raise ValueError(T472.format(name=name, pieces=pieces, n_rows=n_rows))
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


def _framing_ids(processor: Mapping[str, Any] | None) -> Iterator[int]:
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
def own_files(folder: Path) -> Iterator[Path]:
    """A folder with a tokenizer's files under their fixed names, and nothing else: a stranger's settings may name
    files of this machine, or code."""
    with tempfile.TemporaryDirectory(prefix="spacy-transfer-tokenizer-") as place:
        for name in (*TOKENIZERS, *COMPANIONS):
            if not (folder / name).is_file():
                continue
            if name in ("config.json", "tokenizer_config.json"):
                settings = json.loads((folder / name).read_text("utf-8"))
                text = json.dumps({key: settings[key] for key in settings if _is_kept(key, name)})
                Path(place, name).write_text(text, "utf-8")
            else:
                _link(folder / name, Path(place, name))
        yield Path(place)


def _is_kept(key: str, file: str) -> bool:
    if file == "config.json":
        return key in ("model_type", "tokenizer_class")
    return key not in ("auto_map", "init_inputs", "name_or_path") and not key.endswith("_file")


def _link(file: Path, link: Path) -> None:
    try:
        link.symlink_to(file.resolve())
    except OSError:
        # Windows, without the right to.
        shutil.copyfile(file, link)
