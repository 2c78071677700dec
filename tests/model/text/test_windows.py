"""Long documents: each piece is read, and counted once."""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from house_kit.encoders import TOKENIZERS
from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.text.collating import collate
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.model.text.windows import FittedWindows, Windows
from spacy_transfer.nn.pooling import AttentionPooling, ClsPooling, LastPooling, MaxPooling, MeanPooling
from spacy_transfer.training.adamw import AdamW


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PieceTokenizer]:
    """One of each kind; T5's has no special piece before the text."""
    return {name: PieceTokenizer(make().to_str()) for name, make in TOKENIZERS.items()}


def content(windows: FittedWindows, n: int, tokenizer: PieceTokenizer) -> tuple[list[int], list[int]]:
    """How often each of n pieces is read and counted; the pieces are their own positions."""
    read, counted = [0] * n, [0] * n
    rows = windows.cut(list(range(1000, 1000 + n)), tokenizer)
    specials = []
    for row in rows:
        assert len(row.ids) <= windows.length
        assert 0 <= row.counted[0] < row.counted[1] <= len(row.ids)
        assert row.ids[: len(tokenizer.prefix)].tolist() == tokenizer.prefix
        assert row.ids[len(row.ids) - len(tokenizer.suffix) :].tolist() == tokenizer.suffix
        inside = row.ids[len(tokenizer.prefix) : len(row.ids) - len(tokenizer.suffix)].tolist()
        assert inside == list(range(inside[0], inside[0] + len(inside))) if inside else n == 0
        for place, piece in enumerate(row.ids.tolist()):
            is_counted = row.counted[0] <= place < row.counted[1]
            if piece >= 1000:
                read[piece - 1000] += 1
                counted[piece - 1000] += is_counted
            elif is_counted:
                specials.append(piece)
    # Special pieces count once too, as in a document of one row.
    assert specials == [*tokenizer.prefix, *tokenizer.suffix]
    return read, counted


ROOM = 10


@pytest.mark.parametrize("name", ["bert", "roberta", "t5"])
@pytest.mark.parametrize("stride", [1, 3, 7, ROOM])
@pytest.mark.parametrize("n", [0, 1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM - 1, 2 * ROOM, 2 * ROOM + 1, 97])
def test_each_piece_counts_once(name: str, stride: int, n: int, tokenizers: dict[str, PieceTokenizer]) -> None:
    tokenizer = tokenizers[name]
    windows = Windows(length=ROOM + tokenizer.n_special, stride=stride).fitted(tokenizer, None)
    read, counted = content(windows, n, tokenizer)
    assert counted == [1] * n
    assert all(times >= 1 for times in read)
    n_rows = len(windows.cut(list(range(n)), tokenizer))
    assert n_rows == (1 if n <= ROOM else 1 + -(-(n - ROOM) // stride))


def test_each_piece_counts_once_at_random(tokenizers: dict[str, PieceTokenizer]) -> None:
    rng = random.Random(0)
    for _ in range(300):
        tokenizer = rng.choice(list(tokenizers.values()))
        room = rng.randint(1, 40)
        windows = Windows(length=room + tokenizer.n_special, stride=rng.randint(1, room)).fitted(tokenizer, None)
        _, counted = content(windows, n := rng.randint(0, 300), tokenizer)
        assert counted == [1] * n, (windows, n)


def test_a_shared_piece_counts_where_it_has_more_context(tokenizers: dict[str, PieceTokenizer]) -> None:
    rows = Windows(length=12, stride=6).fitted(tokenizers["bert"], None).cut(list(range(16)), tokenizers["bert"])
    # Pieces 0-9 and 6-15 share 6-9: two each.
    assert [row.counted for row in rows] == [(0, 9), (3, 12)]


# ---- head and tail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 12, 50])
def test_head_and_tail_keep_one_row(n: int, tokenizers: dict[str, PieceTokenizer]) -> None:
    windows = Windows(length=12, stride=999, keep="head_tail").fitted(tokenizers["bert"], None)
    (row,) = windows.cut(list(range(1000, 1000 + n)), tokenizers["bert"])
    kept = row.ids[1:-1].tolist()
    assert windows.cuts(range(n), tokenizers["bert"]) == (n > 10)
    if n <= 10:
        assert kept == list(range(1000, 1000 + n))
    else:
        assert kept == [1000, 1001, *range(1000 + n - 8, 1000 + n)]


def test_cutting_is_told_once(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 12, "stride": 8, "keep": "head_tail"})
    with pytest.warns(UserWarning, match=r"T025.*2 text\(s\).*12 pieces"):
        list(nlp.pipe(["card " * 20, "card", "login " * 30]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp("card " * 20)
        nlp.update(exclusive_examples(nlp), sgd=AdamW())


def test_head_and_tail_drop_the_middle_alone(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 12, "stride": 8, "keep": "head_tail"})
    base = "the card is lost money price bill login help please"
    words = base.split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = [" ".join([*words[:2], filler, *words[2:]]) for filler in ("box box", "angry screen")]
        scores = scores_of(nlp, [base, *texts])
    torch.testing.assert_close(scores[1], scores[2], atol=1e-6, rtol=0.0)


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ({"windows": {"length": 12, "stride": 11}}, r"T021.*stride = 11.*1 <= stride <= 10"),
        ({"windows": {"length": 41, "stride": 10}}, r"T022.*length = 41.*40"),
        ({"windows": {"length": 2, "stride": 1}}, r"T023.*length = 2.*2 special"),
        ({"windows": {"length": 32, "stride": 20}, "piece_budget": 31}, r"T024.*31.*32"),
        ({"windows": {"length": 0, "stride": 20}}, "T005"),
        ({"windows": {"length": 32, "stride": 0}}, "T005"),
        ({"piece_budget": 0}, "T005"),
    ],
)
def test_settings_that_do_not_fit(bert: Path, blocks: dict[str, Any], code: str) -> None:
    with pytest.raises(ValueError, match=code):
        pipeline(bert, **blocks)


