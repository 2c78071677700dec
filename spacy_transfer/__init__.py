"""Transfer learning for text classification inside spaCy."""

__version__ = "0.1.0"
