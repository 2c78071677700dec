"""Where the repository lies that these tests are of."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
