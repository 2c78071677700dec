"""Scores of a teacher by text, on the disk: what it was asked once it is never asked again."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ...files import GrowingFile, sha256_of_data, write_data
from ...pipeline.gold import is_score

Scores = Mapping[str, float]


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return sha256_of_data(text.encode("utf-8", "surrogatepass"))


class ScoreCache:
    """Scores of one teacher: a file of lines, {"text": SHA-256, "scores": {label: score}}.

    A process that is killed while it appends leaves at most a last line that is cut short; the next one takes it out.

    path (Path): The file; it is made when something is added first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Scores] = {}
        data = path.read_bytes() if path.exists() else b""
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            write_data(path, whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            # A line that is damaged is asked for again.
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                found = json.loads(line)
                if all(is_score(value) for value in found["scores"].values()):
                    self._known[str(found["text"])] = {str(k): float(v) for k, v in found["scores"].items()}
        self._file = GrowingFile(path)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, text: str) -> bool:
        return text_digest(text) in self._known

    def __getitem__(self, text: str) -> Scores:
        return self._known[text_digest(text)]

    def add(self, texts: Sequence[str], scores: Sequence[Scores]) -> None:
        """Keep the scores of some texts; they are on the disk when this returns.

        texts (Sequence[str]): The texts.
        scores (Sequence[Scores]): Of each.
        RAISES (OSError): What the file system says.
        """
        lines = []
        for text, one in zip(texts, scores, strict=True):
            digest = text_digest(text)
            self._known[digest] = one
            lines.append(json.dumps({"text": digest, "scores": one}, ensure_ascii=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file.append("".join(f"{line}\n" for line in lines).encode("utf-8"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
