"""Trains a classifier again with texts that it has labeled itself; see `spacy transfer self-train --help`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import load_model_from_config
from thinc.api import Config

from ...config.reading import read_config
from ...corpora.inspection.repeats import normalize
from ...corpora.reading.config_corpora import READERS, reads_docbins
from ...corpora.reading.raw_texts import read_raw_texts
from ...docbins import read_all_docs
from ...errors import T005, T720, T727, T734
from ...files import fingerprint_of_data, hold_folder, refuse_same, repair
from ...json_types import ConfigMapping, JsonObject
from ...pipeline.components import classifier_meant
from ...pipeline.loading import load_pipeline
from ..device import use_device
from ..interrupted import to_its_end
from ..loop.checkpoint_interval import Cadence
from ..output.models import copy_folder
from ..output.progress import Show
from ..output.result import Result
from ..state.checkpoint import Checkpoints
from ..state.fingerprint import docs_digest, flat
from ..train import train
from .confident import most_confident
from .self_training_folder import begin, write_record
from .targets import scores_of


@dataclass(frozen=True)
class SelfTraining:
    """How texts without labels join in.

    rounds (int): Trainings with such texts, at most; 1 or more. The first that is not better on dev ends it.
    share (float): Of the texts that a label is given to, those with the highest scores join in: so many in the first
        round, twice as many in the second, and so on; 0 < share <= 1.
    least_score (float): No text joins in with a lower score; 0 to below 1.
    RAISES (ValueError): T005 for values out of range.
    """

    rounds: int = 2
    share: float = 0.3
    least_score: float = 0.6

    def __post_init__(self) -> None:
        for name, good, want in (
            ("rounds", self.rounds >= 1, "rounds >= 1"),
            ("share", 0.0 < self.share <= 1.0, "0 < share <= 1"),
            ("least_score", 0.0 <= self.least_score < 1.0, "0 <= least_score < 1"),
        ):
            if not good:
                raise ValueError(T005.format(block="self-train", field=name, value=getattr(self, name), want=want))


@dataclass(frozen=True)
class Round:
    """A training.

    number (int): 0 for the one with labeled texts alone.
    n_joined (int): Texts that joined in.
    joined (dict[str, int]): Of them, those that have each label.
    score (float): Best score on dev.
    measure (str): What the score is.
    is_kept (bool): Whether it was better than all before.
    """

    number: int
    n_joined: int
    joined: dict[str, int]
    score: float
    measure: str
    is_kept: bool


@dataclass(frozen=True)
class SelfTrained:
    """What came of it.

    folder (Path): The best pipeline.
    rounds (list[Round]): All trainings, in order.
    n_texts (int): Texts without labels.
    """

    folder: Path
    rounds: list[Round] = field(default_factory=list)
    n_texts: int = 0


def self_train(
    config: Path | Config,
    texts: Sequence[Path],
    output: Path,
    *,
    plan: SelfTraining | None = None,
    component: str | None = None,
    text_field: str = "text",
    overrides: ConfigMapping | None = None,
    gpu_id: int = -1,
    resume: bool = False,
    force: bool = False,
    checkpoint_every: str = "auto",
    show: Show = "none",
    command: str = "",
) -> SelfTrained:
    """Train a classifier, let it label texts, and train it again with those that it is sure of.

    Each round begins with the encoder, as the config says, so that no mistake is learned twice. A round counts only
    where it is better on dev than all before.

    config (Path | Config): As for `train`; its training data are .spacy files.
    texts (Sequence[Path]): Texts without labels: .txt, tables, .jsonl, .spacy files or folders of them.
    output (Path): Gets `round-0`, `round-1`, ..., each the folder of a run, and the best pipeline as `model-best`.
    plan (SelfTraining | None): Rounds, shares, the least score.
    component (str | None): The classifier, where the pipeline has more than one.
    text_field (str): Field or column of the text.
    overrides (Mapping | None): Values of the config to replace, by dotted key.
    gpu_id (int): -1 for the CPU.
    resume (bool): Go on where it was interrupted.
    force (bool): Throw away what is there; with `resume`, go on although something has changed.
    checkpoint_every (str): As for `train`.
    show (str): Progress, as for `train`.
    command (str): How to go on, for the message after a signal.
    RETURNS (SelfTrained): Every round, and the best pipeline.
    RAISES (ValueError): T720 without texts, T727 for dev texts among them, T734 for training data that are no .spacy
        files, T735 for what is there already, T642 unless it is clear which classifier is meant, T165 with nothing to
        resume, T167 where `resume` would go on with something else, T791 for classifiers of sentences or spans; what
        `train` raises.
    RAISES (FileExistsError): T371 for what no run of ours has left in `output`, T380 for what another command has.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    """
    # Before anything is written.
    Cadence.parse(checkpoint_every)
    plan = plan or SelfTraining()
    whole = read_config(config, overrides or {})
    readers = {part: _reader(whole, part) for part in ("train", "dev")}
    name, _ = classifier_meant(load_model_from_config(whole, auto_fill=True), component)
    refuse_same([output], list(texts))
    learned, dev = (list(read_all_docs(readers[part][1])) for part in ("train", "dev"))
    raw = _read(texts, text_field, learned, dev, readers["dev"][1])
    made_of: JsonObject = {
        # As a run would read it: a variable stands for the value that it has now.
        "config": flat(whole.interpolate()), "plan": asdict(plan), "classifier": name,
        "labeled texts": docs_digest(learned), "dev texts": docs_digest(dev),
        "texts": fingerprint_of_data("\0".join(raw).encode("utf-8", "surrogatepass")).hex(),
    }  # fmt: skip
    use_device(gpu_id)
    with hold_folder(output):
        repair(output)
        begin(output, whole, made_of, resume=resume, force=force)
        rounds: list[Round] = []
        best = output / "round-0"
        for number in range(plan.rounds + 1):
            folder = output / f"round-{number}"
            values, joined, n_joined = {}, dict[str, int](), 0
            if number:
                own = output / f"texts-{number}"
                joined, n_joined = _join(own, best / "model-best", raw, learned, name, plan, number)
                values = {f"{readers['train'][0]}.path": str(own)}
                if not n_joined:
                    break
            result = _run(
                whole, folder, {**(overrides or {}), **values}, gpu_id=gpu_id, resume=resume, force=force,
                checkpoint_every=checkpoint_every, show=show, command=command,
            )  # fmt: skip
            is_kept = not rounds or result.score > max(one.score for one in rounds)
            rounds.append(Round(number, n_joined, joined, result.score, result.measure, is_kept))
            if not is_kept:
                break
            best = folder
        copy_folder(best / "model-best", output / "model-best")
        write_record(output, made_of, [asdict(one) for one in rounds])
    return SelfTrained(output / "model-best", rounds, len(raw))


def _reader(config: Config, part: str) -> tuple[str, Path]:
    """Section and path of a corpus."""
    whole = config.interpolate()
    name = str(whole.get("training", {}).get(f"{part}_corpus", f"corpora.{part}"))
    block: object = whole
    for key in name.split("."):
        block = block.get(key) if isinstance(block, Mapping) else None
    path = block.get("path") if reads_docbins(block) else None
    if not isinstance(path, str) or not path:
        raise ValueError(T734.format(section=name, readers=" or ".join(READERS)))
    return name, Path(path).expanduser()


def _read(
    texts: Sequence[Path], text_field: str, learned: Sequence[Doc], dev: Sequence[Doc], dev_path: Path
) -> list[str]:
    """Texts without labels, each once, without those that have labels in the training data.

    RAISES (ValueError): T720 without any, T727 for texts of the dev data.
    """
    has_labels, tested = ({normalize(doc.text) for doc in docs} for docs in (learned, dev))
    found: dict[str, str] = {}
    for text in read_raw_texts(texts, field=text_field):
        found.setdefault(normalize(text), text)
    leaked = [text for key, text in found.items() if key in tested]
    if leaked:
        raise ValueError(T727.format(n=len(leaked), path=dev_path, text=repr(leaked[0][:60])))
    kept = [text for key, text in found.items() if key not in has_labels]
    if not kept:
        raise ValueError(T720.format(path=", ".join(map(str, texts))))
    return kept


def _join(
    folder: Path, pipeline: Path, raw: Sequence[str], labeled: Sequence[Doc], component: str, plan: SelfTraining,
    number: int,
) -> tuple[dict[str, int], int]:  # fmt: skip
    """Write the labeled texts, and those that joined in, next to each other."""
    nlp: Language = load_pipeline(pipeline)
    _, pipe = classifier_meant(nlp, component)
    docs = [nlp.make_doc(text) for text in raw]
    scores = scores_of(nlp, pipe, docs)
    share = min(1.0, plan.share * number)
    chosen = most_confident(scores, exclusive=pipe.exclusive, share=share, least_score=plan.least_score)
    joined: list[Doc] = []
    for doc, cats in zip(docs, chosen, strict=True):
        if cats:
            doc.cats = {pipe.labels[j]: value for j, value in cats.items()}
            joined.append(doc)
    folder.mkdir(exist_ok=True)
    DocBin(attrs=["ORTH"], docs=labeled, store_user_data=True).to_disk(folder / "labeled.spacy")
    DocBin(attrs=["ORTH"], docs=joined, store_user_data=True).to_disk(folder / "joined.spacy")
    counts = np.array([[one.get(j, 0.0) for j in range(len(pipe.labels))] for one in chosen]).sum(axis=0)
    return dict(zip(pipe.labels, counts.astype(int).tolist(), strict=True)), len(joined)


def _run(
    config: Config, folder: Path, values: ConfigMapping, *, gpu_id: int, resume: bool, force: bool,
    checkpoint_every: str, show: Show, command: str,
) -> Result:  # fmt: skip
    """A training, unless it has ended already.

    RAISES (Interrupted): After a signal.
    """
    result = Result.read(folder) if resume and (folder / "result.json").exists() else None
    if result is not None and result.status == "finished":
        return result
    goes_on = resume and Checkpoints(folder / "checkpoints").are_there
    to_its_end(lambda: train(
        config, folder, overrides=values, gpu_id=gpu_id, resume=goes_on, force=force or not goes_on,
        checkpoint_every=checkpoint_every, show=show, command=command,
    ))  # fmt: skip
    return Result.read(folder)
