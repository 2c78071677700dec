"""Tiny random encoders of every family, and pipelines on them; nothing comes from the network."""

import functools
import gc
import json
import os
import string
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests run side by side, so each keeps to one thread, and so do the processes that it starts. Nets this small are
# slower on several threads anyway, and far slower where something else runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What precision = "auto" is, whatever this machine is faster in; the suite runs with "bf16" here too.
os.environ.setdefault("SPACY_TRANSFER_PRECISION", "fp32")

import catalogue
import pytest
import spacy
import torch
import transformers
from spacy.language import Language
from spacy.tokens.underscore import Underscore
from spacy.training import Example
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from spacy_transfer.corpora.convert import _blank

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class EntryPoints:
    """Those of the environment, looked through once per group: spaCy's registries do it about a hundred times for a
    pipeline, which is half the time that it takes to build."""

    select = staticmethod(functools.cache(catalogue.AVAILABLE_ENTRY_POINTS.select))


catalogue.AVAILABLE_ENTRY_POINTS = EntryPoints

WORDS = [
    "the", "a", "i", "my", "is", "not", "to", "of", "and", "how", "why", "when", "can", "you", "it", "we",
    "this", "that", "card", "bill", "order", "pay", "paid", "refund", "late", "broken", "login", "password",
    "screen", "price", "box", "arrived", "lost", "twice", "money", "please", "help", "thanks", "angry",
    "happy",
]  # fmt: skip
LETTERS = string.ascii_lowercase + string.digits + ".,!?'\"()[]<>/|-_"

CARD = [
    "my card is lost", "the card is broken", "why is my card late", "can you help, my card", "a card arrived twice",
    "card not arrived", "i lost the card", "how can my card arrive",
]  # fmt: skip
LOGIN = [
    "the login is broken", "my password is not it", "login please", "how to login", "lost my password",
    "password screen broken", "why can i not login", "the password and the login",
]  # fmt: skip
MONEY = [
    "refund the money", "i paid twice", "pay me my refund", "the bill and the price", "money is late",
    "price not paid", "why is the bill late", "we paid the bill",
]  # fmt: skip
TEXTS = [text for group in zip(CARD, LOGIN, MONEY, strict=True) for text in group]
LABELS = ["card", "login", "money"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fake-cuda", action="store_true", help="On a CUDA device that is not there: fake_cuda.py")


def pytest_configure(config: pytest.Config) -> None:
    """With --fake-cuda there is a device from before any test is read until the process ends."""
    if config.getoption("--fake-cuda"):
        import fake_cuda

        config.fake_cuda = fake_cuda.FakeCuda().__enter__()


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest) -> Any:
    """The device that is not there, to count on (`gpu.counting()`); for tests under --fake-cuda."""
    return request.config.fake_cuda


def pytest_collection_finish() -> None:
    """What was imported stays, so nobody need look through it for garbage: half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def conversions_share_a_blank_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes most of the time of converting a few rows; it holds nothing of them."""
    monkeypatch.setattr("spacy_transfer.corpora.convert._blank", _one_blank)


@functools.cache
def _one_blank(lang: str) -> Any:
    return _blank(lang)


@pytest.fixture(autouse=True)
def extensions_end_with_a_test() -> Iterator[None]:
    """What a test registers on Doc, Span and Token is not there for the next one."""
    tables = (Underscore.doc_extensions, Underscore.span_extensions, Underscore.token_extensions)
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


# ---- tokenizers --------------------------------------------------------------------------------------------------


def _template(tokenizer: Tokenizer, single: str) -> None:
    pieces = [piece for piece in single.split() if piece != "$A"]
    ids = [(piece, tokenizer.token_to_id(piece)) for piece in pieces]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)


def _special(tokenizer: Tokenizer, pieces: Sequence[str]) -> None:
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in pieces])


def word_pieces(special: Sequence[str], single: str, unk: str) -> Tokenizer:
    """BERT's kind."""
    vocab = [*special, *LETTERS, *[f"##{c}" for c in LETTERS], *[w for w in WORDS if len(w) > 1]]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(vocab)}, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


