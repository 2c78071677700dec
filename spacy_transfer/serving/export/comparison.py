"""Compares exported networks with the torch network that they were made from: size, speed, scores, accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from ...errors import T084
from ...evaluation.evaluate import annotated_examples
from ...evaluation.scorer import score_cats
from ...json_types import JsonObject
from ...model.architectures.classifier import OwnEncoderClassifier
from ...model.exported.onnx_shim import OnnxShim
from ...model.exported.session import n_threads
from ...model.features.joining import FEATURELESS, FixedFeatureBatch, Inputs
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...model.text.batching import micro_batches, row_arrays
from ...nn.devices.machine import cpu_model
from ...nn.joined import JoinedValues
from ...pipeline.interface import Floats
from ...pipeline.targets.target import WholeDocuments
from ...pipeline.textcat import TransferTextCategorizer

# Texts whose scores are compared, texts that are timed, texts to calibrate on.
_COMPARED, _TIMED, _CALIBRATED = 256, 96, 128
_TURNS = 3
# A network counts as equally fast from so much of the speed of the fastest; the one with the nearest scores is taken.
_AS_FAST = 0.95
# Between two networks in fp32.
_NEAR = 1e-4
# Of a made-up text, in pieces.
_SHORTEST, _LONGEST = 8, 96


@dataclass(frozen=True)
class Variant:
    """What was measured of a network.

    name (str): How it computes.
    megabytes (float): Size of its files.
    speed (float): Documents per second, against torch.
    largest (float | None): Largest difference of a score from torch's.
    mean (float | None): Mean difference of the scores.
    accuracy (float | None): On the data, where there are any.
    """

    name: str
    megabytes: float
    speed: float
    largest: float | None = None
    mean: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class OnnxReport:
    """What was measured at the export of a component.

    chosen (str): Name of the variant that was kept.
    variants (tuple[Variant, ...]): torch first, then what was tried.
    torch_precision (str): Of the torch network's arithmetic on this machine.
    threads (int): That both used.
    cpu (str): The processor.
    """

    chosen: str
    variants: tuple[Variant, ...]
    torch_precision: str
    threads: int
    cpu: str

    def to_json(self) -> JsonObject:
        """As it stands in meta.json."""
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """Texts to measure with.

    texts (Sequence[str]): As the component reads them.
    joined (Floats | None): What is joined to their vectors.
    examples (Sequence[Example]): Their annotations; none for made-up texts.
    pipe (TransferTextCategorizer | None): Whose labels they are.
    feeds (Sequence): Micro-batches to calibrate on; none for made-up texts.
    """

    texts: Sequence[str]
    joined: Floats | None = None
    examples: Sequence[Example] = ()
    pipe: TransferTextCategorizer | None = None
    feeds: Sequence[dict[str, NDArray[np.int64]]] = ()

    @property
    def is_annotated(self) -> bool:
        """Whether any document has a label of the component."""
        labels = set() if self.pipe is None else set(self.pipe.labels)
        return any(not labels.isdisjoint(eg.reference.cats) for eg in self.examples)

    def first(self, n: int) -> tuple[Sequence[str], Floats | None]:
        """Texts spread over the sample, and what is joined to them.

        n (int): At most.
        """
        step = max(1, len(self.texts) // n)
        return self.texts[::step][:n], None if self.joined is None else self.joined[::step][:n]

    def accuracy(self, scores: Floats) -> float | None:
        """Share of documents with exactly the right labels.

        scores (Floats): Of all texts.
        RETURNS (float | None): None without annotations.
        """
        if self.pipe is None or not self.is_annotated:
            return None
        WholeDocuments().write([eg.predicted for eg in self.examples], self.pipe.labels, scores)
        found = score_cats(
            self.examples,
            labels=self.pipe.labels,
            exclusive=self.pipe.exclusive,
            threshold=self.pipe.cfg["threshold"],
            thresholds=self.pipe.cfg["thresholds"],
        )
        return found["cats_acc"]


@dataclass(frozen=True)
class Trial:
    """An exported network that is tried.

    name (str): How it computes.
    shim (OnnxShim): Runs it.
    megabytes (float): Size of its files.
    """

    name: str
    shim: OnnxShim
    megabytes: float


def made_up_sample(shim: OwnEncoderShim) -> Sample:
    """Texts of random pieces, where there are no others.

    shim (OwnEncoderShim): Of the torch network.
    """
    rng = np.random.default_rng(0)
    pieces = sorted(piece for piece in shim.tokenizer.vocabulary() if piece.isalnum()) or ["a"]
    lengths = rng.integers(_SHORTEST, _LONGEST, size=_COMPARED)
    texts = [" ".join(pieces[i] for i in rng.integers(0, len(pieces), size=n)) for n in lengths]
    joined = rng.standard_normal((len(texts), shim.n_features), dtype=np.float32) if shim.n_features else None
    return Sample(texts, joined)


def annotated_sample(nlp: Language, name: str, net: OwnEncoderClassifier, data: Path) -> Sample:
    """Texts of a file, as the component reads them.

    nlp (Language): The pipeline.
    name (str): Of the component.
    net (OwnEncoderClassifier): Its torch network.
    data (Path): A .spacy file, or a folder of them.
    RETURNS (Sample): All of them.
    RAISES (FileNotFoundError): T440 for a file that is missing.
    RAISES (ValueError): T084 without documents, and what else `evaluate` raises.
    """
    examples = list(annotated_examples(nlp, data))
    if not examples:
        raise ValueError(T084.format(file=data, error="it holds no documents"))
    docs = [eg.predicted for eg in examples]
    for other, pipe in nlp.pipeline:
        if other == name:
            break
        docs = list(pipe.pipe(iter(docs))) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]
    examples = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
    # Of sentences and spans, each is a document here.
    examples = nlp.get_pipe(name).annotated(examples)
    if not examples:
        raise ValueError(T084.format(file=data, error="nothing in it is annotated"))
    docs = [eg.predicted for eg in examples]
    texts = net.shim.settings.text.read(docs)
    joined = net.read(docs).joined
    values = joined.values.cpu().numpy() if isinstance(joined, JoinedValues) else None
    sample = Sample(texts, values, examples, nlp.get_pipe(name))
    documents = net.shim.reader.read(sample.first(_CALIBRATED)[0], remember=False)
    feeds = []
    for group in micro_batches(documents, 1024):
        rows = row_arrays([documents[i] for i in group], net.shim.network.encoder.pad_id)
        feeds.append({"ids": rows.ids, "mask": rows.inside.astype(np.int64)})
    return Sample(texts, values, examples, nlp.get_pipe(name), feeds)


def measured(shim: OwnEncoderShim, trials: Sequence[Trial], sample: Sample, max_loss: float) -> OnnxReport:
    """Measure exported networks, and choose one: of those that are as fast as the fastest, the one with the nearest
    scores.

    shim (OwnEncoderShim): Of the torch network.
    trials (Sequence[Trial]): The exported ones.
    sample (Sample): Texts.
    max_loss (float): Accuracy that the chosen one may lose; if all lose more, it is the first choice all the same.
    RETURNS (OnnxReport): torch and all trials.
    """

    def torch_scores(texts: Sequence[str], joined: Floats | None) -> Floats:
        """Score with torch."""
        given = FEATURELESS if joined is None else FixedFeatureBatch(JoinedValues(torch.from_numpy(joined.copy())))
        return shim.scores(Inputs(texts, given))

    ways: list[Callable[[Sequence[str], Floats | None], Floats]] = [torch_scores, *(one.shim.scores for one in trials)]
    few, joined = sample.first(_TIMED)
    seconds = np.full(len(ways), np.inf)
    for _ in range(_TURNS):
        for i, score in enumerate(ways):
            begin = perf_counter()
            score(few, joined)
            seconds[i] = min(seconds[i], perf_counter() - begin)
    some, joined = sample.first(_COMPARED)
    wanted = torch_scores(some, joined)
    found = [trial.shim.scores(some, joined) for trial in trials]
    differences = [np.abs(one - wanted) for one in found]
    before = sample.accuracy(torch_scores(sample.texts, sample.joined))
    speeds = seconds[0] / seconds
    kept, accuracies = _choose(trials, speeds[1:], differences, found, sample, before, max_loss)
    size = sum(weight.nbytes for weight in shim.network.parameters()) / 1e6
    variants = [Variant("torch", size, 1.0, accuracy=before)]
    for i, trial in enumerate(trials):
        largest, mean = float(differences[i].max()), float(differences[i].mean())
        variants.append(Variant(trial.name, trial.megabytes, float(speeds[i + 1]), largest, mean, accuracies.get(i)))
    dtype = str(shim.precision).removeprefix("torch.")
    return OnnxReport(trials[kept].name, tuple(variants), dtype, n_threads(), cpu_model())


def _choose(
    trials: Sequence[Trial], speeds: NDArray[np.float64], differences: Sequence[Floats], found: Sequence[Floats],
    sample: Sample, before: float | None, max_loss: float,
) -> tuple[int, dict[int, float | None]]:  # fmt: skip
    """The number of the trial to keep, and the accuracies that were looked at on the way."""
    same = [
        i for i in range(len(trials)) if trials[i].shim.state["precision"] == "int8" or _is_near(found[i], found[0])
    ]
    left, accuracies, first = list(same), dict[int, float | None](), -1
    while left:
        fast = [i for i in left if speeds[i] >= _AS_FAST * max(speeds[j] for j in left)]
        kept = min(fast, key=lambda i: float(differences[i].mean()))
        first = kept if first < 0 else first
        accuracies[kept] = after = sample.accuracy(trials[kept].shim.scores(sample.texts, sample.joined))
        if before is None or after is None or before - after <= max_loss:
            return kept, accuracies
        left.remove(kept)
    return first, accuracies


def _is_near(one: Floats, other: Floats) -> bool:
    """Whether two networks in fp32 are the same but for rounding."""
    return float(np.abs(one - other).max()) <= _NEAR