def test_the_widest_windows_fit(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 40, "stride": 38}, piece_budget=40)
    assert scores_of(nlp, ["card " * 500]).isfinite().all()


# ---- through the whole pipeline ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["MeanPooling", "ClsPooling", "LastPooling", "MaxPooling", "AttentionPooling"])
def test_windows_change_nothing_for_short_texts(bert: Path, pooling: str) -> None:
    block = {"@layers": f"spacy-transfer.{pooling}.v1"}
    found = [
        scores_of(pipeline(bert, pooling=block, windows={"length": length, "stride": 5, "keep": keep}), TEXTS)
        for length, keep in ((32, "all"), (40, "all"), (32, "head_tail"))
    ]
    for scores in found[1:]:
        torch.testing.assert_close(scores, found[0], atol=1e-6, rtol=0.0)


def test_every_part_of_a_long_document_counts(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 12, "stride": 8})
    words = ["the"] * 60
    texts = [" ".join([*words[:i], "money", *words[i + 1 :]]) for i in range(0, 60, 6)]
    scores = scores_of(nlp, [" ".join(words), *texts])
    assert ((scores[1:] - scores[0]).abs().amax(dim=1) > 1e-6).all()


def test_long_documents_learn(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 8, "stride": 4}, piece_budget=16)
    losses = [nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=3e-3))["transfer_textcat"] for _ in range(2)]
    assert losses[1] != losses[0]


# ---- pieces ------------------------------------------------------------------------------------------------------

LITERAL = {
    "bert": ["[SEP]", "[MASK]", "[CLS]", "[PAD]", "[UNK]"], "roberta": ["<s>", "</s>", "<mask>", "<pad>"],
    "xlm-roberta": ["<s>", "</s>", "<mask>"], "mpnet": ["<s>", "<mask>"], "albert": ["[SEP]", "[MASK]", "<pad>"],
    "deberta": ["[SEP]", "[MASK]"], "modernbert": ["[SEP]", "[MASK]", "[PAD]"], "t5": ["</s>", "<pad>"],
    "gpt2": ["<|endoftext|>"], "llama": ["<s>", "</s>"], "gemma": ["<bos>", "<eos>"],
}  # fmt: skip


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_special_pieces_in_a_text_are_text(name: str, tokenizers: dict[str, PieceTokenizer]) -> None:
    tokenizer = tokenizers[name]
    raw = TOKENIZERS[name]()
    for literal in LITERAL[name]:
        special = raw.token_to_id(literal)
        for text in (literal, f"the {literal} card", f"{literal}{literal}", f"card{literal}"):
            (ids,) = tokenizer.encode([text])
            assert special not in ids, text
            assert len(ids) >= 3, text
            assert special in raw.encode(text, add_special_tokens=False).ids, "the test tests nothing"


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_truncation_and_padding_of_the_file_are_off(name: str) -> None:
    raw = TOKENIZERS[name]()
    raw.enable_truncation(8)
    raw.enable_padding(length=16)
    tokenizer = PieceTokenizer(raw.to_str())
    short, long = tokenizer.encode(["card", " ".join(["card"] * 50)])
    assert (len(short), len(long)) == (1, 50)


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_rows_are_what_the_tokenizer_makes(name: str, tokenizers: dict[str, PieceTokenizer]) -> None:
    raw = TOKENIZERS[name]()
    for text in [*TEXTS, "", " ", "a", "ß 字 \U0001f600"]:
        windows = Windows(length=40, stride=10).fitted(tokenizers[name], None)
        (row,) = windows.cut(tokenizers[name].encode([text])[0], tokenizers[name])
        # Without special pieces, piece 0 stands for an empty text.
        assert row.ids.tolist() == (raw.encode(text).ids or [0])


