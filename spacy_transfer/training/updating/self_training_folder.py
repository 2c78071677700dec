"""The folder of a self-training: what it was made of, its rounds, and what a new one discards.

self-train.json    what it was made of; at the end, all rounds
round-0, round-1   each the folder of a run
texts-1            what round 1 learns from
model-best         a copy of the best round's
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from spacy.training.loop import DIR_MODEL_BEST
from thinc.api import Config

from ...errors import T165, T735
from ...files import write_text
from ...files.fields import OBJECT, list_of, take
from ...files.strangers import read_object
from ...json_types import JsonObject
from ..output.inputs import refuse_inputs_that_go
from ..output.marker import (
    RUN_NAMES,
    SELF_TRAINING_RECORD,
    STUDY_NAMES,
    Marker,
    holds_something,
    refuse_strange,
    remove_ours,
)
from ..state.checkpoint import Checkpoints
from ..state.fingerprint import differences, flat, refuse_others

_OF_A_ROUND = re.compile(r"(round|texts)-\d+")


def begin(folder: Path, config: Config, made_of: JsonObject, *, resume: bool, force: bool) -> None:
    """Begin, or find that what has begun is the same.

    folder (Path): Of the self-training.
    config (Config): Of its rounds.
    made_of (JsonObject): What it is made of.
    resume (bool): Go on with what is there.
    force (bool): Throw away what is there; with `resume`, go on with something else.
    RAISES (ValueError): T165 with nothing to resume, T167 where that is something else, T373 for a config that reads
        what would be thrown away, T735 for rounds that would be lost.
    RAISES (FileExistsError): T371 for what no run of ours has left there, T380 for what another command has.
    """
    record = folder / SELF_TRAINING_RECORD
    if resume:
        if not record.exists():
            raise ValueError(T165.format(folder=folder))
        facts = take(record, read_object(record), {"made_of": OBJECT}, {"rounds": list_of(OBJECT)})
        refuse_others(folder, differences(_flat(facts["made_of"]), _flat(made_of)), force=force)
        return
    of_rounds = sorted(path.name for path in folder.glob("*-*") if _OF_A_ROUND.fullmatch(path.name))
    if not force:
        refuse_strange(folder, [*of_rounds, *RUN_NAMES, *STUDY_NAMES], "self-training")
        if any(_would_be_lost(folder / name) for name in (*of_rounds, DIR_MODEL_BEST)):
            raise ValueError(T735.format(folder=folder))
    # The best pipeline stays until there is another one.
    old = [SELF_TRAINING_RECORD, *of_rounds, *(name for name in RUN_NAMES if name != DIR_MODEL_BEST), *STUDY_NAMES]
    refuse_inputs_that_go(config, [folder / name for name in (*old, DIR_MODEL_BEST)])
    remove_ours(folder, old)
    folder.mkdir(parents=True, exist_ok=True)
    Marker.write(folder, "self-training")
    write_record(folder, made_of)


def write_record(folder: Path, made_of: JsonObject, rounds: Sequence[Mapping[str, object]] | None = None) -> None:
    """Say what a self-training was made of, and at its end what came of it.

    folder (Path): Of the self-training.
    made_of (JsonObject): What it was made of.
    rounds (Sequence | None): All rounds; None as long as it lasts.
    """
    facts = {"made_of": made_of, **({} if rounds is None else {"rounds": list(rounds)})}
    write_text(folder / SELF_TRAINING_RECORD, json.dumps(facts, indent=2, ensure_ascii=False))


def _would_be_lost(path: Path) -> bool:
    """Whether it is a pipeline, or a round that has trained."""
    if path.name == DIR_MODEL_BEST:
        return holds_something(path)
    return Checkpoints(path / "checkpoints").are_there or (path / "result.json").exists()


def _flat(data: JsonObject) -> JsonObject:
    """As JSON has it: lists for tuples."""
    return {key: json.loads(json.dumps(value)) for key, value in flat(data).items()}
