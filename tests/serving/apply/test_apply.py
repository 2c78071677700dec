"""Files of documents through a pipeline: rows come out as they are, with the scores of `nlp.pipe`."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.applied import numbered, read_rows, write_texts
from house_kit.pipelines import add_classifier, pipeline
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer import apply
from spacy_transfer.serving.apply.scoring import DirectScoring, PipelineScoring

IN = ["csv", "tsv", "jsonl", "json", "txt", "parquet", "spacy", "xlsx", "csv.gz", "jsonl.zst", "parquet.gz"]
OUT = ["csv", "tsv", "jsonl", "parquet", "spacy"]


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


def best_of(nlp: Language, texts: list[str]) -> list[tuple[str, float]]:
    return [max(doc.cats.items(), key=lambda pair: pair[1]) for doc in nlp.pipe(texts)]


# ---- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IN)
def test_every_input_format_gives_the_scores_of_the_pipeline(kind: str, nlp: Language, tmp_path: Path) -> None:
    if kind.startswith("parquet") or kind.endswith("zst"):
        pytest.importorskip("pyarrow")
    if kind == "xlsx":
        pytest.importorskip("openpyxl")
    texts = numbered(30)
    done = apply(nlp, write_texts(tmp_path / f"in.{kind}", texts), tmp_path / "out.jsonl", look_ahead=8)
    rows = read_rows(tmp_path / "out.jsonl")
    assert (done.n_docs, done.n_bad, done.bad_file) == (30, 0, None)
    assert [row["text"] for row in rows] == texts
    if kind not in ("txt", "spacy"):
        assert [row["id"] for row in rows] == [str(i) for i in range(30)]
    for row, (label, score) in zip(rows, best_of(nlp, texts), strict=True):
        assert (row["label"], row["score"]) == (label, pytest.approx(score, abs=2e-6))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"in.{kind}", "out.jsonl"]


@pytest.mark.parametrize("kind", OUT)
def test_every_output_format_holds_the_same(kind: str, nlp: Language, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    texts = numbered(20)
    source = write_texts(tmp_path / "in.csv", texts)
    apply(nlp, source, tmp_path / f"out.{kind}", look_ahead=6)
    rows = read_rows(tmp_path / f"out.{kind}")
    assert [row["text"] for row in rows] == texts
    for row, (label, score) in zip(rows, best_of(nlp, texts), strict=True):
        if kind == "spacy":
            assert max(row["scores"], key=row["scores"].get) == label
            assert row["scores"][label] == pytest.approx(score, abs=1e-6)
        else:
            assert (row["label"], float(row["score"])) == (label, pytest.approx(score, abs=2e-6))


def test_columns_of_a_table_as_they_were(nlp: Language, tmp_path: Path) -> None:
    """Another delimiter, encoding and name of the text; quoted cells with delimiters and line breaks; empty cells."""
    source = tmp_path / "in.csv"
    table = 'Nr;Message;Größe;"a;b"\r\n1;the card is lost;für;""\r\n2;"refund\nmy money";"x;y";"say ""no"""\r\n'
    source.write_bytes(table.encode("cp1252"))
    apply(nlp, source, tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_bytes()
    # Excel, which wrote the source, needs the mark.
    lines = content.decode("utf-8").removeprefix("\ufeff").split("\n")
    assert content.startswith(b"\xef\xbb\xbf")
    assert lines[0] == 'Nr;Message;Größe;"a;b";label;score'
    assert lines[1].startswith("1;the card is lost;für;;")
    assert "\n".join(lines[2:]).startswith('2;"refund\nmy money";"x;y";"say ""no""";')


def test_columns_of_parquet_keep_their_types(nlp: Language, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({
        "n": arrow.array(range(12), arrow.int8()),
        "when": arrow.array([10**9 + i for i in range(12)], arrow.timestamp("ns")),
        "text": arrow.array(numbered(12)).dictionary_encode(),
        "deep": arrow.array([[{"a": i}] for i in range(12)]),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "in.parquet")
    apply(nlp, tmp_path / "in.parquet", tmp_path / "out.parquet", look_ahead=5)
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.drop_columns(["label", "score"]).cast(table.schema).equals(table)
    assert [found.schema.field(name).type for name in ("n", "when", "deep")] == [
        table.schema.field(name).type for name in ("n", "when", "deep")
    ]


def test_fields_of_several_kinds(nlp: Language, tmp_path: Path) -> None:
    lines = [{"text": "my card", "x": 1}, {"text": "the money", "x": "a", "y": [1, {"b": None}]}, {"text": "login"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    for kind in ("csv", "jsonl"):
        apply(nlp, tmp_path / "in.jsonl", tmp_path / f"out.{kind}", look_ahead=1)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in row if key not in ("label", "score")} for row in rows] == lines
    rows = read_rows(tmp_path / "out.csv")
    assert [(row["x"], row["y"]) for row in rows] == [("1", ""), ("a", '[1, {"b": null}]'), ("", "")]
    pytest.importorskip("pyarrow")
    apply(nlp, tmp_path / "in.jsonl", tmp_path / "out.parquet", look_ahead=1)
    assert [row["x"] for row in read_rows(tmp_path / "out.parquet")] == ["1", "a", None]


def test_a_spacy_file_is_joined_of_blocks(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field by field, as spaCy writes it at once; and refused before it holds more than its format can say."""
    texts = [*numbered(20), "für 12 €"]
    source = write_texts(tmp_path / "in.csv", texts)
    apply(nlp, source, tmp_path / "one.spacy")
    apply(nlp, source, tmp_path / "out.spacy", look_ahead=4)
    docs = list(nlp.pipe(texts))
    for doc, number in zip(docs, range(len(docs)), strict=True):
        doc.user_data["._.", "id", None, None] = str(number)
    whole, found = DocBin(docs=docs, store_user_data=True), DocBin().from_disk(tmp_path / "out.spacy")
    for key in ("attrs", "strings", "flags", "span_groups", "user_data"):
        assert getattr(found, key) == getattr(whole, key)
    for key in ("tokens", "spaces"):
        assert all((a == b).all() for a, b in zip(getattr(found, key), getattr(whole, key), strict=True))
    assert [list(cats) for cats in found.cats] == [list(cats) for cats in whole.cats]
    # Blocks change what is scored together, and so the last digits of scores.
    assert (tmp_path / "one.spacy").stat().st_size == pytest.approx((tmp_path / "out.spacy").stat().st_size, rel=0.1)
    monkeypatch.setattr("spacy_transfer.serving.apply.writing.docs_writer._MOST_BYTES", 5000)
    with pytest.raises(ValueError, match=r"T605.*5,000 bytes"):
        apply(nlp, source, tmp_path / "two.spacy", look_ahead=4)


def test_packed_files_are_unpacked_once(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_transfer.serving.apply.reading import sources

    unpacked: list[str] = []
    original = sources._unpack

    def unpack(source: Any, plain: Path) -> None:
        unpacked.append(source.path.name)
        original(source, plain)

    monkeypatch.setattr(sources, "_unpack", unpack)
    given = [write_texts(tmp_path / f"{name}.csv.gz", numbered(9)) for name in "ab"]
    apply(nlp, given, tmp_path / "out.csv", look_ahead=4)
    assert unpacked == ["a.csv.gz", "b.csv.gz"]
    # Where too much would wait, the disk is spared.
    monkeypatch.setattr(sources, "_MOST_KEPT", (tmp_path / "out.csv").stat().st_size // 3)
    apply(nlp, given, tmp_path / "two.csv", look_ahead=4)
    assert unpacked[2:] == ["a.csv.gz", "b.csv.gz", "b.csv.gz"]
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_folders_and_patterns(nlp: Language, tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    (mail / "b" / ".hidden").mkdir(parents=True)
    for name in ("b/2.csv", "a.txt", "b/.hidden/no.txt"):
        write_texts(mail / name, [f"my card {name}"])
    (mail / "notes.md").write_text("no", "utf-8")
    apply(nlp, mail, tmp_path / "out.jsonl")
    assert [row["text"] for row in read_rows(tmp_path / "out.jsonl")] == ["my card a.txt", "my card b/2.csv"]
    apply(nlp, [mail / "b" / "*.csv", mail / "a.txt"], tmp_path / "two.csv")
    rows = read_rows(tmp_path / "two.csv")
    assert [(row["id"], row["text"]) for row in rows] == [("0", "my card b/2.csv"), ("", "my card a.txt")]


# ---- what is written of the scores -------------------------------------------------------------------------------


def test_which_scores_are_written(nlp: Language, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "in.csv", TEXTS[:4])
    cats = [doc.cats for doc in nlp.pipe(TEXTS[:4])]

    def rows(kind: str, **options: Any) -> list[dict[str, Any]]:
        apply(nlp, source, tmp_path / f"out.{kind}", force=True, **options)
        return read_rows(tmp_path / f"out.{kind}")

    for row, want in zip(rows("csv", all_scores=True), cats, strict=True):
        assert list(row) == ["id", "text", "label", "score", *(f"score_{label}" for label in LABELS)]
        assert {label: float(row[f"score_{label}"]) for label in LABELS} == pytest.approx(want, abs=2e-6)
    for row, want in zip(rows("jsonl", all_scores=True), cats, strict=True):
        assert row["scores"] == pytest.approx(want, abs=2e-6)
    for row, want in zip(rows("jsonl", top=2), cats, strict=True):
        assert list(row["scores"]) == sorted(want, key=lambda label: -want[label])[:2]
    middle = sorted(score for one in cats for score in one.values())[6]
    for row, want in zip(rows("csv", above=middle), cats, strict=True):
        assert set(json.loads(row["scores"])) == {label for label, score in want.items() if round(score, 6) >= middle}
    assert {row["label"] for row in rows("csv", min_score=1.0, abstain="ask")} == {"ask"}
    assert {row["label"] for row in rows("csv", min_score=0.0)} <= set(LABELS)
    assert list(rows("jsonl", prefix="p_")[0]) == ["id", "text", "p_label", "p_score"]


def test_two_components_write_columns_of_their_own(bert: Path, tmp_path: Path) -> None:
    """Also where they have labels in common, which overwrite each other in `doc.cats`."""
    both = spacy.blank("xx")
    add_classifier(both, bert, name="one")
    add_classifier(both, bert, name="two", multilabel=True)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="T346"):
        both.initialize(lambda: exclusive_examples(both, 12))
    source = write_texts(tmp_path / "in.txt", TEXTS)
    apply(both, source, tmp_path / "out.jsonl", all_scores=True)
    docs = [both.make_doc(text) for text in TEXTS]
    for name in ("one", "two"):
        scores = both.get_pipe(name).predict(docs)
        for row, want in zip(read_rows(tmp_path / "out.jsonl"), scores.tolist(), strict=True):
            assert list(row[f"{name}_scores"].values()) == pytest.approx(want, abs=2e-6)
            assert row[f"{name}_score"] == max(row[f"{name}_scores"].values())


def test_every_component_runs_and_may_change_what_is_read(bert: Path, tmp_path: Path) -> None:
    spacy.tokens.Doc.set_extension("title", default=None)
    both = spacy.blank("xx")
    add_classifier(both, bert, text={"sources": ["_.title", "text"]})
    torch.manual_seed(0)

    def with_titles() -> list[Any]:
        examples = exclusive_examples(both, 12)
        for example in examples:
            example.reference._.title = example.predicted._.title = "my card"
        return examples

    both.initialize(with_titles)
    lines = [{"text": "the money", "title": "my card"}, {"text": "the money", "title": "the login"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    done = apply(both, tmp_path / "in.jsonl", tmp_path / "out.jsonl", all_scores=True)
    # The same text with another title is not the same document.
    assert done.n_repeated == 0
    for row, line in zip(read_rows(tmp_path / "out.jsonl"), lines, strict=True):
        doc = both.make_doc(line["text"])
        doc._.title = line["title"]
        assert row["scores"] == pytest.approx(both(doc).cats, abs=2e-6)
    with pytest.raises(ValueError, match=r"T526.*title"):
        apply(both, write_texts(tmp_path / "in.csv", TEXTS), tmp_path / "no.csv")


# ---- speed -------------------------------------------------------------------------------------------------------


def test_a_text_that_comes_again_is_scored_once(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []
    original = DirectScoring.score

    def score(self: DirectScoring, rows: Any) -> Any:
        scored.extend(row.text for row in rows)
        return original(self, rows)

    monkeypatch.setattr(DirectScoring, "score", score)
    texts = [*numbered(6), *numbered(3), *numbered(9)]
    done = apply(nlp, write_texts(tmp_path / "in.csv", texts), tmp_path / "out.jsonl", look_ahead=4)
    assert sorted(scored) == sorted(numbered(9))
    assert (done.n_docs, done.n_repeated) == (18, 9)
    rows = read_rows(tmp_path / "out.jsonl")
    by_text = {row["text"]: row["score"] for row in rows}
    assert [row["text"] for row in rows] == texts
    assert all(row["score"] == by_text[row["text"]] for row in rows)


def test_one_component_alone_makes_no_documents(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_texts(tmp_path / "in.csv", TEXTS)
    apply(nlp, source, tmp_path / "with.spacy")
    with monkeypatch.context() as patch:
        patch.setattr(Language, "make_doc", lambda self, text: pytest.fail("a document"))
        apply(nlp, source, tmp_path / "out.jsonl", all_scores=True)
    direct = [row["scores"] for row in read_rows(tmp_path / "out.jsonl")]
    for row, want in zip(read_rows(tmp_path / "with.spacy"), direct, strict=True):
        assert row["scores"] == pytest.approx(want, abs=2e-6)
    # A tokenizer of one's own may change the text.
    monkeypatch.setattr(nlp, "tokenizer", lambda text: spacy.tokens.Doc(nlp.vocab, words=["my", "card"]))
    apply(nlp, source, tmp_path / "own.jsonl")
    assert len({row["score"] for row in read_rows(tmp_path / "own.jsonl")}) == 1


def test_nothing_is_read_far_ahead(nlp: Language) -> None:
    from spacy_transfer.serving.apply.reading.blocks import make_blocks, read_ahead
    from spacy_transfer.serving.apply.reading.rows import Row

    read: list[int] = []

    def rows() -> Any:
        for i in range(1000):
            read.append(i)
            yield Row(0, i, i, {}, "text", "text")

    with read_ahead(make_blocks(rows(), 10)) as blocks:
        for _, block in zip(range(3), blocks, strict=False):
            assert len(block.rows) == 10
    # Those that were taken, two that wait, and one in the hands of the reader.
    assert len(read) <= 10 * 7


def test_documents_of_a_block_do_not_depend_on_their_length(nlp: Language, tmp_path: Path) -> None:
    """A block is closed early where its texts are long."""
    from spacy_transfer.serving.apply.reading.blocks import make_blocks
    from spacy_transfer.serving.apply.reading.rows import Row

    blocks = list(make_blocks((Row(0, i, i, {}, "x" * 900_000, "text") for i in range(20)), 1000))
    assert [len(block.rows) for block in blocks] == [9, 9, 2]
    assert isinstance(PipelineScoring(nlp, keeps_docs=False).components[0].labels, tuple)
