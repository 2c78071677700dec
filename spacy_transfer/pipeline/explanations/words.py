"""From pieces to the tokens, sentences and windows of a document."""

from collections import defaultdict
from collections.abc import Sequence

from spacy.pipeline import Sentencizer
from spacy.tokens import Doc

from ...errors import T744, T745
from ..sources import WHOLE_TEXT
from .alignment import places_in
from .attribution import Attribution
from .explanation import Explanation, Part

_N_SHOWN = 20


def check_words(docs: Sequence[Doc]) -> None:
    """Refuse documents in which there is nothing to explain.

    docs (Sequence[Doc]): Any number.
    RAISES (ValueError): T744 for one without words.
    """
    for number, doc in enumerate(docs, start=1):
        if all(one.is_space for one in doc):
            raise ValueError(T744.format(number=number, text=doc.text[:80]))


def columns_of(labels: Sequence[str], known: Sequence[str], name: str) -> list[int]:
    """Find the columns of labels.

    labels (Sequence[str]): Those asked for.
    known (Sequence[str]): Those of the component, in the order of its scores.
    name (str): Of the component.
    RETURNS (list[int]): A column for each.
    RAISES (ValueError): T745 for a label that does not exist.
    """
    for label in labels:
        if label not in known:
            more = f" and {len(known) - _N_SHOWN} more" if len(known) > _N_SHOWN else ""
            shown = ", ".join(f"'{one}'" for one in known[:_N_SHOWN]) + more
            raise ValueError(T745.format(name=name, label=label, labels=shown))
    return [list(known).index(label) for label in labels]


def explanation_of(doc: Doc, label: str, score: float, found: Attribution) -> Explanation:
    """Sum up what the pieces of a document add.

    doc (Doc): The document.
    label (str): The label.
    score (float): Its score.
    found (Attribution): What the model says.
    RETURNS (Explanation): Of its words, sentences and windows, and of what else was read.
    """
    spread = _Spread(doc, found)
    by_token, elsewhere = [0.0] * len(doc), defaultdict[str, float](float)
    windows: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    for place, window, value in zip(found.places, found.windows, found.values, strict=True):
        source, shares = spread.of(place)
        if not shares:
            elsewhere[source] += value
            continue
        for token, share in shares.items():
            by_token[token] += share * value
        windows[window].append((min(shares), max(shares), value))
    words = [Part(one.text, *_place(one.idx, one.text), by_token[one.i]) for one in doc if not one.is_space]
    difference = found.reached - found.baseline
    gap = abs(sum(found.values) - difference) / (abs(difference) or 1.0)
    return Explanation(
        doc.text, label, score, "gradients", words,
        [_part(doc, begin, end, sum(by_token[begin:end])) for begin, end in sentences_of(doc)],
        _windows(doc, windows), dict(elsewhere), difference, gap, found.n_steps,
    )  # fmt: skip


def sentences_of(doc: Doc) -> list[tuple[int, int]]:
    """Find the sentences of a document: its own, or those between full stops.

    doc (Doc): It is not changed.
    RETURNS (list[tuple[int, int]]): First and one past the last token of each.
    """
    if doc.has_annotation("SENT_START"):
        return [(one.start, one.end) for one in doc.sents]
    (guesses,) = Sentencizer().predict([doc])
    starts = [i for i, begins in enumerate(guesses) if begins or i == 0]
    return list(zip(starts, [*starts[1:], len(doc)], strict=True))


def _windows(doc: Doc, windows: dict[int, list[tuple[int, int, float]]]) -> list[Part]:
    if len(windows) < 2:
        return []
    return [
        _part(doc, min(one[0] for one in rows), max(one[1] for one in rows) + 1, sum(one[2] for one in rows))
        for _, rows in sorted(windows.items())
    ]


def _part(doc: Doc, begin: int, end: int, value: float) -> Part:
    text = doc[begin:end].text
    first = doc[begin].idx
    return Part(text, *_place(first, text), value)


def _place(begin: int, text: str) -> tuple[int, int]:
    return begin, begin + len(text)


class _Spread:
    """To which tokens a piece belongs, and with what share."""

    def __init__(self, doc: Doc, found: Attribution) -> None:
        self.text = doc.text
        self._tokens = _tokens_at(doc)
        self._parts: list[tuple[int, int, str, list[int]]] = []
        begin = 0
        for source, text in found.parts:
            end = begin + len(text)
            self._parts.append((begin, end, source, places_in(doc.text, text) if source == WHOLE_TEXT else []))
            begin = end + len(found.separator)

    def of(self, place: tuple[int, int]) -> tuple[str, dict[int, float]]:
        """Give source and shares of tokens of a piece; no shares where it is not in the text."""
        begin, end = place
        # A separator that is a piece by itself counts to what comes before.
        part = max((one for one in self._parts if one[0] <= begin), key=lambda one: one[0], default=self._parts[0])
        first, last, source, places = part
        if not places:
            return source, {}
        within = range(min(begin, last - 1) - first, max(min(end, last), min(begin, last - 1) + 1) - first)
        characters = [places[k] for k in within]
        seen = [k for k in characters if not self.text[k].isspace()] or characters
        shares: dict[int, float] = defaultdict(float)
        for k in seen:
            shares[self._tokens[k]] += 1.0 / len(seen)
        return source, dict(shares)


def _tokens_at(doc: Doc) -> Sequence[int]:
    """Of each character the number of its token; white space belongs to the word that follows it."""
    found = [0] * len(doc.text)
    words = [one for one in doc if not one.is_space]
    begin = 0
    for one in words:
        end = one.idx + len(one)
        found[begin:end] = [one.i] * (end - begin)
        begin = end
    if words:
        found[begin:] = [words[-1].i] * (len(found) - begin)
    return found
