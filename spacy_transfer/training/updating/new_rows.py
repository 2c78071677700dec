"""Probes the head's rows of new labels from the vectors of texts, while the rows of old labels stay as they are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from spacy.tokens import Doc
from torch import Tensor

from ...log import announce
from ...model.architectures.classifier_model import ClassifierModel
from ...nn.heads.label_query import LabelQueryDecoder
from ...nn.losses import Loss
from ...pipeline.gold import Gold
from ...pipeline.interface import interface_of
from ...pipeline.textcat import TransferTextCategorizer
from ..linear_probe import fit

_CS = (0.1, 1.0, 10.0)
_FOLDS = 3
# Share of the texts of new labels that are given up where nothing else keeps new labels from taking old texts.
_GIVEN_UP = 0.2
# Texts that C is chosen on, and that the rows are fitted on, at most: spread evenly.
_MOST_CHOSEN, _MOST_TEXTS = 2000, 50_000


def probe_new_rows(
    pipe: TransferTextCategorizer, docs: Sequence[Doc], gold: Gold, n_old: int, *, holds_back: bool
) -> bool:
    """Fit the head's rows of new labels by logistic regression on frozen vectors; the logits of old labels stay.

    pipe (TransferTextCategorizer): Has the new labels already, behind the old ones. A head that decodes a query per
        label keeps the rows that it made room with.
    docs (Sequence[Doc]): Texts with new labels, and without them.
    gold (Gold): Their targets.
    n_old (int): Labels before the new ones.
    holds_back (bool): There are no texts like the old ones among these: where labels exclude each other, new labels are
        lowered until a fifth of their own texts would get an old one, so that they take few old texts.
    RETURNS (bool): Whether the head has such rows.
    """
    net = interface_of(pipe.model)
    assert isinstance(net, ClassifierModel)
    network, loss = net.shim.network, net.shim.loss
    head = network.head
    if n_old == len(pipe.labels) or isinstance(head, LabelQueryDecoder):
        return False
    chosen = _spread(len(docs), _MOST_TEXTS)
    read = [docs[i] for i in chosen]
    network.eval()
    with torch.no_grad():
        vectors = torch.from_numpy(net.vectors(read)).to(network.device)
        hidden = head.hidden(net.read(read).joined.join(vectors))
        fixed = F.linear(hidden, head.output.weight[:n_old], head.output.bias[:n_old])
    targets, known = (torch.from_numpy(values[chosen]).to(network.device) for values in (gold.targets, gold.known))
    middle = hidden.mean(dim=0)
    scale = (hidden - middle).square().mean().sqrt().clamp(min=1e-6)
    x = (hidden - middle) / scale
    c, held_out = _choose(x, fixed, targets, known, loss, exclusive=pipe.exclusive)
    weight, bias = fit(x, targets, known, loss, c, None, fixed)
    if holds_back and pipe.exclusive:
        bias = bias - _lead(held_out, targets, n_old)
    with torch.no_grad():
        head.output.weight[n_old:] = weight / scale
        head.output.bias[n_old:] = bias - (weight / scale) @ middle
    head.awaited = tuple(i for i in head.awaited if i < n_old)
    net.shim.forget_copies()
    announce(f"New labels are probed on {len(read):,} texts: C = {c:g}")
    return True


def _choose(
    x: Tensor, fixed: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool
) -> tuple[float, Tensor]:
    """The C with the most right texts where labels exclude each other, else with the lowest loss, on held-out texts.

    RETURNS (tuple[float, Tensor]): C, and the logits of texts that were held out, (n_texts, n_labels); NaN of others.
    """
    logits = {c: x.new_full(targets.shape, torch.nan) for c in _CS}
    rows = torch.tensor(_spread(len(x), _MOST_CHOSEN), device=x.device)
    if len(rows) < 2 * _FOLDS:
        return 1.0, logits[1.0]
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).to(x.device)]
    found = {c: [0.0, 0.0] for c in _CS}
    for fold in range(_FOLDS):
        held = order[fold::_FOLDS]
        inside = order[torch.arange(len(order), device=x.device) % _FOLDS != fold]
        start = None
        for c in _CS:
            start = weight, bias = fit(x[inside], targets[inside], known[inside], loss, c, start, fixed[inside])
            given = logits[c][held] = torch.cat([fixed[held], x[held] @ weight.T + bias], dim=1)
            right = (given.argmax(dim=1) == targets[held].argmax(dim=1)).sum() if exclusive else torch.zeros(())
            found[c][0] += float(right)
            found[c][1] -= float(loss(given, targets[held], known[held]).sum())
    best = max(_CS, key=lambda c: tuple(found[c]))
    return best, logits[best]


def _lead(logits: Tensor, targets: Tensor, n_old: int) -> Tensor:
    """By how much the new labels of all but a fifth of their texts are ahead of the best old label; 0 at least.

    logits (Tensor): Of texts that were held out, (n_texts, n_labels); NaN of others.
    targets (Tensor): (n_texts, n_labels).
    n_old (int): Labels before the new ones.
    """
    best = targets.argmax(dim=1)
    chosen = (best >= n_old) & ~logits.isnan().any(dim=1)
    if not chosen.any():
        return logits.new_zeros(())
    own = logits[chosen].gather(1, best[chosen, None])[:, 0]
    return (own - logits[chosen, :n_old].max(dim=1).values).quantile(_GIVEN_UP).clamp(min=0.0)


def _spread(n: int, most: int) -> list[int]:
    """Places of so many texts at most, evenly over all of them."""
    kept = min(n, most)
    return [i * n // kept for i in range(kept)]
