"""The work folder of a pretraining: everything needed to resume it, and the config of its loop.

start/              the encoder as it began, tokenizer and all, as a component of ours keeps it
rows/train, /held   rows of pieces to learn from, and those of the texts kept apart
start.json          what they were made of; written last
config.cfg          for the loop, and for `spacy transfer train` where several ranks learn
checkpoints, log.jsonl, result.json, model-best, model-last    as of any run
"""

import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from thinc.api import Config
from torch import Tensor

from ...corpora.reading.piece_rows import write_rows
from ...errors import T134, T165, T240, T243
from ...files import Fingerprint, new_folder, write_text
from ...files.fields import OBJECT, take, whole
from ...files.strangers import read_object
from ...json_types import JsonMapping, JsonObject
from ...model.shims.masked_lm_shim import MaskedLMSettings, special_pieces
from ...model.storage.weights import read_weights, weights_of, write_weights
from ...model.text.reader import TextReader
from ...model.text.tokenizer import PieceTokenizer
from ...nn.sentence_pooling import SentenceModules
from ..output.log_file import read_lines
from ..output.marker import RUN_NAMES, Marker, refuse_strange, remove_ours
from ..state.checkpoint import Checkpoints
from ..state.fingerprint import differences, refuse_others
from .plan import Pretraining

NAME = "transfer_masked_lm"
# In the work folder, what says that a run is there first.
_NAMES = ("checkpoints", "start.json", "start", "rows", "config.cfg", *RUN_NAMES[1:])
# Texts kept apart to see what was learned: a twentieth, but not so many that looking takes long.
_HELD_SHARE, _MOST_HELD = 0.05, 500
_START = {"n_texts": whole(1), "n_rows": whole(1), "n_held": whole(1), "n_weights": whole(), "made_of": OBJECT}
_WARM_UP = 0.1
# Texts that are cut into pieces at a time.
_TOGETHER = 10_000
# Looking at a row costs a third of learning from it; so often that it takes at most a twentieth of the time.
_LOOKS, _LOOK_COST = 10, 20 / 3


