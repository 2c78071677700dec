"""Explanations as lines for a terminal, with and without color."""

from collections.abc import Iterator, Sequence

from ...pipeline.explanations.explanation import Explanation, Part
from .explain import Explained

# Of a terminal's 256 colors, from faint to strong: blue for the label, orange against it; with black or white letters.
FOR = ((153, 16), (75, 16), (25, 231))
AGAINST = ((223, 16), (215, 16), (166, 231))
# Shares of the strongest value from which on a word gets each of the colors.
_STEPS = (0.08, 0.25, 0.6)
# Share from which on a word is marked where there is no color.
_MARKED = 0.25
_WIDEST = 24
_N_SENTENCES = 5
_LONGEST = 90

# Text, and color of the background and of the letters; None is as the terminal has them.
Piece = tuple[str, tuple[int, int] | None]


def lines_of(explained: Explained, *, n_words: int = 10, color: bool = True) -> Iterator[list[Piece]]:
    """Say an explanation in lines.

    explained (Explained): A text and its explanations.
    n_words (int): Words in the list of the strongest.
    color (bool): Whether colors are shown; otherwise signs stand around the words that matter.
    YIELDS (list[Piece]): Pieces of a line: text, and its colors.
    """
    for one in explained.explanations:
        yield from _explanation(one, n_words=n_words, color=color)
    if explained.similar:
        yield _plain("")
        yield _plain("Most similar training texts (cosine)")
        for near in explained.similar:
            yield _plain(f"  {near.similarity:.3f}  {', '.join(near.labels) or 'no label'}  {_cut(near.text)}")


def _explanation(one: Explanation, *, n_words: int, color: bool) -> Iterator[list[Piece]]:
    yield _plain(f"{one.label}  {one.score:.3f}")
    yield list(_text(one, color=color))
    yield _plain("")
    yield _plain(said_of(one))
    yield from _bars(one.strongest(n_words))
    if len(one.sentences) > 1:
        yield _plain("Sentences")
        yield from _bars(sorted(one.sentences, key=lambda part: -abs(part.value))[:_N_SENTENCES])
    if one.windows:
        yield _plain("Windows")
        yield from _bars(one.windows)
    for source, value in one.elsewhere.items():
        yield _plain(f"  {value:+.2f}  from {source}")


def said_of(one: Explanation) -> str:
    """Say how an explanation was made.

    one (Explanation): The explanation.
    RETURNS (str): A line.
    """
    if one.difference is None or one.gap is None:
        return f"Occlusion: by how much the score falls without a word ({one.n_runs:,} texts scored)"
    return (
        f"Integrated gradients: what each word adds to the logit; all together {one.difference:+.2f} "
        f"({one.n_runs:,} gradients, {one.gap:.1%} off)"
    )


def _text(one: Explanation, *, color: bool) -> Iterator[Piece]:
    most, begin = _most(one.words), 0
    for part in one.words:
        yield " ".join(one.text[begin : part.begin].split("\n")), None
        share = abs(part.value) / most
        if color:
            level = sum(share >= step for step in _STEPS)
            yield part.text, (FOR if part.value > 0 else AGAINST)[level - 1] if level else None
        else:
            sign = ("+" if part.value > 0 else "-") if share >= _MARKED else ""
            yield f"{sign}{part.text}{sign}", None
        begin = part.end


def _bars(parts: Sequence[Part]) -> Iterator[list[Piece]]:
    most = _most(parts)
    for part in parts:
        sign = "+" if part.value > 0 else "-"
        bar = sign * max(1, round(_WIDEST * abs(part.value) / most))
        yield _plain(f"  {part.value:+7.3f}  {bar:<{_WIDEST}}  {_cut(part.text)}")


def _most(parts: Sequence[Part]) -> float:
    return max((abs(part.value) for part in parts), default=0.0) or 1.0


def _plain(text: str) -> list[Piece]:
    return [(text, None)]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
