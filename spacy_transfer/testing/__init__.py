"""Checks for custom config blocks: losses, poolings, augmentations, features, and all others."""

from .block import check_block

__all__ = ["check_block"]