class Work:
    """The work folder.

    folder (Path): Made by `prepare`; only what is ours in it is ever removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.facts: JsonObject = {}

    @property
    def checkpoints(self) -> Checkpoints:
        """Of the run."""
        return Checkpoints(self.folder / "checkpoints")

    def prepare(self, settings: MaskedLMSettings, texts: Sequence[str], plan: Pretraining, *, force: bool) -> None:
        """Begin: load or make the encoder, cut the texts into rows.

        RAISES (ValueError): T134 without texts, T135 for an encoder without a mask piece, T240 for an unfinished run
            that is not to be thrown away (force), and what the blocks find wrong.
        RAISES (FileExistsError): T371 for what no run of ours has left there, T380 for what another command has.
        """
        if not force:
            refuse_strange(self.folder, _NAMES, "pretraining")
            if self.checkpoints.are_there:
                raise ValueError(T240.format(folder=self.folder))
        identity = _identity(settings, texts, plan)
        if settings.text.normalization is not None:
            # As the classifier will clean them.
            texts = settings.text.normalization.apply(list(texts))
        if not any(text.strip() for text in texts):
            raise ValueError(T134.format(n_texts=len(texts)))
        torch.manual_seed(plan.seed)
        loaded = settings.encoder.load(lambda: texts)
        tokenizer = PieceTokenizer(loaded.tokenizer)
        longest = SentenceModules.of(loaded.record).max_length
        windows = settings.windows.fitted(tokenizer, loaded.encoder.max_pieces, longest)
        special_pieces(tokenizer, loaded.encoder.family, plan.objective)
        self.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        Marker.write(self.folder, "pretraining")
        weights = {f"encoder.{name}": weight for name, weight in weights_of(loaded.encoder).items()}
        _write_encoder(self.folder / "start", weights, loaded.tokenizer, loaded.record)
        learned, held = _apart(texts, plan.seed)
        reader = TextReader(tokenizer, windows)
        n_rows = write_rows(self.folder / "rows" / "train", _rows(texts, learned, reader))
        # Too few texts to keep any apart: then the loss is that of what was learned.
        n_held = write_rows(self.folder / "rows" / "held", _rows(texts, held or learned, reader))
        n_weights = sum(weight.numel() for weight in loaded.encoder.parameters())
        self.facts = {"n_texts": len(texts), "n_rows": n_rows, "n_held": n_held, "n_weights": n_weights}
        write_text(self.folder / "start.json", json.dumps({**self.facts, "made_of": identity}, indent=2))

    def take_up(self, settings: MaskedLMSettings, texts: Sequence[str], plan: Pretraining, *, force: bool) -> None:
        """Go on with what `prepare` has begun.

        RAISES (ValueError): T165 without a checkpoint, T167 where texts or blocks are others (told, where insisted on
            by force), T243 for a damaged start.
        """
        if not self.checkpoints.are_there:
            raise ValueError(T165.format(folder=self.checkpoints.folder))
        try:
            file = self.folder / "start.json"
            self.facts = take(file, read_object(file), _START)
            made_of: JsonObject = self.facts.pop("made_of")
        except (OSError, ValueError) as error:
            raise ValueError(T243.format(folder=self.folder, reason=error)) from error
        refuse_others(self.folder, differences(made_of, _identity(settings, texts, plan)), force=force)

    def config(self, model: JsonMapping, plan: Pretraining, device: str) -> Config:
        """The config of the run, also written to config.cfg.

        model (JsonMapping): The block of the classifier, complete.
        plan (Pretraining): Steps, rows, rate.
        device (str): Of the component.
        """
        rows = {"@readers": "spacy-transfer.PieceRows.v1"}
        train = {**rows, "path": str(self.folder / "rows" / "train"), "shuffle": True, "multiple_of": plan.rows}
        # Step 0 has the rate 0: its evaluation is that of the encoder as it came.
        rate = {
            "@schedules": "warmup_linear.v1", "initial_rate": plan.rate,
            "warmup_steps": max(1, round(_WARM_UP * plan.steps)), "total_steps": plan.steps + 1,
        }  # fmt: skip
        encoder = {
            "@misc": "spacy-transfer.PretrainedEncoder.v1", "name": str(self.folder / "start"),
            # As far as the block has them: an encoder from scratch computes attention in one way only.
            **{key: model["encoder"][key] for key in ("attention", "dropout") if key in model["encoder"]},
        }  # fmt: skip
        masked_lm = {
            "@architectures": "spacy-transfer.MaskedLM.v1", "share": plan.share, "seed": plan.seed,
            "objective": plan.objective, "whole_words": plan.whole_words, "piece_budget": model["piece_budget"],
            "precision": model["precision"], "device": device, "encoder": encoder, "windows": dict(model["windows"]),
        }  # fmt: skip
        config = Config({
            "nlp": {"lang": "xx", "pipeline": [NAME]},
            "components": {NAME: {"factory": NAME, "model": masked_lm}},
            "corpora": {"train": train, "dev": {**rows, "path": str(self.folder / "rows" / "held")}},
            "training": {
                "seed": plan.seed, "gpu_allocator": None, "dropout": 0.0, "accumulate_gradient": plan.accumulate,
                "max_epochs": -1, "max_steps": plan.steps + 1, "patience": 0, "eval_frequency": self._every(plan),
                "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": plan.rows, "get_length": None},
                "optimizer": {
                    "@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": rate, "weight_decay": plan.weight_decay,
                },
                # The progress of our loop says more.
                "logger": {"@loggers": "spacy.ConsoleLogger.v3", "console_output": False},
            },
        })  # fmt: skip
        write_text(self.folder / "config.cfg", config.to_str())
        return config

    def _every(self, plan: Pretraining) -> int:
        """Steps from one evaluation to the next; a divisor, so that the last step has one."""
        least = max(plan.steps / _LOOKS, _LOOK_COST * self.facts["n_held"] / plan.rows)
        return next((n for n in range(1, plan.steps) if n >= least and plan.steps % n == 0), plan.steps)

    # ---- the end -------------------------------------------------------------------------------------------------

    def losses(self) -> tuple[float, float]:
        """Held-out loss of a hidden piece at the first and the last step.

        RETURNS (tuple[float, float]): In nats.
        """
        lines = read_lines(self.folder / "log.jsonl")
        found = [float(line["scores"]["masked_lm_loss"]) for line in lines if line["kind"] == "evaluation"]
        return found[0], found[-1]

    def put_encoder(self, target: Path, told: Mapping[str, object]) -> None:
        """Write the encoder as it is at the end, and the log, into a folder; complete or not at all.

        target (Path): The folder.
        told (Mapping): Goes into encoder.json.
        """
        last = self.folder / "model-last" / NAME
        weights = {name: w for name, w in read_weights(last / "weights.safetensors").items() if _is_encoders(name)}
        record = {**json.loads((last / "encoder.json").read_text("utf-8")), "pretrained": dict(told)}
        with new_folder(target, sync=True, needs=sum(weight.nbytes for weight in weights.values())) as part:
            _write_encoder(part, weights, (last / "tokenizer.json").read_text("utf-8"), record)
            shutil.copyfile(self.folder / "log.jsonl", part / "log.jsonl")

    def clear(self) -> None:
        """Remove what is ours, and the folder if nothing else is in it."""
        remove_ours(self.folder, _NAMES)


def _is_encoders(name: str) -> bool:
    return name.startswith("encoder.")


def _write_encoder(folder: Path, weights: Mapping[str, Tensor], tokenizer: str, record: JsonMapping) -> None:
    """The files of an encoder as one of our components keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(weights, folder / "weights.safetensors")
    write_text(folder / "tokenizer.json", tokenizer)
    write_text(folder / "encoder.json", json.dumps(record, indent=2))
    if record.get("license"):
        write_text(folder / "LICENSE.encoder", record["license"])


def _apart(texts: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Texts to learn from, and texts kept apart."""
    order = [i for i, text in enumerate(texts) if text.strip()]
    random.Random(seed).shuffle(order)
    n_held = min(_MOST_HELD, int(_HELD_SHARE * len(order)))
    return order[n_held:], order[:n_held]


def _rows(texts: Sequence[str], chosen: Sequence[int], reader: TextReader) -> Iterator[NDArray[np.int32]]:
    """Each window is a row of its own."""
    for begin in range(0, len(chosen), _TOGETHER):
        for document in reader.read([texts[i] for i in chosen[begin : begin + _TOGETHER]], remember=False):
            yield from (row.ids for row in document)


def _identity(settings: MaskedLMSettings, texts: Iterable[str], plan: Pretraining) -> dict[str, object]:
    """What rows and encoder are made of."""
    digest = Fingerprint()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    blocks = {"encoder": settings.encoder, "windows": settings.windows, "normalization": settings.text.normalization}
    said = {name: repr(block) if is_dataclass(block) else type(block).__name__ for name, block in blocks.items()}
    return {"texts": digest.hexdigest(), "seed": plan.seed, **said}
