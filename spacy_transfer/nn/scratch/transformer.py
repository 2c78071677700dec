"""A Transformer encoder made of torch.nn parts, built from a plain configuration."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...json_types import JsonObject
from .char_ngrams import CharNGramVectors
from .tokenizer_training import PAD, SPECIAL, UNK

# Stands in a stored configuration where an encoder of transformers has its model type.
SCRATCH = "spacy-transfer-scratch"
# Deviation of new vectors, as BERT draws them; where no norm follows, width ** -0.5, as the first Transformer did.
_STD = 0.02
# What encoders that were saved by earlier versions do not say.
_EARLIER = {"char_ngrams": None, "norm_states": True, "zero_init_residual": False}


class ScratchBody(nn.Module):
    """Embeddings, layers, and a norm at the end where norms come first and states are normed.

    The names put its weights on the depth scale: `embeddings` 0, `layers.0` 1, ..., `final_norm` the last layer's.

    config (dict): vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act,
        hidden_dropout_prob, word_dropout, positions, max_position_embeddings (None: no limit), norm_first, char_ngrams
        (None, or n_ngrams, n_members and dropout of `CharNGramVectors`), norm_states, zero_init_residual.
    """

    supports_gradient_checkpointing = True

    def __init__(self, config: JsonObject) -> None:
        super().__init__()
        self.config = SimpleNamespace(**{**_EARLIER, **config}, _attn_implementation="sdpa")
        width, norm_first = self.config.hidden_size, self.config.norm_first
        self.embeddings = _Embeddings(self.config)
        layers = [
            _Layer(
                width, self.config.num_attention_heads, self.config.intermediate_size, self.config.hidden_dropout_prob,
                activation=self.config.hidden_act, batch_first=True, norm_first=norm_first,
            )
            for _ in range(self.config.num_hidden_layers)
        ]  # fmt: skip
        self.layers = nn.ModuleList(layers)
        if self.config.zero_init_residual:
            for layer in layers:
                for last in (layer.self_attn.out_proj, layer.linear2):
                    for weight in last.parameters():
                        nn.init.zeros_(weight)
        normed = norm_first and self.config.norm_states
        self.final_norm: nn.Module = nn.LayerNorm(width) if normed else nn.Identity()
        self._checkpointing: JsonObject | None = None

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Compute the last states.

        input_ids (Tensor): (n_rows, n_pieces).
        attention_mask (Tensor): 0 at padding, (n_rows, n_pieces).
        RETURNS (SimpleNamespace): With `last_hidden_state`, (n_rows, n_pieces, width).
        """
        states = self.embeddings(input_ids)
        padding = attention_mask == 0
        for layer in self.layers:
            if self._checkpointing is not None and self.training and torch.is_grad_enabled():
                states = checkpoint(layer, states, None, padding, **self._checkpointing)
            else:
                states = layer(states, None, padding)
        return SimpleNamespace(last_hidden_state=self.final_norm(states))

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of the pieces, as encoders of transformers give theirs."""
        return self.embeddings.pieces

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, object]) -> None:
        """As encoders of transformers have it.

        gradient_checkpointing_kwargs (dict): Of torch's `checkpoint`.
        """
        self._checkpointing = gradient_checkpointing_kwargs


class _Embeddings(nn.Module):
    """Piece and position, norm, dropout: ids (n_rows, n_pieces) -> states (n_rows, n_pieces, width)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.pieces = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=PAD)
        self.positions: nn.Embedding | None = None
        if config.positions == "learned":
            self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.char_ngrams: CharNGramVectors | None = None
        if config.char_ngrams is not None:
            self.char_ngrams = CharNGramVectors(config.vocab_size, width=config.hidden_size, **config.char_ngrams)
        self.norm: nn.Module = nn.LayerNorm(config.hidden_size) if config.norm_states else nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.word_dropout: float = config.word_dropout
        self._std = _STD if config.norm_states else config.hidden_size**-0.5
        for table in (self.pieces, self.positions, None if self.char_ngrams is None else self.char_ngrams.table):
            if table is not None:
                nn.init.normal_(table.weight, std=self._std)
        with torch.no_grad():
            self.pieces.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        if self.training and self.word_dropout > 0.0:
            dropped = (torch.rand(ids.shape, device=ids.device) < self.word_dropout) & (ids >= len(SPECIAL))
            ids = ids.masked_fill(dropped, UNK)
        states = self.pieces(ids)
        if self.char_ngrams is not None:
            states = states + self.char_ngrams(ids)
        if self.positions is not None:
            states = states + self.positions.weight[: ids.shape[1]]
        else:
            # Scaled to the size of the pieces' vectors.
            places = waves(ids.shape[1], states.shape[-1], states.device) * (self._std * math.sqrt(2.0))
            states = states + places.to(states.dtype)
        return self.dropout(self.norm(states))


def waves(n_pieces: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of every position, (n_pieces, width).

    SOURCE: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    places = torch.arange(n_pieces, device=device, dtype=torch.float32).unsqueeze(1)
    even = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angles = places * torch.exp(even * (-math.log(10_000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]


class _Layer(nn.TransformerEncoderLayer):
    """torch's layer without its fast path for evaluation.

    The fast path rounds differently and is taken or not by what is around the layer (gradients, hooks, autocast), so
    that stopping at a depth and going on from there would not give the same bits. Attention goes to torch's
    `scaled_dot_product_attention` itself: behind `nn.MultiheadAttention` our CPU kernels would not see it.
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Compute the states after the layer.

        src (Tensor): (n_rows, n_pieces, width).
        src_mask (Tensor | None): None; part of torch's signature.
        src_key_padding_mask (Tensor | None): True at padding, (n_rows, n_pieces).
        is_causal (bool): False; part of torch's signature.
        RETURNS (Tensor): (n_rows, n_pieces, width).
        """
        if self.norm_first:
            src = src + self._sa_block(self.norm1(src), src_mask, src_key_padding_mask)
            return src + self._ff_block(self.norm2(src))
        src = self.norm1(src + self._sa_block(src, src_mask, src_key_padding_mask))
        return self.norm2(src + self._ff_block(src))

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        own = self.self_attn
        n_rows, n_pieces, width = x.shape
        both = F.linear(x, own.in_proj_weight, own.in_proj_bias)
        query, key, value = both.view(n_rows, n_pieces, 3, own.num_heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]
        found = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=own.dropout if own.training else 0.0
        )
        return self.dropout1(own.out_proj(found.transpose(1, 2).reshape(n_rows, n_pieces, width)))
