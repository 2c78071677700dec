"""Makes the scores of a trained pipeline probabilities, and finds a threshold for each label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...errors import T084, T624, T625, T626
from ...evaluation.calibration import calibration
from ...evaluation.measures import Numbers
from ...evaluation.temperature import find_temperature, find_thresholds, logits_of, mean_nll, scores_of
from ...files import hold_place, new_folder, refuse_same
from ...pipeline.components import classifiers_of
from ...pipeline.gold import read_gold
from ...pipeline.interface import Floats
from ...pipeline.loading import load_pipeline
from ...pipeline.targets.target import DOCUMENTS
from ...pipeline.textcat import TransferTextCategorizer
from .unknown import FittedConfidence, fit_unknown, predicted_docs, refuse_trained_on

# How far scores may be from those that were computed beforehand: weights are in single precision.
_TOLERANCE = 1e-3
_APART = 64.0


@dataclass(frozen=True)
class Quality:
    """How good scores are.

    nll (float): Mean negative log-likelihood in nats.
    ece (float): Expected calibration error.
    score (float): Accuracy where labels exclude each other, else macro F.
    """

    nll: float
    ece: float
    score: float


@dataclass(frozen=True)
class Calibrated:
    """What became of a component.

    name (str): The component.
    exclusive (bool): Whether its labels exclude each other.
    n_docs (int): Annotated documents.
    temperature (float): By which the logits are divided now.
    thresholds (dict[str, float]): By label; empty where labels exclude each other.
    before (Quality): On the documents, before.
    after (Quality): The same afterwards. Both are on the documents that were calibrated on.
    without (tuple[str, ...]): Labels that no document has.
    confidence (FittedConfidence | None): For unknown labels; None where none was fitted.
    """

    name: str
    exclusive: bool
    n_docs: int
    temperature: float
    thresholds: dict[str, float]
    before: Quality
    after: Quality
    without: tuple[str, ...]
    confidence: FittedConfidence | None = None


def calibrate(
    pipeline: str | Path,
    data: Path,
    output: Path | None = None,
    *,
    train: Path | None = None,
    beta: float = 1.0,
    force: bool = False,
) -> list[Calibrated]:
    """Find temperature and thresholds on documents that the pipeline was not trained on, and store them in it.

    The temperature goes into the weights of the head, so every use of the pipeline gives the new scores. Thresholds
    of labels that do not exclude each other are stored with the component. With the training documents, documents get
    a `doc._.transfer_confidence`: how sure it is that they have one of the labels; without them, a pipeline that has it
    loses it.

    pipeline (str | Path): Folder or package of a trained pipeline.
    data (Path): Annotated documents, not those of the training: a .spacy file or a folder of them. Those with other
        labels only stand for what is unknown.
    output (Path | None): Folder for the calibrated pipeline. None: the pipeline's own, replaced as a whole.
    train (Path | None): The training documents, for the confidence.
    beta (float): The F that thresholds are best for: 1 weighs precision and recall alike, 0.5 precision, 2 recall.
    force (bool): Replace what is in output.
    RETURNS (list[Calibrated]): For each spacy-transfer classifier what changed.
    RAISES (FileExistsError): T624 if output is there.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T625 for a package without an output, a beta out of range or a component of sentences or spans;
        T084 without documents, T626 for a component whose scores do not come of logits by softmax or sigmoid, T680 for
        too few documents, T683 for documents that were trained on; as `evaluate` for wrong annotations.
    RAISES (OSError): T370 while another command writes there.
    """
    if not beta > 0:
        raise ValueError(T625.format(problem=f"beta = {beta}", want="a number above 0"))
    if output is None:
        if not Path(pipeline).is_dir():
            # Says so where there is no such package either.
            load_pipeline(pipeline)
            raise ValueError(T625.format(problem=f"{pipeline} is not a folder", want="a folder with --output"))
        output, force = Path(pipeline), True
    else:
        if output.exists() and not (force and output.is_dir()):
            raise FileExistsError(T624.format(path=output))
        refuse_same([output], [Path(pipeline)])
    refuse_same([output], [data] if train is None else [data, train])
    with hold_place(output):
        nlp = load_pipeline(pipeline)
        done = calibrate_pipeline(nlp, data, train=train, beta=beta)
        with new_folder(output, sync=True) as part:
            nlp.to_disk(part)
    return done


def calibrate_pipeline(nlp: Language, data: Path, *, train: Path | None = None, beta: float = 1.0) -> list[Calibrated]:
    """Calibrate the classifiers of a pipeline in memory.

    nlp (Language): The pipeline.
    data (Path): As in `calibrate`.
    train (Path | None): As in `calibrate`.
    beta (float): As in `calibrate`.
    RETURNS (list[Calibrated]): For each spacy-transfer classifier what changed.
    RAISES (ValueError): As `calibrate`.
    """
    for name, pipe in classifiers_of(nlp, enabled_only=True).items():
        if pipe.target.name != DOCUMENTS:
            problem = f"'{name}' classifies {pipe.target.name}"
            raise ValueError(T625.format(problem=problem, want="components that classify documents"))
    references, docs = predicted_docs(nlp, data)
    learned = None if train is None else predicted_docs(nlp, train, scored=False)
    if train is not None and learned is not None:
        refuse_trained_on(docs, learned[1], data, train)
    done: list[Calibrated] = []
    for name, pipe in classifiers_of(nlp, enabled_only=True).items():
        gold = read_gold(references, pipe.labels, exclusive=pipe.exclusive, name=name)
        chosen = np.flatnonzero(gold.known.any(axis=1))
        if not len(chosen):
            raise ValueError(T084.format(file=data, error=f"no document has a label of '{name}'"))
        own = [docs[i] for i in chosen.tolist()]
        targets, known = gold.targets[chosen], gold.known[chosen]
        logits = _logits(pipe, own)
        before = _quality(pipe, logits, targets, known)
        temperature = find_temperature(logits, targets, known, exclusive=pipe.exclusive)
        wanted = scores_of(logits / temperature, exclusive=pipe.exclusive)
        default = float(pipe.cfg["threshold"])
        found = [] if pipe.exclusive else find_thresholds(wanted, targets, known, beta=beta, default=default)
        pipe.calibrate(temperature, dict(zip(pipe.labels, found, strict=True)) if found else {})
        now = np.asarray(pipe.predict(own), dtype=np.float64)
        if np.abs(now - wanted).max() > _TOLERANCE:
            raise ValueError(T626.format(name=name))
        without = tuple(pipe.labels[i] for i in np.flatnonzero(~((targets * known) >= 0.5).any(axis=0)))
        done.append(
            Calibrated(
                name, pipe.exclusive, len(own), temperature, pipe.thresholds if found else {}, before,
                _quality(pipe, logits / temperature, targets, known), without,
                None if learned is None else fit_unknown(pipe, learned, (references, docs), data),
            )
        )  # fmt: skip
    return done


def _logits(pipe: TransferTextCategorizer, docs: list[Doc]) -> Numbers:
    """Logits, of exclusive labels but for a constant. A score of 0.99999999 is 1 in single precision, and its logit is
    lost: so they are read off scores at a higher temperature, a power of two, which changes no bit of the weights."""
    thresholds = pipe.cfg["thresholds"]
    pipe.calibrate(_APART, thresholds)
    try:
        return _APART * logits_of(pipe.predict(docs), exclusive=pipe.exclusive)
    finally:
        pipe.calibrate(1.0 / _APART, thresholds)


def _quality(pipe: TransferTextCategorizer, logits: Numbers, gold: Floats, known: Floats) -> Quality:
    exclusive = pipe.exclusive
    scores = scores_of(logits, exclusive=exclusive)
    if exclusive:
        confidence, right = scores.max(axis=1), scores.argmax(axis=1) == gold.argmax(axis=1)
        score = float((scores.argmax(axis=1) == gold.argmax(axis=1)).mean())
    else:
        confidence, right = scores[known > 0], gold[known > 0] >= 0.5
        limits = np.asarray(list(pipe.thresholds.values()))
        predicted, positive = (scores >= limits) & (known > 0), (gold >= 0.5) & (known > 0)
        hits = (predicted & positive).sum(axis=0)
        score = float((2 * hits / np.maximum(1, predicted.sum(axis=0) + positive.sum(axis=0))).mean())
    return Quality(
        mean_nll(logits, gold, known, exclusive=exclusive),
        calibration(confidence, right).error, score,
    )  # fmt: skip