def test_a_tokenizer_without_special_pieces(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "card": 1, "a": 2}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PieceTokenizer(raw.to_str())
    assert (tokenizer.prefix, tokenizer.suffix) == ([], [])
    for text, ids in (("card a", [1, 2]), ("", [0])):
        (row,) = Windows(length=4, stride=2).fitted(tokenizer, None).cut(tokenizer.encode([text])[0], tokenizer)
        assert row.ids.tolist() == ids


# ---- pooling -----------------------------------------------------------------------------------------------------


def states_of(n_rows: int, n_pieces: int) -> torch.Tensor:
    return torch.randn((n_rows, n_pieces, 4), generator=torch.Generator().manual_seed(0))


def test_mean_is_that_of_sentence_transformers() -> None:
    """Sum of the states by the attention mask, over its sum (its Pooling module)."""
    states, mask = states_of(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    wide = mask.unsqueeze(-1).expand(states.size()).float()
    wanted = torch.sum(states * wide, 1) / torch.clamp(wide.sum(1), min=1e-9)
    found = MeanPooling().build(4)(states, mask, torch.arange(3), 3)
    torch.testing.assert_close(found, wanted)


COUNTED = [[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
OWNER = [0, 0, 0, 1]


def reference(builder: Any, module: nn.Module, states: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Pooling of the counted states of some rows, put one after the other."""
    flat = torch.cat([states[row][torch.tensor(COUNTED[row]).bool()] for row in rows])
    if isinstance(builder, MeanPooling):
        return flat.mean(dim=0)
    if isinstance(builder, MaxPooling):
        return flat.amax(dim=0)
    if isinstance(builder, AttentionPooling):
        return (flat * module.score(flat).softmax(dim=0)).sum(dim=0)  # type: ignore[operator]
    last = [max(i for i, counts in enumerate(COUNTED[row]) if counts) for row in rows]
    places = last if isinstance(builder, LastPooling) else [0] * len(rows)
    return torch.stack([states[row, place] for row, place in zip(rows, places, strict=True)]).mean(dim=0)


@pytest.mark.parametrize("builder", [MeanPooling(), MaxPooling(), AttentionPooling(), ClsPooling(), LastPooling()])
def test_windows_are_pooled_together(builder: Any) -> None:
    torch.manual_seed(0)
    states, module = states_of(4, 5).requires_grad_(), builder.build(4)
    found = module(states, torch.tensor(COUNTED), torch.tensor(OWNER), 2)
    wanted = torch.stack([reference(builder, module, states, rows) for rows in ((0, 1, 2), (3,))])
    torch.testing.assert_close(found, wanted)
    # And so are their gradients.
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 1.0, 2.0]])
    (one,) = torch.autograd.grad((found * weights).sum(), states, retain_graph=True)
    (other,) = torch.autograd.grad((wanted * weights).sum(), states)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("builder", [MeanPooling(), MaxPooling(), AttentionPooling(), ClsPooling(), LastPooling()])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_padding_is_not_pooled(builder: Any, scale: float) -> None:
    torch.manual_seed(0)
    states, module = states_of(2, 5) * scale, builder.build(4)
    counted = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    found = module(states, counted, torch.arange(2), 2)
    other = states.clone()
    other[0, 3:] = 1e4
    assert torch.equal(module(other, counted, torch.arange(2), 2), found)
    assert found.isfinite().all()
    assert found.dtype == module(states.bfloat16(), counted, torch.arange(2), 2).dtype == torch.float32


def test_a_documents_vector_is_that_of_its_counted_states(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": 12, "stride": 6})
    shim, network = shim_of(nlp), network_of(nlp).eval()
    documents = shim.reader.read(["card login money " * 9, "card"], remember=False)
    assert [len(rows) for rows in documents] == [4, 1]
    batch = collate(documents, network.encoder.pad_id, network.device)
    with torch.no_grad():
        found = network.pool(network.encode(batch), batch)
        for i, rows in enumerate(documents):
            parts = []
            for row in rows:
                ids = torch.from_numpy(row.ids.astype(np.int64))[None]
                parts.append(network.encoder(ids, torch.ones_like(ids))[0, row.counted[0] : row.counted[1]])
            torch.testing.assert_close(found[i], torch.cat(parts).mean(dim=0), atol=1e-5, rtol=1e-5)
