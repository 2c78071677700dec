"""What is read of a document: sources, cleaning, the same in training and in use, scripts without spaces."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
import transformers
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.tokens.underscore import Underscore
from spacy.training import Example
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from house_kit.pipelines import add_classifier, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import LABELS, LETTERS, TEXTS, WORDS, exclusive_examples, one_hot
from spacy_transfer import cli  # noqa: F401  (adds the command group)
from spacy_transfer.model.text.normalization import Normalization
from spacy_transfer.model.text.text import Text

NLP = spacy.blank("xx")


def titled(nlp: Language, text: str, title: Any) -> Doc:
    doc = nlp.make_doc(text)
    doc._.title = title
    return doc


# ---- sources -----------------------------------------------------------------------------------------------------


@pytest.fixture
def doc() -> Doc:
    """Three sentences, in a group in the wrong order, one of them twice; attributes of all kinds."""
    doc = NLP.make_doc("One two. Three four. Five six.")
    spans = [Span(doc, 6, 9, "c"), Span(doc, 0, 3, "a"), Span(doc, 3, 6, "b"), Span(doc, 0, 3, "other")]
    doc.spans["sentences"] = spans
    doc.spans["none"] = []
    for name, value in {
        "title": "A title", "empty": "", "blank": " \n", "nothing": None, "number": 3, "texts": ["x", "", "y"],
        "span": doc[0:2], "token": doc[3], "doc": NLP.make_doc("other doc"), "spans": [doc[6:7], doc[0:1]],
        "group": doc.spans["sentences"], "tuple": ("p", ["q", doc[7]]),
    }.items():  # fmt: skip
        Doc.set_extension(name, default=None)
        doc._.set(name, value)
    Doc.set_extension("shout", getter=lambda doc: doc.text[:3].upper())
    Doc.set_extension("method", method=lambda doc: "called")
    Span.set_extension("summary", default=None)
    doc.spans["sentences"][0]._.summary = "5"
    doc.spans["sentences"][1]._.summary = "1"
    return doc


@pytest.mark.parametrize(
    ("sources", "want"),
    [
        (["text"], "One two. Three four. Five six."), (["_.title"], "A title"), (["_.texts"], "x|y"),
        (["_.title", "text"], "A title|One two. Three four. Five six."), (["_.span", "_.token"], "One two|Three"),
        (["_.doc"], "other doc"), (["_.spans"], "Five|One"), (["_.group"], "One two.|Three four.|Five six."),
        (["_.tuple"], "p|q|six"), (["_.shout"], "ONE"), (["spans:sentences"], "One two.|Three four.|Five six."),
        (["spans:sentences._.summary"], "1|5"),
        (["spans:sentences", "_.title"], "One two.|Three four.|Five six.|A title"),
    ],
)  # fmt: skip
def test_sources(sources: list[str], want: str, doc: Doc) -> None:
    assert Text(sources=sources, separator="|").read([doc, doc]) == [want, want]


MISSING = ["_.empty", "_.blank", "_.nothing", "spans:none", "spans:absent", "spans:none._.summary"]


@pytest.mark.parametrize("source", MISSING)
def test_missing(source: str, doc: Doc) -> None:
    with pytest.raises(ValueError, match=rf"T112.*'{source}' is missing or empty.*Corpus.v1.*Text: 'One two"):
        Text(sources=["_.title", source]).read([doc])
    read = {missing: Text(sources=["_.title", source], missing=missing).read([doc])[0] for missing in ("skip", "text")}
    assert read == {"skip": "A title", "text": f"A title {doc.text}"}
    assert Text(sources=[source], missing="skip").read([doc]) == [""]
    # Once, however many are missing, and where the text is read anyway, there.
    Doc.set_extension("other", default=None)
    assert Text(sources=[source, "_.title", "_.other"], missing="text").read([doc]) == [f"{doc.text} A title"]
    assert Text(sources=[source, "text"], missing="text").read([doc]) == [doc.text]


def test_empty_once_cleaned_is_empty(doc: Doc) -> None:
    doc._.title = "<br> &nbsp;"
    text = Text(sources=["_.title", "text"], normalization=Normalization(html=True))
    with pytest.raises(ValueError, match="T112"):
        text.read([doc])


def test_each_part_is_cleaned_for_itself(doc: Doc) -> None:
    doc._.title = "Never closed <!-- here"
    text = Text(sources=["_.title", "_.texts"], normalization=Normalization(html=True, whitespace=True))
    assert text.read([doc]) == ["Never closed x y"]


@pytest.mark.parametrize("missing", ["error", "skip", "text"])
def test_an_empty_text_is_no_error(missing: Any) -> None:
    Doc.set_extension("title", default=None)
    empty = NLP.make_doc("")
    assert Text(missing=missing).read([empty]) == [""]
    empty._.title = "T"
    assert Text(sources=["_.title", "text"], missing=missing).read([empty]) == ["T"]


def test_an_attribute_that_is_not_registered(doc: Doc) -> None:
    for missing in ("error", "skip", "text"):
        with pytest.raises(ValueError, match=r"T110.*'_.titel'.*Doc.set_extension\('titel', default=None\)"):
            Text(sources=["_.titel"], missing=missing).read([doc])
        with pytest.raises(ValueError, match=r"T110.*Span.set_extension\('sumary', default=None\)"):
            Text(sources=["spans:sentences._.sumary"], missing=missing).read([doc])


def test_a_stored_attribute_needs_no_registration(doc: Doc) -> None:
    stored = DocBin(store_user_data=True)
    kept = NLP.make_doc("One two. Three")
    kept._.title = "Kept"
    kept.spans["sentences"] = [kept[0:3], kept[3:4]]
    for span, summary in zip(kept.spans["sentences"], "ab", strict=True):
        span._.summary = summary
    stored.add(kept)
    for found in Underscore.get_state():
        found.clear()
    (loaded,) = DocBin().from_bytes(stored.to_bytes()).get_docs(spacy.blank("xx").vocab)
    assert Text(sources=["_.title", "spans:sentences._.summary"]).read([loaded]) == ["Kept a b"]


@pytest.mark.parametrize("name", ["number", "method"])
def test_a_value_without_text(name: str, doc: Doc) -> None:
    with pytest.raises(ValueError, match=rf"T111.*'_.{name}' holds a (int|partial)"):
        Text(sources=[f"_.{name}"], missing="skip").read([doc])


@pytest.mark.parametrize(
    "sources",
    [[], ["title"], ["_."], ["spans:"], ["spans:x._."], ["text", "text"], ["_.a", "text", "_.a"], [3], ["Text"]],
)
def test_what_is_no_source(sources: Any) -> None:
    with pytest.raises(ValueError, match=r"T005.*sources"):
        Text(sources=sources)


# ---- in a pipeline -----------------------------------------------------------------------------------------------


CLEAN = {"html": True, "unicode": "NFKC", "whitespace": True, "urls": "", "users": ""}
NOISY = [
    f"<p>@{'abc'[i % 3]} {text.replace(' ', '&nbsp;&nbsp;')}</p>\n https://x.org/{i}" for i, text in enumerate(TEXTS)
]


def train(nlp: Language, examples: Sequence[Example], n_steps: int = 3, rate: float = 5e-3) -> None:
    optimizer = nlp.resume_training()
    optimizer.learn_rate = rate
    for _ in range(n_steps):
        nlp.update(examples, sgd=optimizer)


def test_blocks_of_another_kind(bert: Path) -> None:
    other = {"@misc": "spacy-transfer.Windows.v1"}
    for blocks in ({"text": other}, {"text": {"normalization": other}}):
        with pytest.raises(ValueError, match=r"T001.*(text|normalization)"):
            add_classifier(spacy.blank("xx"), bert, **blocks)


def test_noisy_texts_cleaned_are_clean_texts(quiet_bert: Path) -> None:
    """Solved head, cache, steps, prediction: all read the same."""
    start = {"@misc": "spacy-transfer.LinearProbe.v1"}
    results = []
    for texts, normalization in ((TEXTS, {}), (NOISY, CLEAN)):
        nlp = spacy.blank("xx")
        blocks = {"tuning": {"frozen_depth": 1}, "text": {"normalization": normalization}, "head_init": start}
        add_classifier(nlp, quiet_bert, **blocks)
        cats = [one_hot(LABELS[i % 3]) for i in range(len(texts))]
        examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(texts, cats, strict=True)]
        torch.manual_seed(0)
        nlp.initialize(lambda examples=examples: examples)  # type: ignore[misc]
        before = weights_of(nlp)
        train(nlp, examples)
        results.append((before, weights_of(nlp), scores_of(nlp, texts)))
    for clean, noisy in zip(results[0], results[1], strict=True):
        if isinstance(clean, dict):
            assert clean.keys() == noisy.keys()
            assert all(torch.equal(clean[name], noisy[name]) for name in clean)
        else:
            assert torch.equal(clean, noisy)
    assert not torch.equal(results[0][0]["head.output.weight"], results[0][1]["head.output.weight"])


def test_nothing_changes_without_the_block(bert: Path) -> None:
    nlp = pipeline(bert)
    read = shim_of(nlp).settings.text.read
    texts = ["", " ", " <b>A</b>\n\n @x  ", "ＡＢＣ"]
    assert read([nlp.make_doc(text) for text in texts]) == texts


def test_a_pipeline_saved_without_the_block_loads(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    nlp.to_disk(tmp_path / "old")
    config = spacy.util.load_config(tmp_path / "old" / "config.cfg")
    assert config["components"]["transfer_textcat"]["model"]["text"]["sources"] == ["text"]
    del config["components"]["transfer_textcat"]["model"]["text"]
    config.to_disk(tmp_path / "old" / "config.cfg")
    assert "text.normalization" not in (tmp_path / "old" / "config.cfg").read_text()
    assert torch.equal(scores_of(spacy.load(tmp_path / "old"), TEXTS), scores_of(nlp, TEXTS))


def title_pipeline(folder: Path, **text: Any) -> Language:
    """Trained on the first word as title and the rest as text."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, folder, text={"sources": ["_.title", "text"], **text})
    torch.manual_seed(0)
    examples = [Example.from_dict(doc, {"cats": one_hot(LABELS[i % 3])}) for i, doc in enumerate(split_docs(nlp))]
    nlp.initialize(lambda: examples)
    train(nlp, examples)
    return nlp


