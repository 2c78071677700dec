"""Looks at an encoder: what it was trained for, its size, and how long a text it reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import T620
from ..files.strangers import read_object
from ..nn.encoders.pretrained import PretrainedEncoder
from ..nn.sentence_pooling import SentenceModules
from ..quiet import silent
from ..repository.known_encoders import KNOWN
from ..repository.resolve import EncoderFolder, find_encoder

DEFAULT = next(iter(KNOWN))
# Longer rows cost more than they bring in most tasks; longer texts are read in several.
_LONGEST_WINDOW = 256

Kind = Literal["sentence encoder", "masked LM", "encoder of a pipeline", "encoder"]


@dataclass(frozen=True)
class EncoderFacts:
    """What is known of an encoder.

    name (str): As the config has it: a name, or a folder with its whole path.
    folder (Path): Where its files are.
    kind (str): What it was trained for, as its files say.
    n_layers (int): Layers above the embeddings.
    width (int): Width of its states.
    n_weights (int): Numbers in it.
    window (int): Longest row that the config takes, in pieces, special pieces included.
    why_window (str): Why that long.
    tokenizer (str): Its tokenizer, as JSON; empty where it is not known.
    """

    name: str
    folder: Path
    kind: Kind
    n_layers: int
    width: int
    n_weights: int
    window: int
    why_window: str
    tokenizer: str = ""


def look_at_encoder(name: str) -> EncoderFacts:
    """Look at an encoder that is on this machine; the network is not asked.

    name (str): A folder, the folder or package of a pipeline, or a name on the hub.
    RETURNS (EncoderFacts): What is known of it.
    RAISES (OSError): T050, T620 if it is not here.
    RAISES (ValueError): As `PretrainedEncoder.load` for a folder that is no complete, safe encoder.
    """
    try:
        found = find_encoder(name, None, download=False)
    except FileNotFoundError as error:
        if str(error).startswith("[T"):
            raise
        raise FileNotFoundError(T620.format(name=name)) from error
    with silent():
        loaded = PretrainedEncoder(name).load()
    encoder, longest = loaded.encoder, SentenceModules.of(loaded.record).max_length
    limits = {
        "as the shipped configs": _LONGEST_WINDOW,
        "the encoder has no more positions": encoder.max_pieces,
        "the encoder was trained on texts no longer": longest,
    }
    why = min(limits, key=lambda reason: limits[reason] or _LONGEST_WINDOW)
    folder = Path(name).expanduser()
    return EncoderFacts(
        str(folder.resolve()) if folder.is_dir() else name, found.folder, _kind(found), encoder.n_layers,
        encoder.width, sum(weight.numel() for weight in encoder.parameters()), limits[why] or _LONGEST_WINDOW, why,
        loaded.tokenizer,
    )  # fmt: skip


def other_language(facts: EncoderFacts, code: str) -> str:
    """Say that an encoder was trained on texts of another language, where that is known.

    facts (EncoderFacts): What is known of it.
    code (str): Language of the texts; "xx" where nothing can be said.
    RETURNS (str): To go on with behind a reason; else empty.
    """
    known = KNOWN.get(facts.name)
    if known is None or code in ("xx", known.language):
        return ""
    return (
        f"; it was trained on texts in '{known.language}' and these are in '{code}', so an encoder for that "
        "language or for many is likely better (--encoder)"
    )


def _kind(found: EncoderFolder) -> Kind:
    if found.is_component:
        return "encoder of a pipeline"
    if (found.folder / "modules.json").is_file():
        return "sentence encoder"
    architectures = read_object(found.folder / "config.json").get("architectures")
    is_masked = isinstance(architectures, list) and any(
        str(one).endswith(("ForMaskedLM", "ForPreTraining")) for one in architectures
    )
    return "masked LM" if is_masked else "encoder"
