"""Laws of a block in a pipeline: a tiny pipeline trains, saves and loads with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import spacy
import torch
from safetensors.torch import load_file
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import fix_random_seed

from ..config.instances import block_config
from ..json_types import ConfigBlock
from ..nn.tuning import Tuning
from ..quiet import quiet
from ..training.adamw import AdamW
from ..training.state.random_state import RandomState
from .law import require, require_close

_CARD = ["my card is lost", "the card is broken", "why is my card late", "can you help, my card"]
_LOGIN = ["the login is broken", "my password is not it", "how to login", "lost my password"]
_MONEY = [
    "refund the money",
    "i paid twice",
    "pay me my refund",
    "the bill and the price is " + "far " * 30 + "too high",
]
TEXTS = [text for group in zip(_CARD, _LOGIN, _MONEY, strict=True) for text in group]
LABELS = ["card", "login", "money"]
_NAME = "transfer_textcat"

# Random weights, and pieces made of the texts: no network, no files.
_ENCODER = {
    "@misc": "spacy-transfer.ScratchEncoder.v1", "width": 16, "depth": 2, "heads": 2, "feed_forward": 24,
    "max_pieces": 40, "dropout": 0.1, "word_dropout": 0.0,
    "tokenizer": {"@misc": "spacy-transfer.WordLevel.v1", "min_frequency": 1},
}  # fmt: skip


def tiny_docs() -> list[Doc]:
    """Make twelve documents; one is so long that it takes two windows.

    RETURNS (list[Doc]): Without annotations.
    """
    nlp = spacy.blank("xx")
    return [nlp.make_doc(text) for text in TEXTS]


def check_in_pipeline(
    place: str, config: object, docs: Sequence[Doc], *, exclusive: bool, whole: bool, block: object
) -> None:
    """Check a block in a tiny pipeline.

    place (str): Where it stands in the model block, "loss" or "tuning.adapter".
    config (object): The block as the config says it.
    docs (Sequence[Doc]): Documents with what it reads.
    exclusive (bool): Exactly one label a document.
    whole (bool): Also train it again with the same seed, and copy it by way of bytes.
    block (object): The block, for messages.
    RAISES (AssertionError): T501 for a law that does not hold.
    """
    state = RandomState.now()
    try:
        with quiet():
            _check(place, config, docs, exclusive=exclusive, whole=whole, block=block)
    finally:
        state.restore()


def _check(place: str, config: object, docs: Sequence[Doc], *, exclusive: bool, whole: bool, block: object) -> None:
    nlp = _trained(place, config, docs, exclusive=exclusive, block=block)
    scores = _scores(nlp, docs)
    good = scores.shape == (len(docs), 3) and bool(((scores >= 0.0) & (scores <= 1.0)).all())
    require("a pipeline scores each label from 0 to 1", good, block, scores)
    if exclusive:
        require_close("scores of exclusive labels sum to 1", scores.sum(dim=1), torch.ones(len(docs)), block)
    require("prediction is the same each time", torch.equal(scores, _scores(nlp, docs)), block)
    few = list(docs[-3:])
    alone = torch.cat([_scores(nlp, [doc]) for doc in few])
    require_close("padding and batch do not change a score", alone, scores[-3:], block)
    with TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        loaded = spacy.load(folder)
    require("saved and loaded it scores the same", torch.equal(_scores(loaded, docs), scores), block)
    require("the saved config builds the same block", _block_of(loaded, place) == _block_of(nlp, place), block)
    if not whole:
        return
    again = _trained(place, config, docs, exclusive=exclusive, block=block)
    require_close("the same seed trains the same weights", _scores(again, docs), scores, block)
    copied = load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
    require("as bytes and back it scores the same", torch.equal(_scores(copied, docs), scores), block)


def _trained(place: str, config: object, docs: Sequence[Doc], *, exclusive: bool, block: object) -> Language:
    fix_random_seed(0)
    # Vectors are the vocabulary's.
    nlp = spacy.blank("xx", vocab=docs[0].vocab if docs[0].vocab.vectors_length else True)
    factory = _NAME if exclusive else f"{_NAME}_multilabel"
    model: ConfigBlock = {
        "encoder": _ENCODER, "windows": {"length": 24, "stride": 16}, "precision": "fp32", "device": "cpu",
        "piece_budget": 256,
    }  # fmt: skip
    _put(model, place.split("."), config)
    nlp.add_pipe(factory, name=_NAME, config={"model": model})
    examples = []
    for i, doc in enumerate(docs):
        reference = doc.copy()
        reference.cats = {label: float(j == i % 3 or (not exclusive and j == i % 2)) for j, label in enumerate(LABELS)}
        examples.append(Example(doc.copy(), reference))
    nlp.initialize(lambda: examples)
    before = _weights(nlp)
    optimizer = AdamW(learn_rate=1e-3)
    for _ in range(3):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses, drop=0.1)
        good = all(torch.isfinite(torch.tensor(float(value))) for value in losses.values())
        require("training has a finite loss", good, block, losses)
    after = _weights(nlp)
    require("training leaves finite weights", all(bool(value.isfinite().all()) for value in after.values()), block)
    changed = any(not torch.equal(before[name], value) for name, value in after.items())
    require("training changes weights", changed, block)
    return nlp


def _put(model: ConfigBlock, path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        model = model.setdefault(name, {})
        if name == "tuning":
            model.update({**block_config("tuning", "misc", Tuning()), **model})
    model[path[-1]] = value


def _scores(nlp: Language, docs: Sequence[Doc]) -> torch.Tensor:
    return torch.as_tensor(nlp.get_pipe(_NAME).predict([doc.copy() for doc in docs]))


def _weights(nlp: Language) -> dict[str, torch.Tensor]:
    """A copy of all weights, by way of a folder: nothing is asked of the network itself."""
    with TemporaryDirectory() as folder:
        nlp.get_pipe(_NAME).to_disk(folder)
        files = sorted(Path(folder).rglob("*.safetensors"))
        return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def _block_of(nlp: Language, place: str) -> object:
    found: object = nlp.config.interpolate()["components"][_NAME]["model"]
    for name in place.split("."):
        found = found[name] if isinstance(found, Mapping) else found
    return found