def split_docs(nlp: Language) -> list[Doc]:
    return [titled(nlp, text.split(" ", 1)[1], text.split(" ", 1)[0]) for text in TEXTS]


def test_title_and_body_are_read_as_one_text(quiet_bert: Path) -> None:
    Doc.set_extension("title", default=None)
    nlp = title_pipeline(quiet_bert)
    whole = pipeline(quiet_bert)
    train(whole, exclusive_examples(whole))
    want = scores_of(whole, TEXTS)
    assert torch.equal(scores_of(nlp, split_docs(nlp)), want)
    # Other batches: equal but for the last bits.
    assert torch.allclose(scores_of(nlp, split_docs(nlp), n_process=2, batch_size=7), want, atol=1e-5)
    # The title counts.
    assert not torch.allclose(scores_of(nlp, [titled(nlp, doc.text, "card") for doc in split_docs(nlp)]), want)
    golden = [Example.from_dict(doc, {"cats": one_hot(LABELS[i % 3])}) for i, doc in enumerate(split_docs(nlp))]
    whole_golden = exclusive_examples(whole)
    ours, theirs = nlp.evaluate(golden), whole.evaluate(whole_golden)
    assert ours["cats_macro_auc"] == theirs["cats_macro_auc"]
    with pytest.raises(ValueError, match="T112"):
        nlp("no title")


