"""Every message of the package, once, with a code; and the one way to ask for an optional package.

00x config   01x encoders   02x pieces and windows   03x labels   04x data   05x fetching   06x training
07x devices, precision, cache   08x storage and optional packages
"""

import importlib
from types import ModuleType

T081 = "[T081] '{package}' is needed here but not installed: pip install 'spacy-transfer[{extra}]'"


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package where it is used.

    package (str): Import name.
    extra (str): The extra of spacy-transfer that brings it.
    RETURNS (ModuleType): The imported module.
    RAISES (ImportError): T081 if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(T081.format(package=package, extra=extra)) from error
