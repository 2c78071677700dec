"""Cleaning texts: each step by example, twice is once, no text takes long."""

import random
import re
import time
import unicodedata
from typing import Any

import pytest

from spacy_transfer.model.text.normalization import Normalization

EXAMPLES: list[tuple[dict[str, Any], str, str]] = [
    # HTML: entities
    ({"html": True}, "a &lt; b &amp; c&nbsp;d &#x41;&#66; &eacute;", "a < b & c\xa0d AB é"),
    ({"html": True}, "&amp;amp; &amp;lt;b&amp;gt;x &#38;#38;", "& x &"),
    ({"html": True}, "&nbsp &copy. &#65 &#0; &#xD800;", "\xa0 ©. A \ufffd \ufffd"),
    # tags
    ({"html": True}, "<b>bo</b>ld <i><u>x</u></i>", "bold x"),
    ({"html": True}, "<p>one</p><P CLASS='x'>two<br/>three", " one  two three"),
    ({"html": True}, '<a href="x>y" title=\'<b>\'>link</a> <img src=x alt="">', "link  "),
    ({"html": True}, "<my-card>x</my-card><o:p/>y", " x  y"),
    ({"html": True}, "&lt;br&gt;x&lt;/br&gt;", " x "),
    # scripts, styles, comments, declarations
    ({"html": True}, "x<script type='t'>if (a<b) { s = '<p>' }</SCRIPT >y<style>p{}</style>z", "x y z"),
    ({"html": True}, "x<!-- <b> -- > \n -->y<!-- never closed", "x y "),
    ({"html": True}, "x<script>never closed", "x "),
    ({"html": True}, "<!DOCTYPE html><?xml version='1'?>x<![CDATA[y < z]]>", "  xy < z"),
    # Unicode forms and case
    ({"unicode": "NFC"}, "e\u0301 ＡＢ", "é ＡＢ"),
    ({"unicode": "NFD"}, "é", "e\u0301"),
    ({"unicode": "NFKC"}, "ＡＢＣ１２３！　ｶﾞ ﬁ ①", "ABC123! ガ fi 1"),
    ({"unicode": "NFKC", "lower": True}, "ＡＢＣ", "abc"),
    ({"lower": True}, "ＡＢＣ ÄÖ ΟΔΟΣ İ", "ａｂｃ äö οδος i̇"),
    ({"html": True, "unicode": "NFKC"}, "＜ｂ＞x＜／ｂ＞ &#xFF21;", "x A"),
    # URLs
    ({"urls": "http"}, "see (https://en.wikipedia.org/wiki/A_(b)), www.x.org.", "see (http), http."),
    ({"urls": "http"}, "HTTP://X.org/?a=1&b=[2]! ftp://x.org/a,b;", "http! http;"),
    ({"urls": "http"}, "看https://x.com/abc很好。ดูhttps://x.com/ไทย", "看http很好。ดูhttpไทย"),
    ({"urls": "http"}, "보세요https://x.com에서 https://[::1]:80/", "보세요http에서 http"),
    ({"urls": "http"}, "https://de.wikipedia.org/wiki/Köln “https://q.org” <https://x.org>", "http “http” <http>"),
    ({"urls": ""}, "a https://x.org b", "a  b"),
    ({"urls": "http"}, "https://medium.com/@ann?to=me@x.org", "http"),
    # e-mail addresses and users
    ({"emails": "EMAIL"}, "mailto:jane.doe+x@mail.x.co.uk, <josé@x.org>.", "mailto:EMAIL, <EMAIL>."),
    ({"emails": "EMAIL"}, "联系我bob@x.com吧 a@b @ann a@@x.org", "联系我EMAIL吧 a@b @ann a@@x.org"),
    ({"users": "@user"}, "@ann, (@bob_1) .@cy: @eve@x.example.org!", "@user, (@user) .@user: @user!"),
    ({"users": "@user"}, "你好@dan说", "你好@user说"),
    ({"users": "U", "emails": "E", "urls": "http"}, "https://me:pw@x.org/ me@x.org @me", "http E U"),
    # white space
    ({"whitespace": True}, " \t a\r\n\n b\u3000c\xa0d \u2028", "a b c d"),
    ({"html": True, "whitespace": True}, "<p> a<br>\n<br>b </p>", "a b"),
]  # fmt: skip

UNTOUCHED: list[tuple[dict[str, Any], str]] = [
    ({"html": True}, "AT&T R&Degree ?a=1&copy=2&lt3 &notit; &unknown; &"),
    ({"urls": "http"}, "http:// www. www.. awww.x me@www.x.org"),
    ({"users": "@user"}, "me@x.org josé@x.org a@b https://medium.com/@ann @ @@"),
    ({"html": True}, "a < b, c > d, x<3, <- <> </ <"),
    ({"html": True}, "if a <b and c> d: vector<int> v"),
    ({"html": True}, "<url> <me@x.org> <https://x.org/a>"),
    ({"html": True}, "cut off <a href='http"),
    ({"html": True}, "a[b[0]]>1"),
    ({"html": True}, "<scripture>x"),
]


