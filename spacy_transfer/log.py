"""The package's logger. Importing the package installs no handler and no level: that is up to the application.

A message that a user should see, such as the table of trainable depths, goes through `announce`: to the application's
logging where there is one, else to standard error, as Python does with warnings. The commands (`spacy transfer ...`)
install a handler while they run. `logging.getLogger("spacy_transfer").setLevel("WARNING")` silences all of it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .text_output import echo, printable_lines

logger = logging.getLogger("spacy_transfer")


class _StandardError(logging.Handler):
    """The bare message, without what labels and names of files could do to a terminal.

    It goes to what `sys.stderr` is at the time, not when this was made: tests and notebooks replace it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        echo(self.format(record), err=True)


def announce(message: str) -> None:
    """Say something at the level INFO; without any logging handler, on standard error.

    message (str): May have several lines.
    """
    if logger.hasHandlers():
        logger.info(printable_lines(message))
    elif _is_wanted():
        echo(message, err=True)


def _is_wanted() -> bool:
    """Whether INFO passes, where nobody has set up logging: the root's own level, WARNING, is nobody's choice."""
    return logger.level <= logging.INFO and not logger.disabled and logging.root.manager.disable < logging.INFO


@contextmanager
def shown() -> Iterator[None]:
    """Within: INFO and above goes to standard error, unless the application has handlers of its own."""
    if logger.hasHandlers():
        yield
        return
    handler, level = _StandardError(), logger.level
    logger.addHandler(handler)
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
