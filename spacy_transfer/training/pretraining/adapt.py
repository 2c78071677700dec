"""Adapts a pretrained encoder to a domain by raw texts; see `spacy transfer adapt --help`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from thinc.api import Config

from ...corpora.excerpt import excerpt
from ...corpora.inspection.repeats import normalize
from ...errors import T711, T712, T713
from ...log import announce
from ...nn.encoders.record import read_record
from ...nn.sentence_pooling import read_modules
from ...repository.resolve import EncoderFolder, find_encoder
from ..output.progress import Show
from .plan import ADAPTING, SHARES, Aim, Pretraining
from .pretrain import Pretrained, pretrain

__all__ = ["adapt"]

_NAME = "transfer_textcat"


def adapt(
    encoder: str,
    texts: Sequence[str],
    target: Path,
    *,
    revision: str | None = None,
    test: Sequence[str] = (),
    objective: Aim = "auto",
    steps: int = ADAPTING.steps,
    rows: int = ADAPTING.rows,
    rate: float = ADAPTING.rate,
    share: float | None = None,
    seed: int = ADAPTING.seed,
    accumulate: int = ADAPTING.accumulate,
    gpu_id: int = -1,
    force: bool = False,
    work: Path | None = None,
    resume: bool = False,
    checkpoint_every: str = "auto",
    ranks: int = 1,
    show: Show = "none",
    command: str = "",
) -> Pretrained:
    """Go on with the training of an encoder on raw texts, without labels, on the loop of `pretrain`.

    A masked LM predicts hidden words. A sentence encoder reads a text without some of its words, and the whole text is
    predicted from its vector (TSDAE), so that this stays a vector of the sentence.

    encoder (str): A folder, the folder or package of a pipeline, or a name on the hub.
    texts (Sequence[str]): Raw texts of the domain.
    target (Path): Folder for the encoder; it appears complete or not at all, with the run's log.jsonl.
    revision (str | None): Of a hub name.
    test (Sequence[str]): Texts that will be tested on: none of them may be among the others.
    objective (str): "masked_lm", "tsdae", or "auto": what the encoder's folder says it is.
    steps (int): As in `Pretraining`.
    rows (int): As in `Pretraining`.
    rate (float): As in `Pretraining`.
    share (float | None): Of the words that are hidden or left out; None is 0.15 for "masked_lm" and 0.6 for "tsdae".
    seed (int): As in `Pretraining`.
    accumulate (int): As in `Pretraining`.
    gpu_id (int): -1 for the CPU.
    force (bool): As for `pretrain`.
    work (Path | None): As for `pretrain`.
    resume (bool): As for `pretrain`.
    checkpoint_every (str): As for `pretrain`.
    ranks (int): As for `pretrain`.
    show (str): As for `pretrain`.
    command (str): As for `pretrain`.
    RETURNS (Pretrained): Texts read, loss before and after.
    RAISES (ValueError): T711 for texts that are tested on; what `pretrain` raises.
    RAISES (OSError): T050 to T052 for an encoder that is nowhere.
    SOURCE: whole words: Cui et al. 2021, arXiv:1906.08101; TSDAE: Wang et al. 2021, arXiv:2104.06979, here with a
        decoder of its own that has one layer.
    """
    _refuse_leaks(texts, test)
    reads_sentences = _is_sentence_encoder(find_encoder(encoder, revision))
    if objective == "auto":
        objective = "tsdae" if reads_sentences else "masked_lm"
    elif (objective == "tsdae") != reads_sentences:
        announce((T712 if reads_sentences else T713).format(name=encoder))
    plan = Pretraining(
        steps=steps, rows=rows, rate=rate, share=SHARES[objective] if share is None else share, seed=seed,
        accumulate=accumulate, objective=objective, whole_words=True,
    )  # fmt: skip
    block = {"@misc": "spacy-transfer.PretrainedEncoder.v1", "name": encoder, "revision": revision}
    model = {"encoder": block, "windows": {"length": "auto", "stride": "auto"}}
    components = {_NAME: {"factory": _NAME, "model": model}}
    config = Config({"nlp": {"lang": "xx", "pipeline": [_NAME]}, "components": components})
    return pretrain(
        config, texts, target, plan=plan, device=torch.device("cuda", gpu_id) if gpu_id >= 0 else None, force=force,
        work=work, resume=resume, checkpoint_every=checkpoint_every, ranks=ranks, show=show, command=command,
    )  # fmt: skip


def _refuse_leaks(texts: Sequence[str], test: Sequence[str]) -> None:
    """RAISES (ValueError): T711."""
    tested = {normalize(text) for text in test} - {""}
    if found := [text for text in texts if normalize(text) in tested]:
        raise ValueError(T711.format(n=len(found), total=len(texts), text=excerpt(found[0])))


def _is_sentence_encoder(found: EncoderFolder) -> bool:
    """Whether it was trained for vectors of sentences, as its files say."""
    if found.is_component:
        return read_record(found.folder / "encoder.json").get("sentence") is not None
    return read_modules(found.folder)[0] is not None
