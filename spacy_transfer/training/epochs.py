"""The callback that sets the epoch of components under `spacy train`."""

from collections.abc import Callable

from spacy.language import Language

from ..json_types import JsonObject
from ..pipeline.components import classifiers_of


def make_set_epoch() -> Callable[[Language, JsonObject], None]:
    """The callback `spacy-transfer.set_epoch.v1` for [training.before_update]: unfreezing by epochs needs it."""

    def set_epoch(nlp: Language, info: JsonObject) -> None:
        """Tell each classifier which epoch begins."""
        for component in classifiers_of(nlp, enabled_only=True).values():
            component.set_epoch(info["epoch"])

    return set_epoch
