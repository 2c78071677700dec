"""The pieces of a folder are those that AutoTokenizer makes of it, in every alphabet."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from house_kit.encoders import KNOWN_FAMILIES, write_encoder
from house_kit.pipelines import pipeline, read_json, shim_of
from house_kit.texts import TEXTS
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder

Folders = Callable[[str], Path]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ALPHABETS = [
    *TEXTS[:3], "", " ", "a", "  my card ", "\tmy\ncard\r\n", "MY Card is LATE", "card.card,(card)-card_card", "don't",
    "Straße ÄÖÜ Łódź İstanbul ǅ", "e\u0301 é n\u0303 ñ", "a" + "\u0301" * 40, "ﬁne ½ ①",
    "карта потеряна", "Η ΚΆΡΤΑ μου", "بطاقتي ضائعة", "כרטיס אבוד", "मेरा कार्ड खो गया", "บัตรหาย",
    "카드 분실 \u1100\u1161",
    "我的卡丢了 card",
    "カードｶｰﾄﾞ",
    "🙂 👩\u200d👩\u200d👧 🇩🇪 👍🏽", "\U0001f600\U00020000", "a\u200bb\ufeffc\u00add", "\u00a0card\u2009late\u3000",
    "x\x00y\x07z\x7f",
]  # fmt: skip


def assert_same(folder: Path, texts: list[str] = ALPHABETS) -> None:
    """Row by row, framing included, and nothing of it depends on the neighbors."""
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    ours = PieceTokenizer(PretrainedEncoder(str(folder)).load().tokenizer)
    for text, pieces in zip(texts, ours.encode(texts), strict=True):
        assert [*ours.prefix, *pieces, *ours.suffix] == theirs(text)["input_ids"], text


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_family_has_its_pieces(family: str, encoder_folder: Folders) -> None:
    assert_same(encoder_folder(family))


# ---- kinds of tokenizers -----------------------------------------------------------------------------------------


def folder_with(
    folder: Path, tokenizer: Tokenizer, family: str = "bert", settings: Any = None, *, resize: int = 0
) -> Path:
    """An encoder with this tokenizer."""
    write_encoder(folder, family)
    tokenizer.save(str(folder / "tokenizer.json"))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    model = transformers.AutoModel.from_pretrained(str(folder))
    model.resize_token_embeddings(tokenizer.get_vocab_size() + resize, mean_resizing=False)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def letters() -> list[str]:
    """All that the texts are written with, and what lower case and composition make of it."""
    texts = [*ALPHABETS, *[text.lower() for text in ALPHABETS]]
    forms = [
        normalizers.Sequence([form]).normalize_str(t) for form in (normalizers.NFD(), normalizers.NFKC()) for t in texts
    ]
    return sorted({letter for text in [*texts, *forms] for letter in text if not letter.isspace()})


def word_pieces() -> Tokenizer:
    words = ["card", "late", "##card", "Card", "don"]
    vocab = [*SPECIAL, *letters(), *[f"##{letter}" for letter in letters()], *words]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return framed(tokenizer)


def unigrams(prepend: str = "always", *, bytes_too: bool = False) -> Tokenizer:
    vocab = [
        *[(piece, 0.0) for piece in SPECIAL],
        ("▁", -4.0),
        *[(c, -6.0) for c in letters() if c != "▁"],
        ("▁card", -5.0),
    ]
    if bytes_too:
        vocab = [*vocab[:-40], *[(f"<0x{i:02X}>", -9.0) for i in range(256)]]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=1, byte_fallback=bytes_too))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Metaspace()
    return framed(tokenizer)


def byte_pairs(*, prefix_space: bool, ignore_merges: bool = False) -> Tokenizer:
    vocab = {
        piece: i
        for i, piece in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ca", "car", "card"])
    }
    merges = [("c", "a"), ("ca", "r"), ("car", "d")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    return framed(tokenizer)


def whole_words() -> Tokenizer:
    vocab = [*SPECIAL, "card", "my", "Card", "我的卡丢了", "карта"]
    tokenizer = Tokenizer(models.WordLevel({p: i for i, p in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return framed(tokenizer)


def framed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


ROLES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", **ROLES}
KINDS: dict[str, tuple[Callable[[], Tokenizer], Any]] = {
    "uncased": (word_pieces, {"do_lower_case": True}),
    "cased": (word_pieces, {"do_lower_case": False}),
    "cased, accents dropped": (word_pieces, {"do_lower_case": False, "strip_accents": True}),
    "uncased, accents kept": (word_pieces, {"do_lower_case": True, "strip_accents": False}),
    "Chinese words": (word_pieces, {"do_lower_case": False, "tokenize_chinese_chars": False}),
    "no settings": (word_pieces, None),
    "metaspace always": (unigrams, FAST),
    "metaspace first": (lambda: unigrams("first"), FAST),
    "metaspace never": (lambda: unigrams("never"), FAST),
    "unigrams and bytes": (lambda: unigrams(bytes_too=True), FAST),
    "bytes": (lambda: byte_pairs(prefix_space=False), FAST),
    "bytes after a space": (lambda: byte_pairs(prefix_space=True), {**FAST, "add_prefix_space": True}),
    "bytes, whole words first": (lambda: byte_pairs(prefix_space=False, ignore_merges=True), FAST),
    "whole words": (whole_words, FAST),
    "a class that nobody knows": (word_pieces, {**ROLES, "tokenizer_class": "PreTrainedTokenizerFast"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_pieces(kind: str, tmp_path: Path) -> None:
    make, settings = KINDS[kind]
    folder = folder_with(tmp_path, make(), settings=settings)
    assert_same(folder)
    # What frames a row is text in a text, and no text gives a piece that frames.
    ours = PieceTokenizer(PretrainedEncoder(str(folder)).load().tokenizer)
    (pieces,) = ours.encode([" ".join(SPECIAL)])
    assert not set(pieces) & {0, 2, 3, 4}
    assert (ours.prefix, ours.suffix) == ([2], [3])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_folder_without_tokenizer_json(family: str, encoder_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder(family), tmp_path / "encoder")
    form = read_json(tmp_path / "encoder" / "tokenizer.json")
    (tmp_path / "encoder" / "tokenizer.json").unlink()
    model = form["model"]
    if family == "bert":
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        (tmp_path / "encoder" / "vocab.txt").write_text("\n".join(pieces), "utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    else:
        (tmp_path / "encoder" / "vocab.json").write_text(json.dumps(model["vocab"]), "utf-8")
        lines = ["#version: 0.2", *[" ".join(merge) for merge in model["merges"]]]
        (tmp_path / "encoder" / "merges.txt").write_text("\n".join(lines), "utf-8")
        settings = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}
    (tmp_path / "encoder" / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert_same(tmp_path / "encoder")


# ---- markers -----------------------------------------------------------------------------------------------------


def markers(folder: Path, *, special: bool) -> Path:
    """An encoder to which someone added pieces for a task, as transformers does it."""
    write_encoder(folder, "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": ["[PRODUCT]", "<e1>"]})
    else:
        tokenizer.add_tokens(["[PRODUCT]", "<e1>"])
    model = transformers.AutoModel.from_pretrained(str(folder))
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("special", [True, False])
def test_markers_of_a_task_are_whole(special: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = markers(tmp_path / "encoder", special=special)
    texts = ["[PRODUCT] is late", "my<e1>card<e1>", "my [PRODUCT], lost", "[PRODUCT][PRODUCT]"]
    assert_same(folder, [*texts, *ALPHABETS])
    caplog.clear()
    nlp = pipeline(folder)
    told = [record.message for record in caplog.records if "T470" in record.message]
    assert len(told) == special
    assert not special or "'encoder' has 2 special piece(s)" in told[0]
    assert not special or "[PRODUCT], <e1>" in told[0]
    tokenizer = shim_of(nlp).tokenizer
    n = tokenizer.n_pieces
    assert tokenizer.encode(["[PRODUCT] <e1> [SEP]"])[0][:2] == [n - 2, n - 1]
    # In a saved pipeline too, which knows no folder.
    again = PieceTokenizer(tokenizer.text)
    assert again.encode(texts) == tokenizer.encode(texts)


def test_pieces_without_a_row_are_refused_unless_nobody_can_mean_them(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<never trained>"]})
    tokenizer.save_pretrained(folder)
    (pieces,) = PieceTokenizer(PretrainedEncoder(str(folder)).load().tokenizer).encode(["<never trained>"])
    assert max(pieces) < len(tokenizer) - 1
    tokenizer.add_tokens(["sourdough"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(OSError, match=r"T455.*147 rows.*'sourdough'"):
        pipeline(folder)


def test_a_sibling_with_a_larger_vocabulary_is_refused(encoder_folder: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    word_pieces().save(str(folder / "tokenizer.json"))
    with pytest.raises(OSError, match=r"T455.*147 rows"):
        pipeline(folder)


# ---- strangers' folders ------------------------------------------------------------------------------------------


def test_a_folder_names_no_file_elsewhere(encoder_folder: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    secret = tmp_path / "private.json"
    pieces = {piece: i for i, piece in enumerate([*SPECIAL, "secret"])}
    framed(Tokenizer(models.WordLevel(pieces, unk_token="[UNK]"))).save(str(secret))
    settings = {
        "tokenizer_file": str(secret), "vocab_file": str(secret), "special_tokens_map_file": str(secret),
        "auto_map": {"AutoTokenizer": ["code.Tokenizer", None]},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    loaded = PretrainedEncoder(str(folder)).load()
    assert "secret" not in loaded.tokenizer
    plain = PieceTokenizer.from_folder(encoder_folder("bert"))
    assert PieceTokenizer(loaded.tokenizer).encode(TEXTS) == plain.encode(TEXTS)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": "1.0", "model": {"type": "Nonesuch"}}'])
def test_an_unreadable_tokenizer_is_named(text: str, encoder_folder: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    (folder / "tokenizer.json").write_text(text, "utf-8")
    with pytest.raises((OSError, ValueError), match=r"T054|T45\d"):
        PretrainedEncoder(str(folder)).load()
