"""Test data that a page could stumble over."""

from pathlib import Path

import spacy
from spacy.tokens import DocBin

from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.pipeline.sources import store_attribute

EVIL = [
    "<script>alert(1)</script>", "</script><b-evil>", '"><img src=x onerror=alert(1)>', "<!-- no end <script>",
    "bell \x07 and \u202eturned", "two\nlines & an \u2028 end", "{{ 7 * 7 }} {% raw %}", "</title></style><iframe>",
]  # fmt: skip
# A text of more than one window.
LONG = "the card and the bill and the login " * 12


def write_tests(path: Path) -> Path:
    """Texts of all labels and one of a label that no pipeline knows, with attributes: a source, a price and an id."""
    nlp = spacy.blank("xx")
    docs = []
    for i, text in enumerate([*TEXTS, *EVIL, LONG, LONG + "please"]):
        doc = nlp.make_doc(text)
        doc.cats = one_hot(LABELS[i % 3])
        if i == len(TEXTS):
            doc.cats = {**one_hot(""), "<i>unknown</i>": 1.0}
        store_attribute(doc, "source", EVIL[2] if i % 2 else "mail")
        store_attribute(doc, "price", i * 1.5)
        store_attribute(doc, "id", f"id-{i}")
        doc.user_data["meta"] = {"country": "at" if i % 3 else "de"}
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path
