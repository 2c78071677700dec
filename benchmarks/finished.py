"""Whether a training that a benchmark keeps came to its end: half a classifier is none to compare with."""

import json
from pathlib import Path


def is_finished(folder: Path) -> bool:
    """Whether there is one in a folder, which no signal ended."""
    file = folder / "result.json"
    return file.exists() and json.loads(file.read_text("utf-8"))["status"] == "finished"
