"""The callback that tells components the epoch under `spacy train`."""

from collections.abc import Callable
from typing import Any

from spacy.language import Language

from ..pipeline.components import classifiers_of


def make_set_epoch() -> Callable[[Language, dict[str, Any]], None]:
    """The callback `spacy-transfer.set_epoch.v1` for [training.before_update]: unfreezing by epochs needs it."""

    def set_epoch(nlp: Language, info: dict[str, Any]) -> None:
        for component in classifiers_of(nlp, enabled_only=True).values():
            component.set_epoch(info["epoch"])

    return set_epoch
