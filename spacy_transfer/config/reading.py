"""Reads, overrides and checks a config, in the same way for all commands."""

from collections.abc import Mapping
from pathlib import Path

from spacy.util import load_config
from thinc.api import Config

from ..errors import T449
from ..files import require_file
from .keys import check_keys
from .settings import check_config, check_overrides
from .values import put_values


def read_config(config: Path | Config, overrides: Mapping[str, object] | None = None) -> Config:
    """Read a config that something can be made of.

    config (Path | Config): A file, or a config at hand.
    overrides (Mapping): Values to put in, by dotted key.
    RETURNS (Config): Not interpolated, without defaults that it does not write out.
    RAISES (ValueError): T330 to T334, see `check_config`; T420 to T425, see `check_keys`; T422 and T426, see
        `put_values`.
    RAISES (ValueError): T449 for a file that is no text.
    RAISES (FileNotFoundError): T440.
    RAISES (OSError): For a file that cannot be read.
    """
    values = dict(overrides or {})
    check_overrides(values)
    if isinstance(config, Path):
        require_file(config)
    try:
        original = load_config(config, interpolate=False) if isinstance(config, Path) else config
    except UnicodeDecodeError as error:
        raise ValueError(T449.format(path=config, reason=error)) from error
    whole = put_values(original, values) if values else original
    check_config(whole, values, original)
    check_keys(whole)
    return whole