def byte_pairs(special: Sequence[str], single: str) -> Tokenizer:
    """RoBERTa's kind: bytes, and merges that build the words."""
    vocab = {piece: i for i, piece in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges: list[tuple[str, str]] = []
    for word in (f"Ġ{word}" for word in WORDS if len(word) > 1):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


def unigrams(special: Sequence[str], single: str, unk: str) -> Tokenizer:
    """SentencePiece's kind."""
    vocab = [(piece, 0.0) for piece in special] + [("▁", -4.0)] + [(c, -6.0) for c in LETTERS]
    vocab += [(f"▁{word}", -5.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=list(special).index(unk), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


_BERT_LIKE = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[CLS] $A [SEP]", "[UNK]")
_ROBERTA_LIKE = (["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s> $A </s>")

TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bert": lambda: word_pieces(*_BERT_LIKE),
    "roberta": lambda: byte_pairs(*_ROBERTA_LIKE),
    "xlm-roberta": lambda: unigrams(*_ROBERTA_LIKE, "<unk>"),
    "mpnet": lambda: word_pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"], "<s> $A </s>", "[UNK]"),
    "albert": lambda: unigrams(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], "[CLS] $A [SEP]", "<unk>"),
    "deberta": lambda: unigrams(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[CLS] $A [SEP]", "[UNK]"),
    "modernbert": lambda: byte_pairs(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], "[CLS] $A [SEP]"),
    "t5": lambda: unigrams(["<pad>", "</s>", "<unk>"], "$A </s>", "<unk>"),
}

# ---- families ----------------------------------------------------------------------------------------------------

WIDTH = 16
POSITIONS = 40
_BODY = {"hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": POSITIONS}
_ROBERTA = {**_BODY, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_ALBERT = {**_BODY, "embedding_size": 8, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_DEBERTA = {
    **_BODY, "num_hidden_layers": 3, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pad_token_id": 0,
}  # fmt: skip

# Family: model type, tokenizer, configuration.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("bert", "bert", {**_BODY, "num_hidden_layers": 3}),
    "roberta": ("roberta", "roberta", {**_ROBERTA, "num_hidden_layers": 3}),
    "xlm-roberta": ("xlm-roberta", "xlm-roberta", {**_ROBERTA, "num_hidden_layers": 2}),
    "distilbert": (
        "distilbert", "bert",
        {"dim": WIDTH, "n_heads": 2, "hidden_dim": 24, "n_layers": 3, "max_position_embeddings": POSITIONS},
    ),
    "albert": ("albert", "albert", {**_ALBERT, "num_hidden_layers": 3, "num_hidden_groups": 1}),
    "albert-two-groups": ("albert", "albert", {**_ALBERT, "num_hidden_layers": 4, "num_hidden_groups": 2}),
    "electra": ("electra", "bert", {**_BODY, "embedding_size": 8, "num_hidden_layers": 3}),
    "mpnet": ("mpnet", "mpnet", {**_ROBERTA, "num_hidden_layers": 3}),
    "deberta-v2": ("deberta-v2", "deberta", _DEBERTA),
    "deberta-v3": ("deberta-v2", "deberta", {**_DEBERTA, "position_biased_input": False, "type_vocab_size": 0}),
    "deberta-v2-conv": ("deberta-v2", "deberta", {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "modernbert": (
        "modernbert", "modernbert",
        {
            **_BODY, "num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_attention": 4, "pad_token_id": 3,
            "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "reference_compile": False,
            "embedding_dropout": 0.1, "mlp_dropout": 0.1, "attention_dropout": 0.1,
        },
    ),
    "t5": (
        "t5", "t5",
        {
            "d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2,
            "relative_attention_num_buckets": 8, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        },
    ),
    "bart": (
        "bart", "roberta",
        {
            "d_model": WIDTH, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
            "max_position_embeddings": POSITIONS, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
    ),
}  # fmt: skip


def knows(family: str) -> bool:
    """Whether the installed transformers has this family (ModernBERT came with 4.48)."""
    return FAMILIES[family][0] in transformers.CONFIG_MAPPING


KNOWN_FAMILIES = [family for family in FAMILIES if knows(family)]


def write_encoder(folder: Path, family: str, **changes: Any) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random encoder."""
    model_type, tokenizer_name, values = FAMILIES[family]
    tokenizer = TOKENIZERS[tokenizer_name]()
    config = transformers.AutoConfig.for_model(
        model_type, **{**values, **changes}, vocab_size=tokenizer.get_vocab_size()
    )
    random = torch.random.get_rng_state()
    torch.manual_seed(sum(map(ord, family)))
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        # Far livelier than an untrained encoder, so that every weight shows in the scores.
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.4)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
    torch.random.set_rng_state(random)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny encoder of a family, written at the first call."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = write_encoder(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def bert(encoder_folder: Callable[[str], Path]) -> Path:
    """Folder of the tiny BERT: three layers, width 16, 40 positions."""
    return encoder_folder("bert")


@pytest.fixture(scope="session")
def quiet_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT without dropout, where two ways of training are compared."""
    folder = tmp_path_factory.mktemp("quiet-bert")
    return write_encoder(folder, "bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


# ---- pipelines ---------------------------------------------------------------------------------------------------


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put in, block by block; a block that names another function replaces the old one."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def model_config(folder: Path | str, **blocks: Any) -> dict[str, Any]:
    """The model block of a tiny pipeline, in fp32."""
    base = {
        "encoder": {"name": str(folder), "revision": None},
        "windows": {"length": 32, "stride": 20},
        "piece_budget": 2048,
        "precision": "fp32",
    }
    return merged(base, blocks)


def add_classifier(
    nlp: Language, folder: Path | str, *, multilabel: bool = False, name: str | None = None, settings: Any = None,
    **blocks: Any,
) -> Any:  # fmt: skip
    """Add our component; `blocks` go into its model block."""
    factory = "transfer_textcat_multilabel" if multilabel else "transfer_textcat"
    config = {**(settings or {}), "model": model_config(folder, **blocks)}
    return nlp.add_pipe(factory, name=name or factory, config=config)


def one_hot(label: str, labels: Sequence[str] = LABELS) -> dict[str, float]:
    """Exclusive annotations."""
    return {other: float(other == label) for other in labels}


def examples_of(nlp: Language, texts: Sequence[str], cats: Sequence[dict[str, float]]) -> list[Example]:
    """Examples with their annotations."""
    return [Example.from_dict(nlp.make_doc(text), {"cats": c}) for text, c in zip(texts, cats, strict=True)]


def exclusive_examples(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The first n texts, with card, login, money in turn."""
    return examples_of(nlp, TEXTS[:n], [one_hot(LABELS[i % 3]) for i in range(n)])


def multilabel_examples(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The first n texts: the same labels, and 'late' beside them."""
    cats = [{**one_hot(LABELS[i % 3]), "late": float("late" in text)} for i, text in enumerate(TEXTS[:n])]
    return examples_of(nlp, TEXTS[:n], cats)


def pipeline(
    folder: Path | str, *, multilabel: bool = False, seed: int = 0, settings: Any = None, **blocks: Any
) -> Language:
    """An initialised pipeline with one component of ours, of no language: English takes 50 ms longer to build, and
    120 ms to load."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, folder, multilabel=multilabel, settings=settings, **blocks)
    torch.manual_seed(seed)
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def network_of(nlp: Language, name: str | None = None) -> Any:
    """The torch network of a pipeline's component."""
    return shim_of(nlp, name).network


def shim_of(nlp: Language, name: str | None = None) -> Any:
    """The shim of a pipeline's component."""
    pipe = nlp.get_pipe(name) if name else next(pipe for _, pipe in nlp.pipeline if hasattr(pipe, "exclusive"))
    return pipe.model.shims[0]


def weights_of(nlp: Language, name: str | None = None) -> dict[str, torch.Tensor]:
    """A copy of all weights by name."""
    return {key: value.detach().clone() for key, value in network_of(nlp, name).named_parameters()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the weights that are not bit for bit the same."""
    assert all(value.isfinite().all() for value in after.values())
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def scores_of(nlp: Language, texts: Sequence[str], **options: Any) -> torch.Tensor:
    """Scores (n_texts, n_labels) of all labels in `cats`."""
    return torch.tensor([list(doc.cats.values()) for doc in nlp.pipe(texts, **options)])


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text("utf-8"))