def test_stored_and_copied_with_the_pipeline(quiet_bert: Path, tmp_path: Path) -> None:
    Doc.set_extension("title", default=None)
    block = {"missing": "skip", "separator": "\n", "normalization": {"lower": True, "urls": "http"}}
    nlp = title_pipeline(quiet_bert, **block)
    settings = shim_of(nlp).settings.text
    assert (settings.sources, settings.separator, settings.missing) == (("_.title", "text"), "\n", "skip")
    want = scores_of(nlp, split_docs(nlp))
    nlp.to_disk(tmp_path / "saved")
    blank = spacy.blank("xx")
    add_classifier(blank, quiet_bert, text={"sources": ["_.title", "text"], **block})
    for other in (spacy.load(tmp_path / "saved"), copy.deepcopy(nlp), blank.from_bytes(nlp.to_bytes())):
        assert shim_of(other).settings.text == settings
        assert torch.equal(scores_of(other, split_docs(other)), want)
        assert scores_of(other, [""]).shape == (1, 3)


# ---- scripts without spaces --------------------------------------------------------------------------------------


# Language of the blank pipeline, texts with the label "yes", texts without. Japanese and Thai through "xx": their own
# tokenizers need packages, and the classifier reads characters, not tokens.
SCRIPTS = {
    "chinese": (
        "zh", ["这个很好", "我喜欢这个手机", "质量很好我喜欢", "很好的手机"],
        ["这个很坏", "我讨厌这个手机", "质量很坏我讨厌", "很坏的手机"],
    ),
    "japanese": (
        "xx", ["とても良いです", "これが好きです", "カメラが良い", "良いカメラが好き"],
        ["とても悪いです", "これが嫌いです", "カメラが悪い", "悪いカメラが嫌い"],
    ),
    "thai": (
        "xx", ["ดีมาก", "ฉันชอบสินค้านี้", "สินค้าดีมากชอบ", "ชอบมากดี"],
        ["แย่มาก", "ฉันเกลียดสินค้านี้", "สินค้าแย่มากเกลียด", "เกลียดมากแย่"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def script_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT whose tokenizer knows the characters of the three scripts, and keeps Thai's vowel signs."""
    folder = tmp_path_factory.mktemp("script-bert")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    found = sorted({c for _, yes, no in SCRIPTS.values() for text in yes + no for c in text} | set(LETTERS))
    vocab = [*special, *found, *[f"##{c}" for c in found], *[word for word in WORDS if len(word) > 1]]
    pieces = models.WordPiece(
        {piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]", max_input_chars_per_word=100_000
    )
    tokenizer = Tokenizer(pieces)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_attention_heads=2, intermediate_size=24, num_hidden_layers=2,
        max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    random = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = transformers.BertModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.4)
    torch.random.set_rng_state(random)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    # Without it transformers takes a BERT for uncased, and drops accents, whatever tokenizer.json says.
    settings = {"do_lower_case": False, "strip_accents": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_without_spaces(script: str, script_bert: Path) -> None:
    lang, yes, no = SCRIPTS[script]
    nlp = spacy.blank(lang)
    add_classifier(nlp, script_bert, text={"normalization": {"unicode": "NFKC", "whitespace": True}})
    # A long text without a space: several windows.
    yes, no = [*yes, yes[0] * 30], [*no, no[0] * 30]
    texts = yes + no
    cats = [one_hot("yes" if text in yes else "no", ["yes", "no"]) for text in texts]
    examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(texts, cats, strict=True)]
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    train(nlp, examples, n_steps=30, rate=1e-2)
    assert [doc.text for doc in nlp.pipe(texts)] == texts
    assert nlp.evaluate(examples)["cats_micro_f"] == 1.0
    shim = shim_of(nlp)
    # Every character is a piece of its own, known, and counted once.
    for text, label in ((yes[-1], "yes"), (no[-1], "no")):
        (rows,) = shim.reader.read([text], remember=False)
        assert len(rows) > 3
        assert sum(row.counted[1] - row.counted[0] for row in rows) == len(text) + 2
        assert 1 not in {int(i) for row in rows for i in row.ids}  # [UNK]
        doc = nlp(text)
        assert doc.text == text
        assert doc.cats[label] > 0.5


def test_full_width_forms_and_case(script_bert: Path) -> None:
    nlp = spacy.blank("zh")
    add_classifier(nlp, script_bert, text={"normalization": {"unicode": "NFKC", "lower": True}})
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("这个很好"), {"cats": {"yes": 1.0, "no": 0.0}})])
    first, second = nlp.pipe(["ＣＡＲＤ很好，１２", "card很好,12"])
    assert first.cats == second.cats
    assert first.text == "ＣＡＲＤ很好，１２"
