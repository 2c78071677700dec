"""Names for objects whose fields a schema checks when they are read, not mypy.

JSON from a file goes through `files.fields.take`, a config through spaCy's schemas and `config.keys`. Whoever reads a
field after that relies on the type that the schema asked for.
"""

from collections.abc import Mapping
from typing import Any

# An object of a JSON file: read and checked, or to be written.
JsonObject = dict[str, Any]
JsonMapping = Mapping[str, Any]
# A section of a config, or values for a config by dotted key; resolved or not.
ConfigBlock = dict[str, Any]
ConfigMapping = Mapping[str, Any]
# What `nlp.evaluate` gives: numbers, and numbers by label.
Scores = dict[str, Any]
