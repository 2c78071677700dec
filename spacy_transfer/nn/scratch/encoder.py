"""An encoder from scratch: its pieces and weights come only from the user's texts."""

from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

from ...checks import check_least, check_share
from ...errors import T001, T005, T130, T133
from ...json_types import JsonObject
from ..encoders.encoder import Encoder
from ..encoders.pretrained import LoadedEncoder, build_encoder
from .char_ngrams import CharNGrams
from .tokenizer_training import PAD, SPECIAL, Texts, TokenizerTrainer, no_texts
from .transformer import SCRATCH, ScratchBody


@dataclass(frozen=True)
class ScratchEncoder:
    """A Transformer encoder with random weights, and a tokenizer trained on the training texts.

    tokenizer (TokenizerTrainer): Makes the pieces that a text is cut into: `spacy-transfer.WordLevel.v1`, `BPE` or
        `Unigram`.
    char_ngrams (CharNGrams | None): `spacy-transfer.CharNGrams.v1` adds the vectors of a piece's character n-grams to
        its own, None does not.
    width (int): Width of the states, a multiple of `heads`.
    depth (int): Layers.
    heads (int): Attention heads of a layer.
    feed_forward (int): Width between the two linear layers of a layer.
    activation (str): Between them.
    dropout (float): In embeddings, attention and layers; 0 <= dropout < 1.
    word_dropout (float): Share of pieces that are read as [UNK] in training, drawn anew each time: it keeps a small
        model from leaning on single words, and teaches it what an unknown word is.
    positions (str): "learned", or "sinusoidal", which have no weights and no longest row.
    max_pieces (int): Longest row that learned positions can number, special pieces included; at least windows.length.
    norm_first (bool): Norms before attention and feed-forward instead of after them.
    norm_states (bool): Norms also on the embeddings and, where norms come first, on the last states. Without, a word
        that matters can weigh more than another; the document vector then wants one, `head.norm = true`.
    zero_init_residual (bool): Attention and feed-forward add nothing before they have learned to, so that training
        begins with a bag of words.
    SOURCE: Vaswani et al. 2017, arXiv:1706.03762; norms first: Xiong et al. 2020, arXiv:2002.04745; starting at zero:
        Zhang et al. 2019 (Fixup), arXiv:1901.09321; dropping words: Iyyer et al. 2015 (deep averaging networks), Gal &
        Ghahramani 2016, arXiv:1512.05287.
    """

    tokenizer: TokenizerTrainer
    char_ngrams: CharNGrams | None = None
    width: int = 128
    depth: int = 2
    heads: int = 4
    feed_forward: int = 256
    activation: Literal["relu", "gelu"] = "gelu"
    dropout: float = 0.2
    word_dropout: float = 0.1
    positions: Literal["learned", "sinusoidal"] = "learned"
    max_pieces: int = 256
    norm_first: bool = True
    norm_states: bool = True
    zero_init_residual: bool = False

    def __post_init__(self) -> None:
        block = "ScratchEncoder"
        if not hasattr(self.tokenizer, "train"):
            raise ValueError(T133.format(got=type(self.tokenizer).__name__))
        if self.char_ngrams is not None and not isinstance(self.char_ngrams, CharNGrams):
            got = type(self.char_ngrams).__name__
            raise ValueError(
                T001.format(
                    field="char_ngrams", arch="spacy-transfer.ScratchEncoder.v1", want="CharNGrams or null", got=got
                )
            )
        for field, least in (("width", 1), ("depth", 1), ("heads", 1), ("feed_forward", 1), ("max_pieces", 3)):
            check_least(block, self, field, least)
        for field in ("dropout", "word_dropout"):
            check_share(block, self, field)
        if not (self.norm_first or self.norm_states):
            want = "norm_states = true where norm_first = false"
            raise ValueError(T005.format(block=block, field="norm_states", value=False, want=want))
        if self.width % self.heads:
            divisors = [n for n in range(1, self.width + 1) if self.width % n == 0]
            raise ValueError(T130.format(width=self.width, heads=self.heads, divisors=divisors))

    def load(self, texts: Texts = no_texts) -> LoadedEncoder:
        """Train the tokenizer and draw the weights.

        texts (Callable): Gives the training texts.
        RAISES (ValueError): T131 without a word in them, T132 for unigrams that leave no room for all characters.
        """
        tokenizer = self.tokenizer.train(texts())
        numbers = Tokenizer.from_str(tokenizer).get_vocab()
        config: JsonObject = {
            "model_type": SCRATCH, "vocab_size": len(numbers), "pad_token_id": PAD, "char_ngrams": None,
            "hidden_size": self.width, "num_hidden_layers": self.depth, "num_attention_heads": self.heads,
            "intermediate_size": self.feed_forward, "hidden_act": self.activation, "positions": self.positions,
            "hidden_dropout_prob": self.dropout, "word_dropout": self.word_dropout, "norm_first": self.norm_first,
            "norm_states": self.norm_states, "zero_init_residual": self.zero_init_residual,
            "max_position_embeddings": self.max_pieces if self.positions == "learned" else None,
        }  # fmt: skip
        members: list[list[int]] = []
        if self.char_ngrams is not None:
            ordinary = sorted(numbers, key=lambda piece: numbers[piece])[len(SPECIAL) :]
            members, n_ngrams = self.char_ngrams.members([*[None] * len(SPECIAL), *ordinary])
            sizes = {"n_ngrams": n_ngrams, "n_members": sum(map(len, members))}
            config["char_ngrams"] = {**sizes, "dropout": self.char_ngrams.dropout}
        body = ScratchBody(config)
        if body.embeddings.char_ngrams is not None:
            body.embeddings.char_ngrams.fill(members)
        record = {"config": config, "source": "scratch", "revision": None, "license": None}
        return LoadedEncoder(Encoder(body, config), tokenizer, record)

    def rebuild(self, record: JsonObject) -> Encoder:
        """Build the encoder of a saved pipeline.

        RETURNS (Encoder): With arbitrary weights; the caller loads them.
        """
        return build_encoder(record)
