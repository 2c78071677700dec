"""What a block of picture or sound features says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ....errors import T005
from ....nn.media.families import Kind, Pooling

_MOST_SECONDS = 600


@dataclass(frozen=True)
class MediaSettings:
    """The block, checked.

    kind (str): "image" or "audio".
    encoder (str): Folder of the encoder.
    attribute (str): Name of the extension attribute, bare.
    frozen_depth (int | "all"): Depths of the encoder that keep their weights.
    pooling (str): As in `MediaEncoder`.
    missing (str): "learned" or "error".
    unreadable (str): "error" or "skip".
    folder (str): Where relative paths start; empty for the current folder.
    memory (int): Bytes of vectors that are kept.
    max_seconds (float): Of a sound.
    """

    kind: Kind
    encoder: str
    attribute: str
    frozen_depth: int | Literal["all"]
    pooling: Pooling
    missing: Literal["learned", "error"]
    unreadable: Literal["error", "skip"]
    folder: str
    memory: int
    max_seconds: float = 0.0

    def __post_init__(self) -> None:
        wrong: list[tuple[str, object, str]] = []
        if not isinstance(self.encoder, str) or not self.encoder:
            wrong.append(("encoder", self.encoder, "the folder of an encoder"))
        if not self.attribute.isidentifier():
            wrong.append(("attribute", self.attribute, 'the name of an extension attribute, "_.image"'))
        if self.frozen_depth != "all" and not _is_least(self.frozen_depth, -1):
            wrong.append(("frozen_depth", self.frozen_depth, 'a whole number from -1, or "all"'))
        if self.missing not in ("learned", "error"):
            wrong.append(("missing", self.missing, '"learned" or "error"'))
        if self.unreadable not in ("error", "skip"):
            wrong.append(("unreadable", self.unreadable, '"error" or "skip"'))
        if not _is_least(self.memory, 0):
            wrong.append(("memory", self.memory, "a number of bytes, 0 or more"))
        if self.kind == "audio" and not 0.0 < self.max_seconds <= _MOST_SECONDS:
            wrong.append(("max_seconds", self.max_seconds, f"above 0, at most {_MOST_SECONDS}"))
        for field, value, want in wrong[:1]:
            raise ValueError(T005.format(block="features", field=field, value=value, want=want))

    @property
    def what(self) -> str:
        """What the attribute holds, for messages."""
        return "a picture" if self.kind == "image" else "a sound"

    @property
    def root(self) -> Path:
        """Folder that relative paths start from."""
        return Path(self.folder).expanduser()


def _is_least(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
