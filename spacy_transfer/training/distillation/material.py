"""The texts that a student learns from: labeled ones, raw ones and changed copies; and those that are kept apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy.tokens import Doc

from ...corpora.inspection.repeats import normalize
from ...corpora.noise.augmentation import Augmentation
from ...docbins import read_all_docs
from ...errors import T707, T709
from ...log import announce
from .answer_cache import text_digest
from .plan import Distillation

_MOST_HELD = 2000


@dataclass(frozen=True)
class Material:
    """Texts by what they are for.

    gold (list[Doc]): Labeled documents to learn from.
    dev (list[Doc]): Labeled documents to choose the best step by.
    texts (list[str]): Everything to learn from: texts of `gold`, raw ones, and copies of both.
    held (list[str]): Raw texts to choose the best step by, where there is no `dev`.
    """

    gold: list[Doc]
    dev: list[Doc]
    texts: list[str]
    held: list[str]

    @classmethod
    def collect(cls, raw: Sequence[str], labeled: Path | None, dev: Path | None, plan: Distillation) -> "Material":
        """Read, leave out what occurs twice or is in dev, and make copies.

        raw (Sequence[str]): Unlabeled texts.
        labeled (Path | None): A .spacy file, or a folder of them.
        dev (Path | None): The same.
        plan (Distillation): Copies and share of what is kept apart.
        RAISES (ValueError): T707 where nothing is left to learn from.
        """
        gold, looked_at = _docs(labeled), _docs(dev)
        in_dev = {normalize(doc.text) for doc in looked_at}
        seen = in_dev | {normalize(doc.text) for doc in gold}
        own: list[str] = []
        n_in_dev = 0
        for text in raw:
            key = normalize(text)
            n_in_dev += key in in_dev
            if key and key not in seen:
                seen.add(key)
                own.append(text)
        if n_in_dev:
            announce(T709.format(n=n_in_dev))
        held: list[str] = []
        if not looked_at:
            held = [text for text in own if int(text_digest(text)[:8], 16) < plan.dev_share * 16**8][:_MOST_HELD]
            if not held and len(own) + len(gold) > 1:
                # Of a few texts the share may be none.
                held = sorted(own, key=text_digest)[:1]
            apart = set(held)
            own = [text for text in own if text not in apart]
        texts = [*(doc.text for doc in gold), *own]
        if not any(text.strip() for text in texts) or not (held or looked_at):
            raise ValueError(T707.format(n_raw=len(raw), n_labeled=len(gold)))
        # Most of the changes leave out a word or hide it: the teacher says what is left of the label.
        changes = Augmentation(
            clean=0.0, drop=0.15, swap=0.05, repeat=0.0, mask=0.1, typing=0.0, casing=0.0, mixing=0.0, seed=plan.seed
        )
        copies = [copy for number in range(plan.variants) for copy in changes.draw(texts, None, number)]
        known = set(texts)
        return cls(gold, looked_at, [*texts, *(copy for copy in dict.fromkeys(copies) if copy not in known)], held)


def _docs(path: Path | None) -> list[Doc]:
    return [] if path is None else list(read_all_docs(path))
