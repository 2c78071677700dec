"""What gives scores: pipelines that fill `doc.cats`, and functions of texts."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar, final

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.util import get_package_path, is_package

from ...errors import (
    T701,
    T702,
    T702_COUNT,
    T702_KIND,
    T702_LABEL,
    T702_SCORE,
    T702_VECTOR,
    T702_WIDTH,
    T715,
    T715_TEACHER,
)
from ...files import sha256_of_data, sha256_of_folder
from ...log import announce
from ...pipeline.components import classifier_meant
from ...pipeline.gold import is_score, shown
from ...pipeline.loading import load_pipeline
from ...pipeline.neighbors import as_seen_in
from .answer_cache import SCORES, VECTORS, AnswerCache, AnswerKind, Scores, Vector

ScoringFunction = Callable[[Sequence[str]], Sequence[Mapping[str, float]]]
VectorFunction = Callable[[Sequence[str]], Sequence[Vector]]
A = TypeVar("A")
# Hexadecimal digits in the name of a file.
_DIGITS = 16
# What half precision can hold.
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Teacher:
    """Something that scores texts, and what tells it from others.

    name (str): For messages.
    identity (str): Another one gives other scores.
    ask (Callable): Scores of some texts.
    see (Callable | None): Vectors of some texts, half precision; None if it has none to show.
    """

    name: str
    identity: str
    ask: ScoringFunction
    see: VectorFunction | None = None

    def score(self, texts: Sequence[str], folder: Path, batch_size: int) -> list[Scores]:
        """Score texts; each text is asked for once, whatever happens to this process.

        texts (Sequence[str]): The texts.
        folder (Path): Where scores are kept.
        batch_size (int): Texts that are asked for together.
        RETURNS (list[Scores]): Of each text.
        RAISES (ValueError): T702 for an answer that is none.
        """
        answer = partial(_checked, ask=self.ask, name=self.name)
        return self._answers(SCORES, answer, texts, folder, batch_size, "scores")

    def vectors(self, texts: Sequence[str], folder: Path, batch_size: int) -> list[Vector]:
        """Make vectors of texts; each text is asked for once, as for scores.

        texts (Sequence[str]): The texts.
        folder (Path): Where vectors are kept.
        batch_size (int): Texts that are asked for together.
        RETURNS (list[Vector]): Of each text, (width,).
        RAISES (ValueError): T715 if it has none, T702 for an answer that is none.
        """
        if self.see is None:
            raise ValueError(T715.format(problem=T715_TEACHER.format(name=self.name)))
        answer = partial(_checked_vectors, see=self.see, name=self.name)
        found = self._answers(VECTORS, answer, texts, folder, batch_size, "makes vectors of")
        # Of several batches, or of another day.
        _check_widths(found, texts, self.name)
        return found

    def _answers(
        self, kind: AnswerKind[A], answer: Callable[[Sequence[str]], Sequence[A]], texts: Sequence[str], folder: Path,
        batch_size: int, verb: str,
    ) -> list[A]:  # fmt: skip
        file = f"{kind.name}-{sha256_of_data(self.identity.encode('utf-8'))[:_DIGITS]}.jsonl"
        with closing(AnswerCache(folder / file, kind)) as cache:
            waiting = list(dict.fromkeys(text for text in texts if text not in cache))
            if waiting:
                n_known = len(set(texts)) - len(waiting)
                announce(f"{self.name} {verb} {len(waiting):,} texts; {n_known:,} are known already.")
            for begin in range(0, len(waiting), batch_size):
                batch = waiting[begin : begin + batch_size]
                cache.add(batch, answer(batch))
            return [cache[text] for text in texts]


def _checked(texts: Sequence[str], *, ask: ScoringFunction, name: str) -> list[Scores]:
    """RAISES (ValueError): T702."""
    checked: list[Scores] = []
    for text, scores in zip(texts, _one_each(ask(texts), texts, name), strict=True):
        if not isinstance(scores, Mapping):
            problem = T702_KIND.format(value=shown(scores), text=text[:80])
            raise ValueError(T702.format(name=name, problem=problem))
        problem = ""
        if wrong := [label for label in scores if not isinstance(label, str)]:
            problem = T702_LABEL.format(label=shown(wrong[0]), text=text[:80])
        elif bad := [label for label, value in scores.items() if not is_score(value)]:
            problem = T702_SCORE.format(label=bad[0], value=shown(scores[bad[0]]), text=text[:80])
        if problem:
            raise ValueError(T702.format(name=name, problem=problem))
        checked.append({label: float(value) for label, value in scores.items()})
    return checked


def _checked_vectors(texts: Sequence[str], *, see: VectorFunction, name: str) -> list[Vector]:
    """RAISES (ValueError): T702."""
    checked: list[Vector] = []
    for text, given in zip(texts, _one_each(see(texts), texts, name), strict=True):
        try:
            vector = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            vector = np.empty(0)
        if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
            raise ValueError(T702.format(name=name, problem=T702_VECTOR.format(value=shown(given), text=text[:80])))
        checked.append(_halved(vector))
    _check_widths(checked, texts, name)
    return checked


def _check_widths(vectors: Sequence[Vector], texts: Sequence[str], name: str) -> None:
    """RAISES (ValueError): T702 unless all have one width."""
    for vector, text in zip(vectors, texts, strict=True):
        if len(vector) != len(vectors[0]):
            problem = T702_WIDTH.format(width=len(vector), text=text[:80], first=len(vectors[0]))
            raise ValueError(T702.format(name=name, problem=problem))


def _one_each(answer: object, texts: Sequence[str], name: str) -> Sequence[object]:
    """RAISES (ValueError): T702 unless there is an answer for each text."""
    if isinstance(answer, np.ndarray) and answer.ndim:
        answer = list(answer)
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) != len(texts):
        found = f"{len(answer)} answers" if isinstance(answer, Sequence) else type(answer).__name__
        raise ValueError(T702.format(name=name, problem=T702_COUNT.format(found=found, n=len(texts))))
    return answer


@final
class PipelineTeacher:
    """Asks a pipeline in a folder; it is loaded when something is asked that is not known yet.

    path (str | Path): Folder or package.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path

    @cached_property
    def _nlp(self) -> Language:
        return load_pipeline(self._path)

    def __call__(self, texts: Sequence[str]) -> list[Scores]:
        found: list[Scores] = [dict(doc.cats) for doc in self._nlp.pipe(texts)]
        if not any(found):
            pipes = ", ".join(self._nlp.pipe_names) or "none"
            raise ValueError(T701.format(name=self._path, components=pipes))
        return found

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """See `Teacher.see`."""
        return _vectors_of(self._nlp, texts)


