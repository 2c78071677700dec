"""The door to ONNX Runtime."""

import os
from types import ModuleType

from ...errors import require

# Since 1.32 it reports its use to its makers from every system, unless this is set before it is imported.
_SILENT = "ORT_DISABLE_TELEMETRY"


def import_runtime(name: str = "onnxruntime") -> ModuleType:
    """Import ONNX Runtime without its telemetry: predicting touches neither the network nor the home folder.

    name (str): Of a module of it.
    RETURNS (ModuleType): The module. `ORT_DISABLE_TELEMETRY=0` in the environment leaves telemetry on.
    RAISES (ImportError): T081 without onnxruntime.
    """
    os.environ.setdefault(_SILENT, "1")
    runtime = require("onnxruntime", "onnx")
    # Where something else has imported it first.
    if os.environ[_SILENT] != "0":
        runtime.disable_telemetry_events()
    return require(name, "onnx")
