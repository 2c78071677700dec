"""A check finds what would spoil a training, and nothing in sound data."""

import json
from pathlib import Path

import pytest
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_transfer.cli import transfer_cli
from spacy_transfer.corpora.excerpt import LONGEST_EXCERPT
from spacy_transfer.corpora.inspection.check import check
from spacy_transfer.corpora.inspection.findings import FINDINGS, N_EXAMPLES, finding
from spacy_transfer.corpora.inspection.repeats import normalize

Text = tuple[str, dict[str, object]]


def one(label: str, labels: str = "xy") -> dict[str, object]:
    return {other: float(other == label) for other in labels}


def sound(name: str, n_each: int = 5, labels: str = "xy") -> list[Text]:
    return [(f"{name} {label} {number}", one(label, labels)) for label in labels for number in range(n_each)]


def write(folder: Path, **splits: list[Text]) -> list[Path]:
    vocab = Vocab()
    for name, texts in splits.items():
        docs = DocBin(attrs=["ORTH"])
        for text, cats in texts:
            words = [text] if text else []
            doc = Doc(vocab, words=words, spaces=[False] * len(words))
            doc.cats = cats
            docs.add(doc)
        docs.to_disk(folder / f"{name}.spacy")
    return [folder / f"{name}.spacy" for name in splits]


def codes(paths: list[Path], **options: object) -> list[str]:
    return [found.code for found in check(paths, **options).findings]  # type: ignore[arg-type]


def test_sound_data_have_no_findings(tmp_path):
    report = check(write(tmp_path, train=sound("train"), dev=sound("dev", 2), test=sound("test", 3)))
    assert report.findings == []
    assert report.n_errors == 0
    assert report.exclusive
    assert report.labels == ["x", "y"]
    assert [(split.name, split.n_texts, split.label_counts) for split in report.splits] == [
        ("train", 10, {"x": 5, "y": 5}),
        ("dev", 4, {"x": 2, "y": 2}),
        ("test", 6, {"x": 3, "y": 3}),
    ]


@pytest.mark.parametrize(
    ("extra", "code", "level", "example"),
    [
        ([("z", {"x": float("nan"), "y": 1.0})], "bad-value", "error", "train[10] 'z': 'x' = nan"),
        ([("z", {"x": 1.0, "y": -0.5})], "bad-value", "error", "train[10] 'z': 'y' = -0.5"),
        ([("z", {"x": 1.0, "y": "no"})], "bad-value", "error", "train[10] 'z': 'y' = 'no'"),
        ([("z", {"x": 1.0, "y": 1.0})], "several-positives", "error", "train[10] 'z': x, y"),
        ([("z", {"x": 0.0, "y": 0.0})], "no-positive", "error", "train[10] 'z': no label"),
        ([("z", {})], "no-positive", "error", "train[10] 'z': no label"),
        ([("z", {"x": 1.0})], "incomplete-cats", "warning", "train[10] 'z': x"),
        ([(" ", one("x"))], "empty-text", "warning", "train[10] '': x"),
        ([("", one("x"))], "empty-text", "warning", "train[10] '': x"),
        ([("z", one("x")), ("  Z ", one("x"))], "duplicate", "warning", "2 times: train[10] 'z': x"),
        ([("z", one("x")), ("Z", one("y"))], "contradiction", "warning", "'z': train[10] x; train[11] y"),
    ],
)
def test_a_fault_is_found_and_shown(tmp_path, extra, code, level, example):
    report = check(write(tmp_path, train=[*sound("train"), *extra], dev=sound("dev")))
    found = {finding.code: finding for finding in report.findings}
    assert found[code].level == level
    assert found[code].examples == [example]
    assert bool(report.n_errors) == (level == "error")


def test_empty_texts_are_no_repeats(tmp_path):
    empty = [(" ", one("x")), ("", one("y"))]
    assert codes(write(tmp_path, train=[*sound("train"), *empty])) == ["empty-text"]


