"""A trained classifier of transformers or SetFit becomes a pipeline, with its head."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import spacy
from spacy.language import Language
from torch import Tensor

from ...errors import T163, T562, T562_LAST, T562_PIPELINE, T562_PROBLEM, T562_WIDTH, T564
from ...files import hold_place, new_folder, refuse_same
from ...json_types import ConfigBlock
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...model.storage.snapshot import StoredNetwork
from ...model.storage.weights import weights_of
from ...model.text.tokenizer import PieceTokenizer
from ...nn.encoders.pretrained import LoadedEncoder, read_encoder
from ...nn.encoders.trial import try_encoder
from ...nn.sentence_pooling import SentenceModules
from ...pipeline.gold import check_label
from ...pipeline.textcat import TransferTextCategorizer
from ...repository.encoder_folder import PickledWeights
from ...repository.resolve import find_encoder
from .trained_head import PROBLEMS, Problem, TrainedHead, read_head

_POOLINGS = {"attention": "Attention", "cls": "Cls", "lasttoken": "Last", "max": "Max", "mean": "Mean"}
# As of `Windows`, where nothing says how long texts were in training.
_LENGTH = 512


@dataclass(frozen=True)
class ImportedClassifier:
    """What was imported.

    folder (Path): Of the pipeline.
    component (str): The classifier in it.
    labels (list[str]): In the order of the scores.
    exclusive (bool): Exactly one label a text.
    length (int): Of its windows, in pieces.
    """

    folder: Path
    component: str
    labels: list[str]
    exclusive: bool
    length: int


def import_classifier(
    source: str | Path,
    output: str | Path,
    *,
    labels: Sequence[str] | None = None,
    problem: Problem | None = None,
    lang: str = "en",
    revision: str | None = None,
    force: bool = False,
) -> ImportedClassifier:
    """Make a pipeline of a classifier that transformers or SetFit has trained; scores stay the same.

    Its head is kept with all its layers, and can be trained further: name the pipeline as `source` of a component.
    Nothing is unpickled; a head in a pickle is refused, with the way to convert it.

    source (str | Path): Folder, or a name on the Hugging Face hub.
    output (str | Path): Folder for the pipeline; whole or not there.
    labels (Sequence[str] | None): Other names for the labels, in the order of the logits.
    problem (Problem | None): "single-label" or "multi-label", where the folder does not say it.
    lang (str): Language of the pipeline, which decides how spaCy cuts tokens.
    revision (str | None): Branch, tag or commit on the hub.
    force (bool): Replace what is there.
    RETURNS (ImportedClassifier): What was written.
    RAISES (ValueError): T562 for what is no classifier or has unclear labels, T563 and T564 for pickles, T566 for a
        head that cannot be kept, T373 if the output is the source; T012 to T018 and T054 for an unusable encoder.
    RAISES (OSError): T050 to T052 if the source is nowhere, T450 to T455 and T567 for damaged files.
    RAISES (FileExistsError): T163 if output exists.
    """
    output = Path(output)
    if output.exists() and not (force and output.is_dir()):
        raise FileExistsError(T163.format(path=output))
    if problem is not None and problem not in PROBLEMS:
        raise ValueError(T562.format(name=source, problem=T562_PROBLEM.format(problem=repr(problem)[:80])))
    refuse_same([output], [Path(source)])
    for label in labels or ():
        check_label(label)
    with hold_place(output):
        nlp = read_classifier(str(source), labels=labels, problem=problem, lang=lang, revision=revision)
        ((name, pipe),) = nlp.pipeline
        with new_folder(output, sync=True) as part:
            nlp.to_disk(part)
    classifier = cast(TransferTextCategorizer, pipe)
    length = _shim(classifier).windows.length
    return ImportedClassifier(output, name, list(classifier.labels), classifier.exclusive, length)


def read_classifier(
    source: str, *, labels: Sequence[str] | None, problem: Problem | None, lang: str, revision: str | None
) -> Language:
    """Build the pipeline; see `import_classifier`.

    source (str): Folder, or a name on the hub.
    labels (Sequence[str] | None): As there.
    problem (Problem | None): As there.
    lang (str): As there.
    revision (str | None): As there.
    RETURNS (Language): With one component.
    RAISES (ValueError, OSError): As there.
    """
    try:
        found = find_encoder(source, revision)
    except PickledWeights as error:
        # Its way out would leave the head behind.
        raise ValueError(T564.format(source=source)) from error
    if found.is_component:
        raise ValueError(T562.format(name=source, problem=T562_PIPELINE))
    # The head first: what is no classifier is refused before any weight of an encoder is read.
    head = read_head(found).settled(found.name, labels, problem)
    loaded = _normalizing(read_encoder(found), head)
    nlp = spacy.blank(lang)
    factory = "transfer_textcat" if head.exclusive else "transfer_textcat_multilabel"
    config = {"model": _blocks(source, revision, head, loaded)}
    pipe = cast(TransferTextCategorizer, nlp.add_pipe(factory, config=config))
    for label in head.labels:
        pipe.add_label(label)
    shim, n_labels = _shim(pipe), len(head.labels)
    state = {"n_steps": 0, "n_labels": n_labels, "label_weights": [1.0] * n_labels}
    weights = {f"encoder.{name}": value for name, value in weights_of(loaded.encoder).items()}
    weights |= {f"head.{name}": value for name, value in head.weights.state().items()}
    weights |= {f"pooling.{name}": value for name, value in _pooling_weights(head, loaded).items()}
    _check_width(found.name, head, loaded)
    _check_last(found.name, head, loaded)
    shim.take(StoredNetwork(loaded.record, loaded.tokenizer, weights, state))
    network = shim.network
    try_encoder(network.encoder, found.name, network.boundary)
    pipe.model.set_dim("nO", n_labels, force=True)
    return nlp


def _shim(pipe: TransferTextCategorizer) -> OwnEncoderShim:
    return cast(OwnEncoderShim, pipe.model.shims[0])


def _normalizing(loaded: LoadedEncoder, head: TrainedHead) -> LoadedEncoder:
    """SetFit scales vectors to length 1 where its own file says so; then they are here, too."""
    said = SentenceModules.from_json(loaded.record.get("sentence")) or SentenceModules(["mean"])
    if not head.normalize or said.after[-1:] == ["normalize"]:
        return loaded
    following = replace(said, after=[*said.after, "normalize"])
    return replace(loaded, record={**loaded.record, "sentence": following.to_json()})


def _blocks(source: str, revision: str | None, head: TrainedHead, loaded: LoadedEncoder) -> ConfigBlock:
    """The blocks of the component's config that are not the default."""
    said = SentenceModules.from_json(loaded.record.get("sentence")) or SentenceModules(["mean"])
    pooling = head.pooling
    if pooling == "folder":
        is_plain = len(said.modes) == 1 and not said.after and not said.unknown
        named = _POOLINGS[said.modes[0]] if is_plain else "Auto"
    else:
        named = _POOLINGS[pooling]
    length: int | str = "auto"
    if head.pooling in ("cls", "mean", "lasttoken"):
        longest = loaded.encoder.max_pieces
        length = min(head.max_length or longest or _LENGTH, longest or head.max_length or _LENGTH)
    return {
        "encoder": {"name": source, "revision": revision},
        "pooling": {"@layers": f"spacy-transfer.{named}Pooling.v1"},
        "head": {"@layers": "spacy-transfer.Head.v1", **asdict(head.weights.block())},
        "windows": {"length": length, "stride": "auto"},
    }


