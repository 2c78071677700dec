"""What a teacher says of texts, on the disk: what it was asked once it is never asked again."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...files import GrowingFile, sha256_of_data, write_data
from ...pipeline.gold import is_score

Scores = Mapping[str, float]
Vector = NDArray[np.float16]
A = TypeVar("A")


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return sha256_of_data(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class AnswerKind(Generic[A]):
    """A kind of answer, and how it is written.

    name (str): Its key in a line.
    to_json (Callable): An answer as JSON has it.
    from_json (Callable): The reverse; raises a ValueError or TypeError for what is no answer.
    """

    name: str
    to_json: Callable[[A], object]
    from_json: Callable[[object], A]


class AnswerCache(Generic[A]):
    """Answers of one teacher: a file of lines, {"text": SHA-256, kind: answer}.

    A process that is killed while it appends leaves at most a last line that is cut short; the next one takes it out.

    path (Path): The file; it is made when something is added first.
    kind (AnswerKind): What it holds.
    """

    def __init__(self, path: Path, kind: AnswerKind[A]) -> None:
        self.path, self._kind = path, kind
        self._known: dict[str, A] = {}
        data = path.read_bytes() if path.exists() else b""
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            write_data(path, whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            # A line that is damaged is asked for again.
            with suppress(ValueError, KeyError, TypeError):
                read = json.loads(line)
                self._known[str(read["text"])] = kind.from_json(read[kind.name])
        self._file = GrowingFile(path)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, text: str) -> bool:
        return text_digest(text) in self._known

    def __getitem__(self, text: str) -> A:
        return self._known[text_digest(text)]

    def add(self, texts: Sequence[str], answers: Sequence[A]) -> None:
        """Keep the answers for some texts; they are on the disk when this returns.

        texts (Sequence[str]): The texts.
        answers (Sequence): For each.
        RAISES (OSError): What the file system says.
        """
        lines = []
        for text, answer in zip(texts, answers, strict=True):
            digest = text_digest(text)
            self._known[digest] = answer
            lines.append(json.dumps({"text": digest, self._kind.name: self._kind.to_json(answer)}, ensure_ascii=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file.append("".join(f"{line}\n" for line in lines).encode("utf-8"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_scores(value: object) -> Scores:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    scores = {str(label): float(score) for label, score in value.items() if is_score(score)}
    if len(scores) < len(value):
        raise ValueError(value)
    return scores


def _read_vector(value: object) -> Vector:
    if not isinstance(value, str):
        raise TypeError(value)
    vector = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f2")
    if not np.isfinite(vector).all():
        raise ValueError(value)
    return vector


SCORES = AnswerKind[Scores]("scores", dict, _read_scores)
# Half precision: a student never comes so near.
VECTORS = AnswerKind[Vector](
    "vector", lambda vector: base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii"), _read_vector
)
