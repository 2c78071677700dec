"""Narrows config blocks to what is used of them: the config system does not compare a block with its annotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeGuard, TypeVar

from ..errors import T001

Block = TypeVar("Block")


def missing(block: object, wanted: Sequence[str]) -> list[str]:
    """Names of the methods and fields that a block lacks.

    block (object): Of the config.
    wanted (Sequence[str]): What is used of it.
    """
    return [name for name in wanted if not hasattr(block, name)]


@dataclass(frozen=True)
class BlockKind(Generic[Block]):
    """What a field of a config block may hold.

    field (str): Name of the field.
    want (str): What it holds, for the message.
    parts (tuple[str, ...]): Methods and fields that are used of the block.
    classes (tuple[type, ...]): Classes that it may have; empty where any class with these parts will do.
    """

    field: str
    want: str
    parts: tuple[str, ...] = ()
    classes: tuple[type[Block], ...] = ()

    def check(self, block: object, arch: str) -> Block:
        """Narrow a block.

        block (object): As the config gives it.
        arch (str): Name of the block that has the field, for the message.
        RETURNS (Block): The same.
        RAISES (ValueError): T001 if it is of another kind.
        """
        if self.fits(block):
            return block
        lacks, got = missing(block, self.parts), type(block).__name__
        got = f"{got}, which lacks {', '.join(lacks)}" if lacks else got
        raise ValueError(T001.format(field=self.field, arch=arch, want=self.want, got=got))

    def fits(self, block: object) -> TypeGuard[Block]:
        """Whether a block is of this kind.

        block (object): As the config gives it.
        RETURNS (TypeGuard[Block]): True if it has the parts and one of the classes.
        """
        return not missing(block, self.parts) and (not self.classes or isinstance(block, self.classes))
