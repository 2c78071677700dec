"""The work folder of an update: all that its training needs, and the config of its loop.

start/          the pipeline as the training begins: new labels are probed, low layers frozen
texts/          train, dev, old and new texts to measure on, as .spacy files
config.cfg      for the loop, and for `spacy transfer train`
update.json     what they were made of; written last
checkpoints, log.jsonl, result.json, model-best, model-last    as of any run
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from thinc.api import Config

from ...errors import T728, T729
from ...files import write_text
from ...files.fields import OBJECT, TEXT, list_of, take
from ...files.strangers import read_object
from ...json_types import JsonObject
from ..output.marker import RUN_NAMES, Marker, refuse_strange, remove_ours
from ..state.checkpoint import Checkpoints
from ..state.fingerprint import differences, refuse_others
from .measured import Measured

# In the work folder; first what says that an update is there.
_NAMES = ("update.json", "start", "texts", "config.cfg", *RUN_NAMES)
_FACTS = {"made_of": OBJECT, "before": list_of(OBJECT), "labels": list_of(TEXT), "notes": list_of(TEXT)}
_HEAD = """\
# An update of {pipeline}, written by `python -m spacy transfer update`.
# Run:  python -m spacy transfer train {path} --output {folder}
# The component begins as the old one, with probed rows for new labels; `texts/train.spacy` has its old scores where no
# annotation says otherwise.

"""


class Work:
    """The work folder.

    folder (Path): Made by `begin`; only what is ours in it is ever removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.before: list[Measured] = []
        self.labels: list[str] = []
        self.notes: list[str] = []

    @property
    def start(self) -> Path:
        """The pipeline that the training begins with."""
        return self.folder / "start"

    @property
    def config(self) -> Path:
        """The config of the loop."""
        return self.folder / "config.cfg"

    @property
    def has_checkpoint(self) -> bool:
        """Whether the training has begun."""
        return Checkpoints(self.folder / "checkpoints").are_there

    def texts(self, name: str) -> Path:
        """Say where texts are.

        name (str): "train", "dev", "old" or "new".
        """
        return self.folder / "texts" / f"{name}.spacy"

    def begin(self, *, force: bool) -> None:
        """Make an empty work folder.

        RAISES (ValueError): T728 for an unfinished update that is not to be thrown away (force).
        RAISES (FileExistsError): T371 for what no run of ours has left there, T380 for what another command has.
        """
        if not force:
            refuse_strange(self.folder, _NAMES, "update")
            if (self.folder / "update.json").exists():
                raise ValueError(T728.format(folder=self.folder))
        self.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        Marker.write(self.folder, "update")

    def write_texts(self, texts: Mapping[str, Sequence[Doc]]) -> None:
        """Write texts.

        texts (Mapping): By name: "train", "dev", "old", "new".
        """
        (self.folder / "texts").mkdir(exist_ok=True)
        for name, docs in texts.items():
            DocBin(attrs=["ORTH"], docs=docs, store_user_data=True).to_disk(self.texts(name))

    def write_config(
        self, nlp: Language, pipeline: str, name: str, training: JsonObject, annotating: Sequence[str]
    ) -> None:
        """Write the config of the loop.

        nlp (Language): The pipeline that the training begins with.
        pipeline (str): As the user named it.
        name (str): Of the classifier; all other components stay as they are.
        training (JsonObject): The block [training].
        annotating (Sequence[str]): Components that write what the classifier reads.
        """
        names = nlp.component_names
        others = [other for other in names if other != name]
        reader = {"@readers": "spacy-transfer.Corpus.v1"}
        config = Config({
            "paths": {
                name: _escaped(path)
                for name, path in (("start", self.start), ("train", self.texts("train")), ("dev", self.texts("dev")))
            },
            "nlp": {**nlp.config["nlp"], "pipeline": names},
            "components": {other: {"source": "${paths.start}"} for other in names},
            "corpora": {part: {**reader, "path": f"${{paths.{part}}}"} for part in ("train", "dev")},
            "training": {**training, "frozen_components": others, "annotating_components": list(annotating)},
            "initialize": {"vectors": "${paths.start}" if len(nlp.vocab.vectors) else None},
        })  # fmt: skip
        head = _HEAD.format(pipeline=pipeline, path=self.config, folder=self.folder)
        write_text(self.config, head + config.to_str(interpolate=False))

    def settle(
        self, made_of: JsonObject, before: Sequence[Measured], labels: Sequence[str], notes: Sequence[str]
    ) -> None:
        """Say that everything is there.

        made_of (JsonObject): What it was made of.
        before (Sequence[Measured]): Scores before, on old and on new texts.
        labels (Sequence[str]): The new labels.
        notes (Sequence[str]): What was found out about the files.
        """
        self.before, self.labels, self.notes = list(before), list(labels), list(notes)
        facts = {
            "made_of": made_of, "before": [asdict(one) for one in before], "labels": self.labels, "notes": self.notes,
        }  # fmt: skip
        write_text(self.folder / "update.json", json.dumps(facts, indent=2, ensure_ascii=False))

    def take_up(self, made_of: JsonObject, *, force: bool) -> None:
        """Go on with what `settle` has ended.

        RAISES (ValueError): T729 where nothing was begun, T167 where it was made of something else (told, where
            insisted on by force).
        """
        file = self.folder / "update.json"
        try:
            facts = take(file, read_object(file), _FACTS)
            self.before = [Measured.from_json(one) for one in facts["before"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(T729.format(folder=self.folder, reason=error)) from error
        self.labels, self.notes = facts["labels"], facts["notes"]
        refuse_others(self.folder, differences(facts["made_of"], made_of), force=force)

    def clear(self) -> None:
        """Remove what is ours, and the folder if nothing else is in it."""
        remove_ours(self.folder, _NAMES)


def _escaped(path: Path) -> str:
    """A path as a config has it: "$" begins a variable there, and is doubled."""
    return str(path).replace("$", "$$")