def teacher_of(given: object) -> Teacher:
    """What somebody who learns can ask.

    given (object): Folder or package of a pipeline, a loaded pipeline, a function of texts, or a `Teacher`.
    RETURNS (Teacher): A function is told from others by its module and name: give it another name when its answers
        change, or make a `Teacher` of it.
    RAISES (OSError): What spaCy says of a pipeline that is nowhere.
    """
    if isinstance(given, Teacher):
        return given
    if isinstance(given, Language):
        digest = sha256_of_data(given.to_bytes())
        name = str(given.meta.get("name", "pipeline"))
        return Teacher(name, f"pipeline {digest}", _asking(given), partial(_vectors_of, given))
    if isinstance(given, str | Path):
        folder = Path(given)
        if not folder.exists() and is_package(str(given)):
            folder = get_package_path(str(given))
        elif not (folder / "meta.json").is_file():
            # For its message.
            load_pipeline(given)
        teacher = PipelineTeacher(given)
        return Teacher(str(given), f"pipeline {sha256_of_folder(folder)}", teacher, teacher.vectors)
    if not callable(given):
        raise TypeError(T702.format(name=type(given).__name__, problem=T702_KIND.format(value=shown(given), text="")))
    name = f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', type(given).__qualname__)}"
    return Teacher(name, f"function {name}", given)


def _asking(nlp: Language) -> ScoringFunction:
    return lambda texts: [dict(doc.cats) for doc in nlp.pipe(texts)]


def _vectors_of(nlp: Language, texts: Sequence[str]) -> list[Vector]:
    """RAISES (ValueError): T642 unless the pipeline has one spacy-transfer classifier."""
    _, pipe = classifier_meant(nlp, None)
    vectors = pipe.vectors(as_seen_in(nlp, pipe, [nlp.make_doc(text) for text in texts]))
    return list(_halved(vectors))


def _halved(values: NDArray[np.floating]) -> Vector:
    return values.clip(-_LARGEST, _LARGEST).astype(np.float16)
