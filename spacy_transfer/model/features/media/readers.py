"""Which reader a block's kind takes."""

from pathlib import Path

from ....json_types import JsonMapping
from ....nn.media.encoder import MediaEncoder
from .medium import Medium
from .pictures import Pictures
from .settings import MediaSettings
from .sounds import Sounds


def medium_of_processor(settings: MediaSettings, said: JsonMapping, file: Path, encoder: MediaEncoder) -> Medium:
    """Take the preparation that an encoder's folder says.

    settings (MediaSettings): The block.
    said (Mapping): What preprocessor_config.json holds.
    file (Path): That file.
    encoder (MediaEncoder): Of the folder.
    RETURNS (Medium): What reads contents for it.
    RAISES (UnusableFile): T451, T847 for what is not known.
    """
    if settings.kind == "audio":
        return Sounds.of_processor(said, file, encoder, settings.max_seconds)
    return Pictures.of_processor(said, file)


def medium_of_record(settings: MediaSettings, said: JsonMapping, file: Path | str) -> Medium:
    """Take the preparation that was stored.

    settings (MediaSettings): The block.
    said (Mapping): What `Medium.to_json` gave.
    file (Path | str): Where it is stored.
    RETURNS (Medium): What reads contents for it.
    RAISES (UnusableFile): T451, T847 for what is not known.
    """
    if settings.kind == "audio":
        return Sounds.of_record(said, file, settings.max_seconds)
    return Pictures.of_record(said, file)
