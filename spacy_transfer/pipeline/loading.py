"""Load a trained pipeline for a command, and name the damaged file if there is one."""

import re
from pathlib import Path
from types import TracebackType

import srsly
from confection import ConfigValidationError
from spacy.language import Language
from spacy.util import load_model

from ..errors import T442
from ..json_types import ConfigMapping

_SAID_WELL = re.compile(r"\[[TE]\d{3,4}\]")


def load_pipeline(name: str | Path, values: ConfigMapping | None = None) -> Language:
    """Load a pipeline.

    name (str | Path): Folder, or name of an installed package. A folder that holds a pipeline comes first: spaCy takes
        "onnx" for the package of that name.
    values (Mapping | None): Values of its config to replace, by dotted key.
    RETURNS (Language): The pipeline.
    RAISES (ValueError): T442 for a damaged file, which spaCy's readers meet with whatever error their parts raise;
        otherwise what `spacy.load` raises with a code.
    """
    try:
        folder = Path(name)
        nlp = load_model(folder if (folder / "config.cfg").is_file() else name, config=dict(values or {}))
        # What cannot be written again (half a character, NaN) is found here, not by whoever writes it.
        srsly.json_dumps(nlp.meta)
        nlp.config.to_bytes()
        return nlp
    except (ConfigValidationError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        if _SAID_WELL.search(str(error)):
            raise
        reason = f"{type(error).__name__}: {error}".strip()[:300]
        path = _file_being_read(error.__traceback__) or name
        raise ValueError(T442.format(path=path, reason=reason)) from error


def _file_being_read(trace: TracebackType | None) -> Path | None:
    """What spaCy's `from_disk(path, readers)`, which reads file by file, was at; the innermost of these calls."""
    found = None
    while trace is not None:
        code, values = trace.tb_frame.f_code, trace.tb_frame.f_locals
        if code.co_name == "from_disk" and code.co_filename.endswith("util.py") and {"path", "key"} <= set(values):
            found = Path(values["path"]) / values["key"]
        trace = trace.tb_next
    return found