def test_texts_that_splits_share(tmp_path):
    shared = ("Where  is\nit?", one("x"))
    paths = write(
        tmp_path,
        train=[*sound("train"), shared],
        dev=[*sound("dev"), ("where is it?", one("x"))],
        test=[*sound("test"), ("WHERE IS IT?", one("y"))],
    )
    wanted = [
        finding("overlap", n=1, split="dev", other="train"),
        finding("overlap", n=1, split="test", other="train"),
        finding("overlap", n=1, split="test", other="dev"),
        finding("contradiction", n=1),
    ]
    found = check(paths).findings
    assert [(one.code, one.message) for one in found] == [(one.code, one.message) for one in wanted]


def test_labels_that_a_split_lacks(tmp_path):
    train = [*sound("train", labels="xyz"), ("w", one("w", "xyzw"))]
    train = [(text, {**one("", "xyzwv"), **cats}) for text, cats in train]
    dev = [(text, {**one("", "xyzwv"), **cats}) for text, cats in sound("dev", labels="xyv")]
    report = check(write(tmp_path, train=train, dev=dev))
    assert [(found.code, found.level, found.examples) for found in report.findings] == [
        ("missing-from-train", "error", ["v"]),
        ("few-texts", "warning", ["w: 1"]),
        ("missing-from-split", "warning", ["w", "z"]),
    ]


def test_a_label_that_train_never_names_is_missing_too(tmp_path):
    assert "missing-from-train" in codes(write(tmp_path, train=sound("train"), dev=sound("dev", labels="xyz")))


@pytest.mark.parametrize(("n_each", "found"), [(4, True), (5, False)])
def test_the_least_texts_of_a_label(tmp_path, n_each, found):
    assert ("few-texts" in codes(write(tmp_path, train=sound("train", n_each)))) == found


def test_one_label_is_too_few_only_where_it_excludes_others(tmp_path):
    assert codes(write(tmp_path, train=sound("train", labels="x"))) == ["few-labels"]
    both = [(f"{number}", {"x": float(number % 2)}) for number in range(10)]
    assert codes(write(tmp_path, train=both)) == []


def test_no_labels_and_no_texts(tmp_path):
    assert codes(write(tmp_path, train=[("a", {}), ("b", {})]))[0] == "no-labels"
    assert codes(write(tmp_path, train=sound("train"), dev=[])) == ["empty-split"]


@pytest.mark.parametrize(
    ("n_texts", "n_exceptions", "exclusive"),
    [(2, 1, False), (3, 1, True), (40, 2, True), (40, 3, False), (100, 5, True), (100, 6, False)],
)
def test_data_look_exclusive_up_to_five_percent_or_one_text(tmp_path, n_texts, n_exceptions, exclusive):
    texts = [(f"{number}", one("xy"[number % 2])) for number in range(n_texts - n_exceptions)]
    texts += [(f"both {number}", {"x": 1.0, "y": 1.0}) for number in range(n_exceptions)]
    paths = write(tmp_path, train=texts)
    assert check(paths).exclusive == exclusive
    assert check(paths, exclusive=False).exclusive is False
    assert check(paths, exclusive=True).n_errors == 1


def test_soft_labels_that_sum_to_one_are_exclusive(tmp_path):
    texts = [(f"{number}", {"x": 0.4, "y": 0.3, "z": 0.3}) for number in range(10)]
    report = check(write(tmp_path, train=texts))
    assert report.exclusive
    # below 0.5 they count for no text, yet they are there to be learned
    assert [found.code for found in report.findings] == ["few-texts"]


def test_multilabel_data_may_have_any_number_and_miss_some(tmp_path):
    texts = [("none", {"x": 0.0, "y": 0.0}), ("both", {"x": 1.0, "y": 1.0}), ("part", {"x": 1.0}), ("bare", {})]
    texts += [
        (f"{label} {number}", {label: 1.0, "xy"["yx".index(label)]: 0.2}) for number in range(5) for label in "xy"
    ]
    report = check(write(tmp_path, train=texts), exclusive=False)
    found = {finding.code: finding.examples for finding in report.findings}
    assert found == {"missing-values": ["train[2] 'part': x"], "unlabeled": ["train[3] 'bare': no label"]}
    assert report.n_errors == 0


