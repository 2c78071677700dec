"""Text clean-up before the tokenizer: Unicode form, HTML, case, masks, whitespace."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import unescape
from html.entities import html5
from typing import Literal

import regex

from ...errors import T005

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

# A pass may bring forth what an earlier step would have taken (`&amp;lt;b&amp;gt;`), so passes repeat until nothing
# changes. Double escaping takes three; what takes more was made to defy.
_MOST_PASSES = 8

# Unicode's Stream-Safe Text Format (UAX #15, section 13): no more marks than these on a letter, in one run; the joiner,
# which cannot be seen, ends a run. No language comes near.
_MOST_MARKS = 30
_JOINER = "\u034f"
_MARKS = regex.compile(r"\p{M}{31,}+")

# ---- HTML --------------------------------------------------------------------------------------------------------

# Only what HTML knows is a tag: `<int>`, `<url>`, `<https://...>` and `<me@example.org>` are text.
_BLOCK = (
    "address applet area article aside audio base blockquote body br button canvas caption center col colgroup dd "
    "details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head "
    "header hr html iframe img input legend li link main map math menu meta nav noframes noscript object ol optgroup "
    "option p param picture pre script search section select source style summary svg table tbody td template textarea "
    "tfoot th thead title tr track ul video"
)
_INLINE = (
    "a abbr acronym b bdi bdo big blink cite code data datalist del dfn em font i ins kbd label mark marquee meter "
    "nobr output progress q rp rt ruby s samp slot small span strike strong sub sup time tt u var wbr"
)
_BLOCK_TAGS, _INLINE_TAGS = frozenset(_BLOCK.split()), frozenset(_INLINE.split())
# All quantifiers are possessive or end at a character they cannot pass: no text takes more than linear time.
_UNREAD = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)(?=[\s/>])[^<>]*+>.*?(?:</\1\s*+>|\Z)|<!doctype\b[^<>]*+>|<\?xml\b[^<>]*+>",
    re.DOTALL | re.IGNORECASE,
)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_TAG = re.compile(
    r"</?([a-z][a-z0-9]*+(?:[-:][a-z0-9.]++)*+)"
    r"""((?:[\s/]++(?:[^\s<>"'/=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s<>"']++))?)?)*+)>""",
    re.IGNORECASE,
)
# As in an attribute: without its semicolon an entity counts only where no word goes on, so that `?a=1&copy=2` and
# `R&Degree` keep their letters.
_CHARACTER = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31})(?:;|(?![A-Za-z0-9=;]))")


def _tag(match: re.Match[str]) -> str:
    name, attributes = match[1].lower(), match[2]
    # `if a <b and c> d`: a letter that compares, not a tag, whose attributes would have values.
    if len(name) == 1 and attributes.strip(" /\t\r\n") and "=" not in attributes:
        return match[0]
    if name in _INLINE_TAGS:
        return ""
    return " " if name in _BLOCK_TAGS or "-" in name or ":" in name else match[0]


def _character(match: re.Match[str]) -> str:
    entity = match[0]
    return unescape(entity) if entity[1] == "#" or entity[1:] in html5 else entity


def _drop_html(text: str) -> str:
    if "<" in text:
        text = _TAG.sub(_tag, _CDATA.sub(r"\1", _UNREAD.sub(" ", text)))
    return _CHARACTER.sub(_character, text) if "&" in text else text


# ---- masks -------------------------------------------------------------------------------------------------------

# Where a script has no spaces, an address ends where the script begins: Thai, Lao, Burmese, Khmer, CJK and its
# punctuation, Hangul (whose particles follow without a space), full-width forms. Quotation marks end it anywhere.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
_URL = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?i:https?|ftp)://(?=[^\W_]|\[)|(?<![@.])(?i:www)\.(?=[^\W_]))"
    rf"[^\s<>\"{{}}|\\^`«»\u2018-\u201f{_SPACELESS}]++"
)
_LATIN = "A-Za-z0-9\u00c0-\u024f"
# The local part has at most 64 characters (RFC 5321), which also bounds the time.
_EMAIL = re.compile(
    rf"(?<![{_LATIN}_%+-])[{_LATIN}_%+-][{_LATIN}._%+-]{{0,63}}@(?:[{_LATIN}][{_LATIN}-]{{0,62}}\.){{1,8}}[A-Za-z]{{2,24}}"
)
# Names are ASCII, as in most networks: in a script without spaces the sentence would go with them. `@` after a word
# and before a domain is an e-mail address; `@name@host` is Mastodon's.
_USER = re.compile(
    r"(?<![A-Za-z0-9_%+@/-])@(?:(?<![\w.].)|(?![A-Za-z0-9-]++\.[A-Za-z]))"
    r"[A-Za-z0-9_]++(?:@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)?"
)
_CLOSING = {")": "(", "]": "["}