@pytest.mark.parametrize(("steps", "text"), UNTOUCHED)
def test_what_only_looks_like_it_stays(steps: dict[str, Any], text: str) -> None:
    assert Normalization(**steps).apply([text]) == [text]


@pytest.mark.parametrize(("steps", "text", "want"), EXAMPLES)
def test_steps(steps: dict[str, Any], text: str, want: str) -> None:
    assert Normalization(**steps).apply([text, ""]) == [want, ""]


BITS = [
    "<b>", "</b>", "<", "&", ">", "&amp;", "&lt;", "&gt;", "amp;", "#38;", "&#60;", "<script>", "</script>", "<!--",
    "-->", "<p ", '"', "'", "=", " ", "\n", "\u3000", "a", "A", "İ", "Σ", "ϓ", "ﷺ", "＜", "＞", "＠", "@", "bob",
    "http://", "www.", "x.org", ".", ",", ")", "(", "/", "\u0301", "\u200b", "é", "中", "ไ", "</", "]]>", "<![CDATA[",
    "style>", "3", "\u0301" * 40, "\u0344\u0323" * 20,
    "_", "-", ":", "\ufeff", "😀", "\x00", "\r", "K", "ǆ", "&NBSP;", "<?xml ",
]  # fmt: skip
EVERYTHING = Normalization(
    html=True, unicode="NFKC", lower=True, urls="http", emails="email", users="@user", whitespace=True
)
SOME = [
    EVERYTHING, Normalization(html=True), Normalization(unicode="NFKC", lower=True),
    Normalization(html=True, unicode="NFD", urls="[URL]", emails="[MAIL]", users="@user"),
    Normalization(html=True, unicode="NFKC", urls="", emails="", users=""), Normalization(lower=True, whitespace=True),
]  # fmt: skip


def odd_texts(n: int) -> list[str]:
    drawn = random.Random(0)
    return ["".join(drawn.choices(BITS, k=drawn.randint(0, 25))) for _ in range(n)]


@pytest.mark.parametrize("normalization", SOME)
def test_twice_is_once(normalization: Normalization) -> None:
    texts = [*odd_texts(4000), "&amp;" + "amp;" * 40 + "lt;b&gt;", "<" * 40 + "b>" * 40]
    once = normalization.apply(texts)
    assert normalization.apply(once) == once
    # The law would hold for what does nothing, too.
    assert once != texts


def test_off_by_default() -> None:
    texts = odd_texts(200)
    assert Normalization().apply(texts) == texts


def test_everything_leaves_nothing_to_do() -> None:
    for text in EVERYTHING.apply(odd_texts(4000)):
        assert text == " ".join(text.split())
        assert text == text.lower()
        assert "<b>" not in text
        assert "&amp;" not in text
        assert "http://x.org" not in text


@pytest.mark.parametrize(
    "text",
    [
        "<" * 100_000, "<script " * 20_000, "<script>" * 20_000, "&" + "amp;" * 50_000, "<!--" * 40_000,
        "<b x='" * 30_000,
        "<" * 50_000 + "b>" * 50_000, "a." * 100_000, "a@" * 100_000, "a@" + "a." * 100_000,
        "http://" * 30_000, "http://x" + ")" * 100_000, "<b" + " " * 200_000, "<style>" + "</style " * 20_000,
        "<b " + "a " * 100_000,
        "@" * 100_000, "x@a" * 60_000, "<![CDATA[" * 20_000, "&" + "a" * 100_000, "<!doctype" * 20_000,
        "<?xml " * 20_000, "e" + "\u0301" * 80_000, "e" + "\u0301\u0323" * 100_000, "\u0344" * 80_000,
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    """Seconds of this process, whatever else runs; in quadratic time each would take minutes."""
    start = time.process_time()
    EVERYTHING.apply([text])
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    ("field", "block"),
    [
        ("urls", {"urls": "[URL]", "lower": True}), ("users", {"users": "<b>", "html": True}),
        ("users", {"users": "ﬁ", "unicode": "NFKC"}), ("emails", {"emails": "a  b", "whitespace": True}),
        ("users", {"users": "me@x.org", "emails": "email"}),
    ],
)  # fmt: skip
def test_a_mask_that_does_not_last_is_refused(field: str, block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"T005.*normalization: {field}"):
        Normalization(**block)
    lone = {field: block[field]}
    assert getattr(Normalization(**lone), field) == block[field]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_marks_beyond_thirty_are_parted_and_none_is_lost(form: Any) -> None:
    normalization = Normalization(unicode=form)
    assert normalization.apply(["e" + "\u0301" * 29]) == [unicodedata.normalize(form, "e" + "\u0301" * 29)]
    (long,) = normalization.apply(["e" + "\u0323\u0301" * 200 + "a"])
    assert unicodedata.normalize("NFD", long).replace("\u034f", "").count("\u0301") == 200
    assert max(map(len, re.findall("[\u0301\u0323]+", long))) <= 30
    assert normalization.apply([long]) == [long]