@pytest.mark.parametrize(
    ("first", "second", "exclusive", "contradicts"),
    [
        ({"x": 1.0}, {"y": 1.0}, False, False),
        ({"x": 1.0}, {"y": 1.0}, True, True),
        ({"x": 0.9}, {"x": 0.6}, False, False),
        ({"x": 0.9}, {"x": 0.4}, False, True),
    ],
)
def test_what_contradicts(tmp_path, first, second, exclusive, contradicts):
    paths = write(tmp_path, train=[("a", first), ("A", second)])
    assert ("contradiction" in codes(paths, exclusive=exclusive)) == contradicts


def test_examples_are_few_and_short(tmp_path):
    texts = [(f"{number} " + "long " * 100, {"x": 1.0, "y": 1.0}) for number in range(20)]
    (found,) = (f for f in check(write(tmp_path, train=texts), exclusive=True).findings if f.level == "error")
    assert len(found.examples) == N_EXAMPLES
    assert max(map(len, found.examples)) < LONGEST_EXCERPT + 30


@pytest.mark.parametrize(
    ("one_text", "other"), [("Straße", "STRASSE"), (" a\t b\n", "a b"), ("a\u00a0b", "A b"), ("\u2003", "")]
)
def test_texts_that_count_as_the_same(one_text, other):
    assert normalize(one_text) == normalize(other)


def test_lengths_in_pieces(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    # 1 to 20 words and two special pieces
    texts = [("a " * number, one("xy"[number % 2])) for number in range(1, 21)]
    paths = write(tmp_path, train=texts)
    report = check(paths, encoder=tmp_path, window=20)
    assert report.splits[0].lengths is not None
    assert report.splits[0].lengths.median == 12.5
    assert report.splits[0].lengths.percentile_95 == 21
    assert report.splits[0].lengths.longest == 22
    assert report.splits[0].lengths.share_above_window == 0.1
    (found,) = report.findings
    assert (found.code, found.level, len(found.examples)) == ("long-texts", "info", 2)
    assert check(paths, encoder=tmp_path, window=22).findings == []


def test_an_encoder_without_a_tokenizer(tmp_path):
    with pytest.raises(ValueError, match=r"T054.*a tokenizer missing"):
        check(write(tmp_path, train=sound("train")), encoder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_file_that_is_no_corpus(tmp_path, content):
    (tmp_path / "train.spacy").write_bytes(content)
    with pytest.raises(ValueError, match=r"T047.*\.spacy"):
        check([tmp_path / "train.spacy"])


def test_a_corpus_that_is_cut_off(tmp_path):
    (path,) = write(tmp_path, train=sound("train"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="T047"):
        check([path])


def test_splits_that_cannot_be_meant(tmp_path):
    (path,) = write(tmp_path, train=sound("train"))
    with pytest.raises(FileNotFoundError, match="T440"):
        check([tmp_path / "dev.spacy"])
    with pytest.raises(ValueError, match="T048"):
        check([path, path])


def test_every_sentence_can_be_filled():
    values = {"n": 1, "split": "train", "share": 0.5, "least": 5, "label": "x", "other": "dev", "window": 256}
    for level, sentence in FINDINGS.values():
        assert level in ("error", "warning", "info")
        assert sentence.format(**values)


def test_the_command(tmp_path):
    good = write(tmp_path, train=sound("train"), dev=sound("dev"))
    report = tmp_path / "reports" / "check.json"
    result = CliRunner().invoke(transfer_cli, ["check", *map(str, good), "--json", str(report)])
    assert result.exit_code == 0
    assert "No problems found" in result.output
    data = json.loads(report.read_text("utf-8"))
    assert data["labels"] == ["x", "y"]
    assert data["splits"][0]["label_counts"] == {"x": 5, "y": 5}
    bad = write(tmp_path, train=[*sound("train"), ("z", {"x": 1.0, "y": 1.0})])
    result = CliRunner().invoke(transfer_cli, ["check", *map(str, bad), "--json", str(report)])
    assert result.exit_code == 1
    assert "several-positives" in result.output
    assert "train[10] 'z': x, y" in result.output
    assert json.loads(report.read_text("utf-8"))["findings"][0]["level"] == "error"
    result = CliRunner().invoke(transfer_cli, ["check", *map(str, bad), "--multilabel"])
    assert result.exit_code == 0
    result = CliRunner().invoke(transfer_cli, ["check", str(tmp_path / "none.spacy")])
    assert result.exit_code == 1
    assert "[T440]" in result.output