def _url_length(url: str) -> int:
    """Length without the punctuation of the sentence; a bracket belongs to the address that opens it."""
    n_open = {bracket: url.count(opening) - url.count(bracket) for bracket, opening in _CLOSING.items()}
    end = len(url)
    while end:
        last = url[end - 1]
        if last in _CLOSING and n_open[last] < 0:
            n_open[last] += 1
        elif last not in ".,;:!?'*_~\u2026":
            break
        end -= 1
    return end


def _mask_urls(text: str, mask: str) -> str:
    def masked(match: re.Match[str]) -> str:
        """Put the mask in place of a URL, and keep what follows it."""
        return mask + match[0][_url_length(match[0]) :]

    return _URL.sub(masked, text)


def _mask_names(text: str, pattern: re.Pattern[str], mask: str) -> str:
    return pattern.sub(lambda match: mask, text) if "@" in text else text


# ---- the block ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalization:
    """How a text is cleaned before it is tokenized, in training and in use alike; every step is off by default.

    Applied twice it changes nothing more: the steps, in the order below, repeat until nothing changes.

    html (bool): Drop tags that HTML knows (a block tag leaves a space), comments, scripts and styles with what is in
        them; entities become their characters. `a < b` and `vector<int>` stay.
    unicode (str): "none", or a form: "NFC" composes, "NFKC" also makes full-width and other compatible forms plain.
        More than 30 marks on one letter are parted by U+034F, so that no text takes long.
    lower (bool): Lower case; leave it to the tokenizer where that is uncased.
    urls (str | None): Replaces addresses that begin with http://, https://, ftp:// or www., less the punctuation that
        follows; None keeps them.
    emails (str | None): Replaces e-mail addresses.
    users (str | None): Replaces @names and @names@host, in ASCII letters, digits and "_"; not inside an address.
    whitespace (bool): Runs of white space, line ends included, become one space; none at the ends.
    RAISES (ValueError): T005 for a mask that the other steps would change, as lower case changes "[URL]".
    SOURCE: masks "http" and "@user" are those of TweetEval, Barbieri et al. 2020, arXiv:2010.12421.
    """

    html: bool = False
    unicode: Literal["none", "NFC", "NFD", "NFKC", "NFKD"] = "none"
    lower: bool = False
    urls: str | None = None
    emails: str | None = None
    users: str | None = None
    whitespace: bool = False

    def __post_init__(self) -> None:
        for field in ("urls", "emails", "users"):
            mask = getattr(self, field)
            # White space around a mask may go: it is no part of it.
            if mask is not None and (found := self.apply([mask.strip()])[0]) != mask.strip():
                want = f"a mask that the other steps do not change (they turn it into {found!r})"
                raise ValueError(T005.format(block="normalization", field=field, value=mask, want=want))

    def apply(self, texts: Sequence[str]) -> list[str]:
        """Clean texts.

        texts (Sequence[str]): The texts.
        RETURNS (list[str]): As many, cleaned; the very same where every step is off.
        """
        steps = self._steps()
        return [_until_stable(text, steps) for text in texts] if steps else list(texts)

    def _steps(self) -> list[Callable[[str], str]]:
        steps: list[Callable[[str], str]] = []
        if self.html:
            steps.append(_drop_html)
        if self.unicode != "none":
            steps.append(partial(_compose, self.unicode))
        if self.lower:
            steps.append(str.lower)
        if self.urls is not None:
            steps.append(partial(_mask_urls, mask=self.urls))
        if self.emails is not None:
            steps.append(partial(_mask_names, pattern=_EMAIL, mask=self.emails))
        if self.users is not None:
            steps.append(partial(_mask_names, pattern=_USER, mask=self.users))
        if self.whitespace:
            steps.append(_collapse)
        return steps


def _compose(form: Form, text: str) -> str:
    if text.isascii():
        return text
    # Putting a run of marks in order takes quadratic time: 27 s for 80,000 of them.
    return unicodedata.normalize(form, _MARKS.sub(_stream_safe, text))


def _stream_safe(run: re.Match[str]) -> str:
    parts: list[str] = []
    n_marks = 0
    for mark in run[0]:
        n_marks = n_marks + 1 if unicodedata.combining(mark) else 0
        if n_marks > _MOST_MARKS:
            parts.append(_JOINER)
            n_marks = 1
        parts.append(mark)
    return "".join(parts)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _until_stable(text: str, steps: Sequence[Callable[[str], str]]) -> str:
    for _ in range(2):
        for _ in range(_MOST_PASSES):
            before = text
            for step in steps:
                text = step(text)
            if text == before:
                return text
        # Not reached by texts that people write: what keeps unfolding is no HTML from now on.
        text = text.replace("<", " ").replace("&", " ")
    return text
