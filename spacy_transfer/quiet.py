"""Silences output for Python users: commands show progress, functions do not."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .log import logger


@contextmanager
def quiet() -> Iterator[None]:
    """Show nothing below a warning within, unless the application has set up logging and so asks for it."""
    if logger.hasHandlers() or logger.level != logging.NOTSET:
        yield
        return
    with silent():
        yield


@contextmanager
def silent(level: int = logging.WARNING) -> Iterator[None]:
    """Show nothing below a warning within, whoever listens: for trainings that only measure something.

    level (int): What is still shown, logging.ERROR for a training whose length is not the user's.
    """
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
