"""The callback that sets the epoch of components under `spacy train`."""

from collections.abc import Callable
from typing import Any

from spacy.language import Language


def make_set_epoch() -> Callable[[Language, dict[str, Any]], None]:
    """The callback `spacy-transfer.set_epoch.v1` for [training.before_update]: unfreezing by epochs needs it."""

    def set_epoch(nlp: Language, info: dict[str, Any]) -> None:
        for _, component in nlp.pipeline:
            if hasattr(component, "set_epoch"):
                component.set_epoch(info["epoch"])

    return set_epoch
