"""Checks for config blocks of one's own: losses, poolings, augmentations, features, and all that a config can name."""

from .block import check_block

__all__ = ["check_block"]
