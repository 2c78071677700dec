"""Files and folders written completely or not at all, even if the process is killed; locks; digests."""

from .appending import GrowingFile
from .digests import (
    Fingerprint,
    RunningSha256,
    files_in,
    fingerprint_of_data,
    open_regular,
    sha256_of,
    sha256_of_data,
    sha256_of_file,
    sha256_of_folder,
    sha256_of_parts,
)
from .distinct import refuse_others_file, refuse_same
from .locks import InUse, held, hold_folder, hold_place
from .missing import no_such_file, require_file
from .renames import put_aside
from .space import DiskFull, saying_when_full, size_of
from .staging import repair
from .writing import all_or_none, new_contents, new_file, new_folder, sync_file, sync_tree, write_data, write_text

__all__ = [
    "DiskFull",
    "Fingerprint",
    "GrowingFile",
    "InUse",
    "RunningSha256",
    "all_or_none",
    "files_in",
    "fingerprint_of_data",
    "held",
    "hold_folder",
    "hold_place",
    "new_contents",
    "new_file",
    "new_folder",
    "no_such_file",
    "open_regular",
    "put_aside",
    "refuse_others_file",
    "refuse_same",
    "repair",
    "require_file",
    "saying_when_full",
    "sha256_of",
    "sha256_of_data",
    "sha256_of_file",
    "sha256_of_folder",
    "sha256_of_parts",
    "size_of",
    "sync_file",
    "sync_tree",
    "write_data",
    "write_text",
]
