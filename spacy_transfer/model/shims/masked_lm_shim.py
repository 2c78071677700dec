"""The shim between Thinc and a network that predicts masked pieces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import T005, T135, T792
from ...json_types import JsonMapping, JsonObject
from ...locks import changes_network
from ...nn.building import no_larger_than
from ...nn.devices.few_shapes import are_wanted
from ...nn.devices.pinned import to_device
from ...nn.devices.precision import Precision
from ...nn.encoders.pretrained import LoadedEncoder
from ...nn.masked_lm import MaskedLMNetwork, Pooled, draw_key, hide, leave_out
from ...nn.network import RowBatch
from ...nn.scratch.tokenizer_training import Texts
from ...nn.sentence_pooling import SentenceModules
from ..storage.snapshot import StoredNetwork
from ..storage.weights import fill_weights, weights_of
from ..text.batching import micro_batches
from ..text.collating import collate
from ..text.reader import Document
from ..text.text import Text
from ..text.tokenizer import PieceTokenizer
from ..text.windows import Row, Windows
from ..text.word_pieces import begin_words
from .encoder_shim import EncoderShim
from .settings import EncoderLoader
from .torch_shim import predicts

MASKED_LM = "spacy-transfer.MaskedLM.v1"
Objective = Literal["masked_lm", "tsdae"]
MASK_PIECES = ("[MASK]", "<mask>")
# For predictions; training has its own from its seed and count.
_FIXED_KEY = draw_key(0, 0)


@dataclass(frozen=True)
class MaskedLMSettings:
    """The blocks of a `spacy-transfer.MaskedLM.v1`; see there."""

    encoder: EncoderLoader
    windows: Windows
    text: Text
    share: float
    seed: int
    piece_budget: int | Literal["auto"]
    precision: Precision
    device: str
    objective: Objective = "masked_lm"
    whole_words: bool = False

    def __post_init__(self) -> None:
        share = float(self.share)
        object.__setattr__(self, "share", share)
        if not 0.0 < share < 1.0:
            raise ValueError(T005.format(block=MASKED_LM, field="share", value=share, want="0 < share < 1"))
        if self.piece_budget != "auto" and self.piece_budget < 1:
            want = "piece_budget >= 1"
            raise ValueError(T005.format(block=MASKED_LM, field="piece_budget", value=self.piece_budget, want=want))


def special_pieces(tokenizer: PieceTokenizer, family: str, objective: Objective = "masked_lm") -> tuple[int, list[int]]:
    """Find the mask piece, and all pieces that are never asked for.

    tokenizer (PieceTokenizer): Of the encoder.
    family (str): Of the encoder, for the message.
    objective (str): "tsdae" needs no mask piece, and gets 0 where there is none.
    RAISES (ValueError): T135 for a tokenizer without a mask piece.
    """
    special = tokenizer.special
    found = [special[piece] for piece in MASK_PIECES if piece in special]
    if not found and objective == "masked_lm":
        raise ValueError(T135.format(name=family, pieces=" or ".join(MASK_PIECES)))
    return next(iter(found), 0), sorted({*special.values(), *tokenizer.prefix, *tokenizer.suffix})


@final
class MaskedLMShim(EncoderShim):
    """Holds tokenizer and network, from `initialize` or `load` on.

    settings (MaskedLMSettings): The blocks of the config.
    """

    kind = "transfer_masked_lm"
    needed = ("n_steps", "n_draws")
    has_encoder = True

    settings: MaskedLMSettings

    def __init__(self, settings: MaskedLMSettings) -> None:
        super().__init__(settings)
        # Steps begun, those left out included: with the seed and the rows all that decides what is hidden.
        self.n_draws = 0
        self._mask_id = 0
        self._special = self._ordinary = torch.zeros(0, dtype=torch.int64)
        # For each piece id, where words count as one.
        self._begins: Tensor | None = None

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def network(self) -> MaskedLMNetwork:
        """The torch network.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self._there(self._model)

    def initialize(self, texts: Texts) -> None:
        """Load the encoder, or make it of the texts, and make a new head.

        texts (Callable): Gives the training texts.
        RAISES (ValueError, OSError): T135 for an encoder without a mask piece, T792 for one that reads from left to
            right, and what the blocks find wrong.
        """
        self._build(self.settings.encoder.load(texts))
        self.n_steps = self.n_draws = 0

    def _build(self, loaded: LoadedEncoder, *, to_predict: bool = False) -> None:
        tokenizer, device, precision = self._prepare_for(loaded, to_predict=to_predict)
        objective = self.settings.objective
        if loaded.encoder.is_causal and objective == "masked_lm":
            raise ValueError(T792.format(family=loaded.encoder.family))
        self._mask_id, special = special_pieces(tokenizer, loaded.encoder.family, objective)
        self._special, ids = torch.tensor(special), torch.arange(tokenizer.n_pieces)
        self._ordinary = ids[~torch.isin(ids, self._special)]
        self._begins = begin_words(tokenizer) if self.settings.whole_words else None
        pooled: Pooled | None = None
        if objective == "tsdae":
            pooled = "cls" if SentenceModules.of(loaded.record).modes == ["cls"] else "mean"
        self._model = MaskedLMNetwork(loaded.encoder, precision, pooled).to(device)
        self._hold(loaded, tokenizer)
        self._trainable = dict(self.network.named_parameters())
        self._rates = dict.fromkeys(self._trainable, 1.0)

    # ---- learning ------------------------------------------------------------------------------------------------

    @property
    def budget(self) -> int:
        """Most pieces in a micro-batch."""
        return self.room.on(self.device)

    @changes_network
    def step(self, documents: Sequence[Document]) -> tuple[float, int]:
        """Hide pieces, forward, loss and backward, one micro-batch after the other; gradients are summed.

        documents (Sequence[Document]): Rows of each document.
        RETURNS (tuple): Sum of the losses of the chosen pieces, a tensor without dimensions where
            `keeps_losses_on_gpu` says so, and how many pieces were chosen; `finish_update` divides by the number of
            all of them since the last step.
        """
        network, device = self.network, self.device
        if not network.training:
            network.train()
        key = draw_key(self.settings.seed, self.n_draws)
        n_chosen = 0

        def run(budget: int) -> Tensor:
            """Add up the loss of the hidden pieces, and its gradients, in micro-batches of a budget."""
            nonlocal n_chosen
            total, n_chosen = torch.zeros((), device=device), 0
            for batch, _, read, mask, chosen in self._hidden(documents, budget, key, at_least_one=False):
                # Without a single chosen piece there is nothing to learn.
                if len(chosen):
                    logits, wanted = self._asked(batch, read, mask, chosen)
                    loss = F.cross_entropy(logits, wanted, reduction="sum")
                    self.gradients.backward(loss)
                    total += loss.detach()
                    n_chosen += len(chosen)
            return total

        n_pieces = sum(len(row.ids) for document in documents for row in document)
        n_terms = n_pieces if self.settings.objective == "tsdae" else round(self.settings.share * n_pieces)
        total = self.gradients.sum_up(self._trainable.values(), self.room, device, n_terms, run)
        self.gradients.n_docs += n_chosen
        return self._loss(total), n_chosen

    @predicts
    @torch.no_grad()
    def figures(self, documents: Sequence[Document]) -> NDArray[np.float64]:
        """How well hidden pieces are predicted; of each row at least one is hidden, always the same ones.

        RETURNS (NDArray): Of each document the sum of the losses, how many pieces were asked for, and how many of them
            were right, (n_docs, 3).
        """
        return self.room.run(self.device, lambda budget: self._figures(documents, budget))

    def _figures(self, documents: Sequence[Document], budget: int) -> NDArray[np.float64]:
        owners: list[Tensor] = []
        found: list[Tensor] = []
        for batch, owner, read, mask, chosen in self._hidden(documents, budget, _FIXED_KEY, at_least_one=True):
            if len(chosen):
                logits, wanted = self._asked(batch, read, mask, chosen)
                losses = F.cross_entropy(logits, wanted, reduction="none")
                right = logits.argmax(dim=1) == wanted
                found.append(torch.stack([losses.double(), torch.ones_like(losses).double(), right.double()], dim=1))
                owners.append(owner[chosen // batch.ids.shape[1]])
        sums = torch.zeros((len(documents), 3), dtype=torch.float64)
        if found:
            sums.index_add_(0, torch.cat(owners), torch.cat(found).cpu())
        return sums.numpy()

    def _hidden(
        self, documents: Sequence[Document], budget: int, key: int, *, at_least_one: bool
    ) -> Iterator[tuple[RowBatch, Tensor, Tensor, Tensor, Tensor]]:
        """Micro-batches on the CPU: rows; document of each, (n_rows,); ids to read and their mask, (n_rows, n_pieces);
        and places of the chosen pieces, all rows seen as one, (n_chosen,)."""
        pad, kind = self.network.encoder.pad_id, self.device.type
        parts = [(i, part) for i, document in enumerate(documents) for part in _under(budget, document)]
        owners = torch.tensor([i for i, _ in parts])
        few = are_wanted(self.device, self.precision)
        for group in micro_batches([part for _, part in parts], budget, kind, few_shapes=few):
            batch = collate([parts[j][1] for j in group], pad, torch.device("cpu"))
            eligible = batch.mask.bool() & ~torch.isin(batch.ids, self._special)
            begins = None if self._begins is None else self._begins[batch.ids]
            mask, chosen = batch.mask, eligible
            if self.settings.objective == "tsdae":
                # What is left is read, and all of it is asked for.
                read, mask = leave_out(
                    batch.ids, eligible, mask, pad_id=pad, share=self.settings.share, key=key, begins=begins
                )
            else:
                read, chosen = hide(
                    batch.ids, eligible, mask_id=self._mask_id, ordinary=self._ordinary, share=self.settings.share,
                    key=key, at_least_one=at_least_one, begins=begins,
                )  # fmt: skip
            yield batch, owners[group][batch.owner], read, mask, chosen.flatten().nonzero()[:, 0]

    def _asked(self, batch: RowBatch, read: Tensor, mask: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the chosen pieces, (n_chosen, n_vocabulary), and their ids, (n_chosen,)."""
        wanted = batch.ids.flatten()[chosen]
        ids, there, places, wanted = (to_device(one, self.device) for one in (read, mask, chosen, wanted))
        if self.settings.objective == "tsdae":
            logits: Tensor = self.network(ids, there, places, None, to_device(batch.ids, self.device))
        else:
            logits = self.network(ids, there, places, batch.is_full)
        return logits, wanted

    def _also_summed(self) -> Mapping[str, nn.Parameter]:
        return {}

    def _stepped(self) -> None:
        pass

    def _update_finished(self) -> None:
        # What is hidden next is drawn anew even where nothing was chosen and nothing moves.
        self.n_draws += 1

    def _gradients_dropped(self) -> None:
        # What was hidden for them is forgotten with them.
        self.n_draws += 1

    def _was_moved(self) -> None:
        pass

    def forget_copies(self) -> None:
        """There are none: every layer moves, and none has a copy of another precision."""

    def _texts_forgotten(self) -> None:
        pass

    # ---- resuming and storage ------------------------------------------------------------------------------------

    def _progress(self) -> tuple[JsonObject, dict[str, Tensor]]:
        return {"piece_limit": self.room.limit, "n_draws": self.n_draws}, {}

    def _take_progress(self, state: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        self.room.limit = state["piece_limit"]
        self.n_draws = state["n_draws"]

    def _stored(self) -> StoredNetwork:
        state = {"n_steps": self.n_steps, "n_draws": self.n_draws}
        return StoredNetwork(self.record, self.reader.tokenizer.text, weights_of(self.network), state)

    def _for_disk(self) -> StoredNetwork:
        return self._stored()

    def _restore(self, stored: StoredNetwork) -> None:
        rng = torch.get_rng_state()
        with no_larger_than([tuple(weight.shape) for weight in stored.weights.values()]):
            encoder = self.settings.encoder.rebuild(stored.record)
        self._build(LoadedEncoder(encoder, stored.tokenizer, stored.record), to_predict=True)
        torch.set_rng_state(rng)
        fill_weights(self.network, stored.weights)
        self.n_steps, self.n_draws = int(stored.state["n_steps"]), int(stored.state["n_draws"])

    def _state_of_copies(self) -> JsonObject:
        return {}

    def _take_state_of_copies(self, state: JsonMapping) -> None:
        pass


def _under(budget: int, document: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """A document, or where it is above the budget its rows in parts: each is learned from for itself."""
    size = max(1, budget // max(len(row.ids) for row in document))
    for begin in range(0, len(document), size):
        yield document[begin : begin + size]
