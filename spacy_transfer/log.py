"""The package's logger: what a user should see while training, on standard error.

`logging.getLogger("spacy_transfer").setLevel("WARNING")` silences it. spaCy's own logger shows warnings only under
`spacy train`, and what moves should be seen there too.
"""

import logging

from .text_output import printable_lines


class _Formatter(logging.Formatter):
    """The bare message, without what labels and names of files could do to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


logger = logging.getLogger("spacy_transfer")

if not logger.handlers:
    _handler = logging.StreamHandler()
    _handler.setFormatter(_Formatter("%(message)s"))
    logger.addHandler(_handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
