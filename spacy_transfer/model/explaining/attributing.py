"""From a document to what its pieces add to a logit, window by window."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from ...errors import T743
from ...nn.integrated_gradients import Integral, PieceGradients, integrate, log_odds
from ...nn.joined import Joined
from ...nn.scratch.tokenizer_training import SPECIAL, UNK
from ...nn.scratch.transformer import SCRATCH
from ...pipeline.explanations.attribution import Attribution, Exactness
from ..shims.masked_lm_shim import MASK_PIECES
from ..shims.own_encoder_shim import OwnEncoderShim
from ..text.collating import collate
from ..text.tokenizer import PieceTokenizer
from ..text.windows import FittedWindows


def attribute(
    shim: OwnEncoderShim, parts: Sequence[tuple[str, str]], joined: Joined, label: int, exactness: Exactness
) -> Attribution:
    """Integrate the gradients of a label's logit on the pieces of a document.

    shim (OwnEncoderShim): Of the classifier.
    parts (Sequence[tuple[str, str]]): What is read of the document, by source.
    joined (Joined): What is joined to its vector; it stays as it is.
    label (int): Column of the label.
    exactness (Exactness): How exactly.
    RETURNS (Attribution): Of all pieces of its text; special pieces have nothing.
    RAISES (ValueError): T742 for an encoder that does not look its pieces up, T743 for a label that is not trained yet.
    """
    text = shim.settings.text.separator.join(one for _, one in parts)
    with shim.predicting():
        network, reader, exclusive = shim.network, shim.reader, shim.settings.loss.exclusive
        n_trained = network.head.n_labels - len(network.head.awaited)
        if label in network.head.awaited or (exclusive and n_trained < 2):
            raise ValueError(T743)
        (document,) = reader.read([text], remember=False)
        places, tokenizer = reader.tokenizer.places(text), reader.tokenizer
        numbers = _piece_numbers(len(places), tokenizer, reader.windows)
        batch = collate([document], network.encoder.pad_id, network.device, network.max_pieces, joined)
        replaced = np.zeros(tuple(batch.ids.shape), dtype=bool)
        first = len(tokenizer.prefix)
        for row, here in enumerate(numbers):
            replaced[row, first : first + len(here)] = True
        explained = partial(log_odds, label=label, exclusive=exclusive)

        def work(budget: int) -> PieceGradients:
            """Integrate in micro-batches of a budget."""
            how = Integral(_baseline_id(shim), exactness.tolerance, exactness.most_steps, budget)
            return integrate(network, batch, torch.from_numpy(replaced).to(network.device), explained, how)

        found = shim.room.run(network.device, work)
    values = [found.values[row, first : first + len(here)].tolist() for row, here in enumerate(numbers)]
    return Attribution(
        list(parts), shim.settings.text.separator, [places[i] for here in numbers for i in here],
        [row for row, here in enumerate(numbers) for _ in here], [value for row in values for value in row],
        found.reached, found.baseline, found.n_steps,
    )  # fmt: skip


def _piece_numbers(n_pieces: int, tokenizer: PieceTokenizer, windows: FittedWindows) -> list[list[int]]:
    """Numbers of the pieces in each row, special ones left out: cut as their ids are."""
    if not n_pieces:
        return []
    first, last = len(tokenizer.prefix), len(tokenizer.suffix)
    rows = windows.cut(range(n_pieces), tokenizer)
    return [row.ids[first : len(row.ids) - last].tolist() for row in rows]


def _baseline_id(shim: OwnEncoderShim) -> int:
    """The piece that stands for "some word": what the encoder has met in the place of any word in its own training."""
    special, encoder = shim.tokenizer.special, shim.network.encoder
    if encoder.family == SCRATCH:
        return special.get(SPECIAL[UNK], encoder.pad_id)
    return next((special[name] for name in MASK_PIECES if name in special), encoder.pad_id)
