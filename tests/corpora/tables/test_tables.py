"""Tables as people have them: what a file says is found out, what cannot be right is refused by line."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_transfer import errors
from spacy_transfer.cli import transfer_cli
from spacy_transfer.corpora.convert import MOST_NAMED, Converted, convert
from spacy_transfer.corpora.tables.table_format import TableFormat

Docs = list[tuple[str, dict[str, float]]]


def write(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


def docs_of(path: Path) -> Docs:
    return [(doc.text, doc.cats) for doc in DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)]


def read(source: Path, **options: Any) -> Docs:
    """What convert makes of a file: texts and the labels that hold, with their values."""
    target = source.parent / "out"
    convert([source], target, force=True, **options)
    return [(text, {k: v for k, v in cats.items() if v}) for text, cats in docs_of(target / f"{source.stem}.spacy")]


def bad_lines(source: Path, **options: Any) -> list[str]:
    """The lines that --skip-bad leaves out, without the path."""
    done = convert([source], source.parent / "out", force=True, skip_bad=True, **options)
    return [str(bad).removeprefix(f"{source}:") for bad in done.bad_lines]


def codes(done: Converted) -> list[str]:
    return [found.code for found in done.findings]


ROWS = [("Brötchen, café", "x"), ('he said "no"', "y"), ("a;b\tc|d", "x")]


# ---- delimiters, encodings, line ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_delimiter_and_encoding_are_found_out(tmp_path: Path, delimiter: str, encoding: str, suffix: str) -> None:
    source = tmp_path / f"train{suffix}"
    with source.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *ROWS])
    done = convert([source], tmp_path / "out")
    assert read(source) == [(text, {label: 1.0}) for text, label in ROWS]
    notes = "; ".join(done.notes.get(source, []))
    assert ("delimiter" in notes) == (delimiter != {".csv": ",", ".tsv": "\t"}[suffix])
    assert ("encoding" in notes) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize(
    ("text", "encoding", "is_read"),
    [
        ("café déjà vu — “naïve”", "cp1252", True), ("größer, Straße, Übung", "cp1252", True),
        ("it’s 5 €", "cp1252", True),
        ("привет мир", "cp1251", False), ("привет", "koi8-r", False), ("こんにちは", "shift_jis", False),
        ("你好", "gb18030", False), ("안녕", "euc_kr", False), ("są żółte", "cp1250", False),
        ("ağaç için", "cp1254", False),
        ("café à la carte", "mac_roman", False), ("déjà vu", "cp850", False), ("γειά σου", "cp1253", False),
    ],
)  # fmt: skip
def test_what_is_not_utf8_is_read_only_if_it_reads_as_western(
    tmp_path: Path, text: str, encoding: str, is_read: bool
) -> None:
    source = write(tmp_path / "train.csv", "text,label", f'"{text}",x', encoding=encoding)
    if is_read:
        done = convert([source], tmp_path / "out")
        assert "cp1252" in done.notes[source][0]
        assert "--encoding" in done.notes[source][0]
        assert read(source) == [(text, {"x": 1.0})]
        return
    with pytest.raises(
        UnicodeError, match=r"T042.*not UTF-8: byte 0x.. at offset \d+ \(line 2\).*--encoding"
    ) as caught:
        convert([source], tmp_path / "out")
    assert f"  {encoding}: " in str(caught.value)
    assert read(source, layout=TableFormat(encoding=encoding)) == [(text, {"x": 1.0})]


def test_bytes_that_are_no_text_have_their_place(tmp_path: Path) -> None:
    source = tmp_path / "train.csv"
    source.write_bytes(b"\xef\xbb\xbftext,label\nab\xff,x\n")
    with pytest.raises(UnicodeError, match=r"T042.*not UTF-8: byte 0xFF at offset 16 \(line 2\)"):
        convert([source], tmp_path / "out")
    with pytest.raises(ValueError, match=r"T396.*--encoding 'klingon'"):
        convert([source], tmp_path / "out", layout=TableFormat(encoding="klingon"))


def test_old_macs_and_the_line_that_excel_writes_first(tmp_path: Path) -> None:
    assert read(write(tmp_path / "mac.csv", "text,label", "a,x", "b,y", end="\r")) == [
        ("a", {"x": 1.0}),
        ("b", {"y": 1.0}),
    ]
    assert read(write(tmp_path / "excel.csv", "sep=;", "text;label", "a;x", end="\r\n")) == [("a", {"x": 1.0})]


@pytest.mark.parametrize(("given", "meant"), [("semicolon", ";"), ("tab", "\t"), ("\\t", "\t"), ("~", "~")])
def test_a_given_delimiter(tmp_path: Path, given: str, meant: str) -> None:
    source = write(tmp_path / "train.csv", f"text{meant}label", f"a, b{meant}x")
    assert read(source, layout=TableFormat(delimiter=given)) == [("a, b", {"x": 1.0})]


@pytest.mark.parametrize(
    "layout",
    [{"delimiter": ""}, {"delimiter": "ab"}, {"delimiter": '"'}, {"quoting": "some"}, {"columns": ("a", " ")},
     {"header_line": -1}, {"header_line": 2, "columns": ("text", "label")}],
)  # fmt: skip
def test_a_layout_that_cannot_be(layout: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="T396"):
        TableFormat(**layout)


# ---- headers -----------------------------------------------------------------------------------------------------


def test_headers_above_within_and_none(tmp_path: Path) -> None:
    above = write(tmp_path / "above.csv", "Export of 2024", "", "text,label", "a,x")
    with pytest.raises(ValueError, match=r"T046.*--header-line 3"):
        convert([above], tmp_path / "out")
    assert read(above, layout=TableFormat(header_line=3)) == [("a", {"x": 1.0})]
    cut = write(tmp_path / "cut.csv", "Export", "text;label", "a;x")
    assert read(cut, layout=TableFormat(header_line=2)) == [("a", {"x": 1.0})]
    joined = write(tmp_path / "joined.csv", "text,label", "a,x", "text,label", "b,y")
    assert bad_lines(joined) == ["3: the header again: were several files joined? Remove the line"]
    bare = write(tmp_path / "bare.csv", "x;a;1", "y;b;2")
    with pytest.raises(ValueError, match=r"T046.*--columns"):
        convert([bare], tmp_path / "bare")
    assert read(bare, layout=TableFormat(columns=("label", "text", "id"))) == [("a", {"x": 1.0}), ("b", {"y": 1.0})]
    assert bad_lines(joined, layout=TableFormat(columns=("text", "label")))[0].startswith("1: the header again")


def test_a_message_about_columns_stays_short(tmp_path: Path) -> None:
    source = write(tmp_path / "wide.csv", ",".join(f"c{i}" for i in range(100_000)))
    with pytest.raises(ValueError, match=r"T046.*'c9' and 99,990 more.*'text'") as caught:
        convert([source], tmp_path / "out")
    assert len(str(caught.value)) < 2000


def test_blanks_behind_delimiters(tmp_path: Path) -> None:
    """`text, label` and `"a", "x"`: a quotation mark behind a blank would be a letter of the label."""
    source = write(tmp_path / "train.csv", "text, label", '"a, b", "x"', "c, y")
    assert read(source) == [("a, b", {"x": 1.0}), ("c", {"y": 1.0})]
    source = write(tmp_path / "odd.csv", "text,label", '"a", "x"', "c,y")
    assert bad_lines(source) == ["2: " + errors.T043_MARKS.format(value=repr('"x"'))]


# ---- quotation marks ---------------------------------------------------------------------------------------------

TRAMS = ["text\tlabel", *(f"tram {i} is late\ttravel" for i in range(20))]


@pytest.mark.parametrize(("closes_in", "n_lines"), [(15, 13), (None, 18)])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_rows_that_an_open_quotation_mark_takes_in_are_lines_that_are_lost(
    tmp_path: Path, closes_in: int | None, n_lines: int, delimiter: str
) -> None:
    lines = [line.replace("\t", delimiter) for line in TRAMS]
    lines[3] = f'"unclosed quote{delimiter}travel'
    if closes_in is not None:
        lines[closes_in] = f'a door of 24"{delimiter}baking'
    source = write(tmp_path / ("train.tsv" if delimiter == "\t" else "train.csv"), *lines)
    last = 3 + n_lines
    with pytest.raises(
        ValueError, match=rf"T043\] {n_lines} bad line\(s\)(?s:.)*:4: lines 4 to {last}: .*--quoting none"
    ):
        convert([source], tmp_path / "out")
    done = convert([source], tmp_path / "out", skip_bad=True)
    assert done.n_bad[source] == n_lines
    # No line goes without a word: what is left and what is named are all there are.
    assert done.n_texts[source] + n_lines == len(lines) - 1
    found = read(source, layout=TableFormat(quoting="none"))
    assert len(found) == 20
    assert found[2][0] == '"unclosed quote'


def test_cells_with_line_breaks_are_counted(tmp_path: Path) -> None:
    mails = [("Hello,\n\nthe tram is late.\nBye, Ann", "travel"), ("two\nlines", "other"), ("one", "travel")]
    source = tmp_path / "mails.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *mails])
    done = convert([source], tmp_path / "out")
    assert [text for text, _ in docs_of(done.files[source])] == [text for text, _ in mails]
    (found,) = done.findings
    assert (found.code, found.level) == ("suspicious-cells", "warning")
    assert str(source) in found.message
    assert "lines 2 to 5" in found.examples[0]
    source.write_text('text,label\n"two\nlines",x\n"b",y\n', "utf-8")
    assert codes(convert([source], tmp_path / "out", force=True)) == ["broken-cells"]
    rows = "\n".join(f"line {i}\ttravel" for i in range(4))
    tabs = write(tmp_path / "tabs.tsv", "text\tlabel", f'"{rows}"\ttravel')
    assert read(tabs, layout=TableFormat(quoting="csv")) == [(rows, {"travel": 1.0})]


def test_bad_rows_are_named_as_the_user_finds_them(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "id,text,label", '7,"two', 'lines",x', "8,b,", "", "9,,x")
    assert bad_lines(source, id_field="id") == [
        "4: row 3, id '8': no label: 'label' missing or empty",
        "6: row 5, id '9': no text: the field 'text' is missing or empty"
    ]  # fmt: skip


# ---- labels in cells ---------------------------------------------------------------------------------------------


LISTS = ["['baking', 'delay']", "[baking, delay]", "{'a': 1}", "('a', 'b')", "{'a'}", "array(['a'])"]


@pytest.mark.parametrize("cell", LISTS)
@pytest.mark.parametrize("column", ["label", "labels"])
def test_a_list_is_never_a_label(tmp_path: Path, cell: str, column: str) -> None:
    source = tmp_path / "t.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", column), ("a", cell), ("b", "x"), ("c", "(other)")])
    (line,) = bad_lines(source)
    assert line.startswith("2: ")
    assert "looks like a list" in line
    jsonl = write(tmp_path / "t.jsonl", json.dumps({"text": "a", "label": cell}), '{"text": "b", "label": "x"}')
    assert len(bad_lines(jsonl)) == 1


def test_json_lists_are_read_and_so_are_separators(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("text", "labels"), ("a", '["baking", "delay"]'), ("b", "baking|delay"), ("c", "[]"), ("d", "")]
        )
    both = {"baking": 1.0, "delay": 1.0}
    assert read(source) == [("a", both), ("b", both), ("c", {}), ("d", {})]


def test_a_column_for_each_label(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "text,rude,threat,spam", "a,1,0,0.5", "b,TRUE,False,0.0", "c,1,,0", "d,-1,0,0")
    with pytest.raises(ValueError, match=r"T046.*--label-columns"):
        convert([write(tmp_path / "u.csv", "text,rude,threat", "a,1,0", "b,0,0")], tmp_path / "out")
    lines = bad_lines(source, label_columns=["rude", "threat", "spam"])
    assert lines == [
        f"4: {errors.T043_TRUTH.format(label='threat', value=repr(''))}",
        f"5: {errors.T043_TRUTH.format(label='rude', value=repr('-1'))}",
    ]  # fmt: skip
    assert docs_of(tmp_path / "out" / "t.spacy") == [
        ("a", {"rude": 1.0, "threat": 0.0, "spam": 0.5}), ("b", {"rude": 1.0, "threat": 0.0, "spam": 0.0})
    ]  # fmt: skip
    with pytest.raises(ValueError, match="T398"):
        convert([source], tmp_path / "out", label_columns=["rude", "rude"], force=True)


@pytest.mark.parametrize(
    ("names", "rows", "labels"),
    [
        ("neg,pos", ["0", "1", "1.0"], ["neg", "pos", "pos"]),
        ("0=neg,4=pos", ["0", "4", "pos"], ["neg", "pos", "pos"]),
        ({4: "pos", 0: "neg"}, ["4", "0"], ["pos", "neg"]), (["neg", "pos"], ["1"], ["pos"]),
    ],
)  # fmt: skip
def test_numbers_get_names(tmp_path: Path, names: Any, rows: list[str], labels: list[str]) -> None:
    source = write(tmp_path / "t.csv", "text,label", *(f"t{i},{row}" for i, row in enumerate(rows)))
    assert [next(iter(cats)) for _, cats in read(source, label_names=names)] == labels
    (line,) = bad_lines(write(tmp_path / "u.csv", "text,label", "a,0", "b,7"), label_names=names)
    assert "the label '7' has no name" in line


def test_names_of_numbers_from_a_file(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", '{"text": "a", "label": 1}', '{"text": "b", "labels": [0, 1]}')
    for content in ('["neg", "pos"]', '{"0": "neg", "1": "pos"}', "neg\npos\n"):
        names = tmp_path / "names.txt"
        names.write_text(content, "utf-8")
        assert read(source, label_names=str(names)) == [("a", {"pos": 1.0}), ("b", {"neg": 1.0, "pos": 1.0})]
    for bad in ("a,a", "a,,b", "0=a,1="):
        with pytest.raises(ValueError, match="T394"):
            convert([source], tmp_path / "out", label_names=bad, force=True)


def test_a_parquet_file_of_datasets_names_its_labels(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    feature = {"names": ["world", "sports"], "_type": "ClassLabel"}
    forms = {"label": ([1, 0, -1], feature), "labels": ([[1], [0, 1], []], {"feature": feature, "_type": "Sequence"})}
    want = {"label": [{"sports": 1.0}, {"world": 1.0}], "labels": [{"sports": 1.0}, {"world": 1.0, "sports": 1.0}, {}]}
    for form, (values, described) in forms.items():
        table = pyarrow.table({"text": ["a", "b", "c"], form: values})
        info = {"info": {"features": {form: described}}}
        parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet")
        done = convert([tmp_path / "t.parquet"], tmp_path / "out", force=True, skip_bad=True)
        assert [
            {k: v for k, v in cats.items() if v} for _, cats in docs_of(done.files[tmp_path / "t.parquet"])
        ] == want[form]
        assert "from the file" in done.notes[tmp_path / "t.parquet"][0]


# ---- workbooks, JSON, Parquet that is broken ---------------------------------------------------------------------


def test_workbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old.xls", "open.ods"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=r'T395.*"CSV UTF-8"'):
            convert([tmp_path / name], tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openpyxl", None)
        (tmp_path / "t.xlsx").touch()
        with pytest.raises(ImportError, match=r'T395.*"CSV UTF-8".*spacy-transfer\[excel\]'):
            convert([tmp_path / "t.xlsx"], tmp_path / "out")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (
        ["text", "label", None],
        ["Grüße\nan alle", 3, None],
        [None, None, None],
        ["b", "x", None],
        ["c", None, None],
    ):
        book.active.append(row)
    book.create_sheet("notes")
    book.save(tmp_path / "t.xlsx")
    assert bad_lines(tmp_path / "t.xlsx") == ["5: no label: 'label' missing or empty"]
    assert docs_of(tmp_path / "out" / "t.spacy")[0] == ("Grüße\nan alle", {"3": 1.0, "x": 0.0})
    whole = (tmp_path / "t.xlsx").read_bytes()
    for begin in range(40, len(whole), 150):
        content = bytearray(whole)
        content[begin : begin + 10] = b"\xff" * 10
        (tmp_path / "cut.xlsx").write_bytes(content)
        try:
            convert([tmp_path / "cut.xlsx"], tmp_path / "cut", force=True, skip_bad=True)
        except ValueError as error:
            assert str(error).startswith("[T")  # noqa: PT017
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(ValueError, match=r"T047.*Excel"):
        convert([tmp_path / "bad.xlsx"], tmp_path / "bad")


def test_a_json_list(tmp_path: Path) -> None:
    source = write(tmp_path / "t.json", json.dumps([{"text": "a", "label": "x"}, {"text": "b"}], indent=2))
    assert bad_lines(source) == ["2: no label: 'label' or 'labels' or 'cats' missing or empty"]
    for content in ('{"text": "a"}', "[", "3"):
        with pytest.raises(ValueError, match=r"T047.*JSON"):
            convert([write(tmp_path / "u.json", content)], tmp_path / "bad")


def test_parquet_with_cells_that_python_has_no_value_for_and_damaged_pages(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    source = tmp_path / "t.parquet"
    times = pyarrow.array([1, 2], pyarrow.int64()).cast(pyarrow.duration("s"))
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["x", "y"], "t": times}), source)
    with pytest.raises(ValueError, match=r"T043(?s:.)*'t'"):
        convert([source], tmp_path / "out", attribute_fields=["t"])
    huge = pyarrow.array([2**62, 1], pyarrow.int64()).cast(pyarrow.duration("s"))
    parquet.write_table(pyarrow.table({"text": huge, "label": ["x", "y"]}), source)
    with pytest.raises(ValueError, match=r"T043(?s:.)*t.parquet:1: .*too large"):
        convert([source], tmp_path / "out")
    parquet.write_table(pyarrow.table({"text": [f"text {i}" for i in range(1000)], "label": ["x", "y"] * 500}), source)
    content = bytearray(source.read_bytes())
    content[10:2000] = b"\xff" * 1990
    source.write_bytes(content)
    with pytest.raises(ValueError, match=r"T047.*Parquet|T043"):
        convert([source], tmp_path / "out")


def test_a_file_that_grows_between_its_two_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "log.csv", "text,label", "a,x", "b,y")
    blank = spacy.blank

    def writes_meanwhile(lang: str) -> Any:
        with source.open("a") as file:
            file.write("c,z\n")
        return blank(lang)

    monkeypatch.setattr("spacy_transfer.corpora.convert.blank_language", writes_meanwhile)
    with pytest.raises(ValueError, match=r"T047.*log\.csv"):
        convert([source], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- names, shares, many labels ----------------------------------------------------------------------------------


def test_names_and_shares(tmp_path: Path) -> None:
    lines = [f"t{i},{'many' if i % 5 else 'few'}" for i in range(100)]
    source = write(tmp_path / "mails.csv", "text,label", *lines)
    done = convert([source], tmp_path / "out", names=["train"], dev_share=0.2, test_share=0.1)
    out = tmp_path / "out"
    assert done.n_written == {out / "train.spacy": 70, out / "dev.spacy": 20, out / "test.spacy": 10}
    parts = {path.stem: docs_of(path) for path in done.n_written}
    assert sorted(text for docs in parts.values() for text, _ in docs) == sorted(f"t{i}" for i in range(100))
    assert {name: sum(cats["few"] for _, cats in docs) for name, docs in parts.items()} == {
        "train": 14,
        "dev": 4,
        "test": 2,
    }
    for options in ({"names": ["a", "b"]}, {"names": ["a/b"]}, {"names": [".."]}):
        with pytest.raises(ValueError, match="T398"):
            convert([source], out, force=True, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"T005.*test_share"):
        convert([source], out, force=True, dev_share=0.6, test_share=0.4)
    with pytest.raises(ValueError, match="T048"):
        convert([source], out, force=True, names=["test"], test_share=0.1)


def test_fields_with_blanks_become_names(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "text,label,Ticket no.,2nd", "a,x,7,b")
    done = convert([source], tmp_path / "out", attribute_fields=["Ticket no.", "2nd"])
    assert done.attributes == {"Ticket no.": "Ticket_no", "2nd": "_2nd"}
    (doc,) = DocBin().from_disk(done.files[source]).get_docs(spacy.blank("xx").vocab)
    assert {key[1]: value for key, value in doc.user_data.items()} == {"Ticket_no": "7", "_2nd": "b"}


def test_with_many_exclusive_labels_a_text_names_its_own(tmp_path: Path) -> None:
    n_labels = MOST_NAMED + 1
    source = write(tmp_path / "train.csv", "text,label", *(f"t{i},l{i % n_labels}" for i in range(3 * n_labels)))
    done = convert([source], tmp_path / "out")
    assert [cats for _, cats in docs_of(done.files[source])][:2] == [{"l0": 1.0}, {"l1": 1.0}]
    assert codes(done) == ["compact-labels"]
    # Of independent labels, one that is not named is unknown: there all are named.
    lists = write(tmp_path / "lists.csv", "text,labels", *(f"t{i},l{i % n_labels}" for i in range(3 * n_labels)))
    assert all(len(cats) == n_labels for _, cats in docs_of(convert([lists], tmp_path / "two").files[lists]))


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    source = write(
        tmp_path / "mails.csv", "Betreff kurz;Body;Art", "A;café;Refund", "B;x;Refund", "C;y;REFUND", encoding="cp1252"
    )
    options = ["--text-field", "Body", "--label-field", "Art", "--attribute-field", "Betreff kurz", "--merge-labels"]
    result = CliRunner().invoke(transfer_cli, ["convert", str(source), str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    for said in (
        "delimiter semicolon", "encoding cp1252", "becomes doc._.Betreff_kurz",
        "1 label(s) merged: 'REFUND' -> 'Refund'",
        "3 texts", "1 labels", "--name train",
    ):  # fmt: skip
        assert said in words