def _pooling_weights(head: TrainedHead, loaded: LoadedEncoder) -> Mapping[str, Tensor]:
    return loaded.pooling_weights if head.pooling == "folder" else head.pooling_weights


def _check_width(name: str, head: TrainedHead, loaded: LoadedEncoder) -> None:
    """RAISES (ValueError): T562 for a head that was trained on other vectors."""
    width = loaded.encoder.width
    said = SentenceModules.from_json(loaded.record.get("sentence"))
    if head.pooling == "folder" and said is not None:
        width *= max(1, len(said.modes))
        for one in said.after:
            width = width if one == "normalize" else one.n_out
    if head.weights.width != width:
        told = T562_WIDTH.format(found=head.weights.width, width=width)
        raise ValueError(T562.format(name=name, problem=told))


def _check_last(name: str, head: TrainedHead, loaded: LoadedEncoder) -> None:
    """RAISES (ValueError): T562 where the last piece is padding to transformers, which then reads the one before it."""
    suffix, pad_id = PieceTokenizer(loaded.tokenizer).suffix, loaded.record["config"].get("pad_token_id")
    if head.pooling == "lasttoken" and suffix[-1:] == [pad_id]:
        raise ValueError(T562.format(name=name, problem=T562_LAST.format(piece=pad_id)))
