"""The callback that sets the epoch of components under `spacy train`."""

from collections.abc import Callable

from spacy.language import Language

from ..json_types import JsonObject


def make_set_epoch() -> Callable[[Language, JsonObject], None]:
    """The callback `spacy-transfer.set_epoch.v1` for [training.before_update]: unfreezing by epochs needs it."""

    def set_epoch(nlp: Language, info: JsonObject) -> None:
        """Tell each component that asks for it which epoch begins."""
        for _, component in nlp.pipeline:
            if hasattr(component, "set_epoch"):
                component.set_epoch(info["epoch"])

    return set_epoch
