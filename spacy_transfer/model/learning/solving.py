"""Fits the head on frozen vectors of the training texts: the linear probe."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import T064, T147
from ...nn.heads.label_query import LabelQueryDecoder, LabelQueryHead
from ...nn.heads.linear import Head
from ...nn.joined import Joined
from ...nn.losses import Loss
from ...nn.network import Network
from ..shims.settings import Settings


def check_solvable(head: Head | LabelQueryHead) -> None:
    """Whether a head can be solved.

    head (Head | LabelQueryHead): The block of the config.
    RAISES (ValueError): T064 if it has hidden layers, T147 if it reads no vectors.
    """
    if isinstance(head, LabelQueryHead):
        raise ValueError(T147)
    if head.hidden:
        raise ValueError(T064.format(hidden=head.hidden))


def solve_head(
    network: Network, settings: Settings, loss: Loss, vectors: Tensor, targets: NDArray[np.float32],
    known: NDArray[np.float32], joined: Joined, *, tuning_follows: bool, n_names: int = 0,
) -> None:  # fmt: skip
    """Solve the head of a network on the vectors of training texts, as the block `head_init` says.

    network (Network): Its head is changed.
    settings (Settings): Blocks of the classifier.
    loss (Loss): The classifier's.
    vectors (Tensor): (n_texts, width).
    targets (n_texts, n_labels): As for `OwnEncoderShim.step`.
    known (n_texts, n_labels): As for `OwnEncoderShim.step`.
    joined (Joined): Features of the same texts.
    tuning_follows (bool): Whether the encoder moves afterwards.
    n_names (int): So many of the texts, the last ones, are texts of labels.
    """
    head, block = network.head, settings.head
    if isinstance(head, LabelQueryDecoder) or isinstance(block, LabelQueryHead):
        raise ValueError(T147)
    if block.norm:
        # What the output will see: a norm mixes vectors and features, so no balance of the two could be taken back.
        vectors = joined.join(vectors)
        vectors, factors = head.hidden[0](vectors).detach(), vectors.new_ones(vectors.shape[1])
    else:
        vectors, factors = joined.balance(vectors)
    wanted, mask = (torch.from_numpy(values).to(network.device) for values in (targets, known))
    # Only where there are some: a block of one's own need not know of them.
    more = {"n_names": n_names} if n_names else {}
    weight, bias = settings.head_init.solve(
        vectors, wanted, mask, loss, exclusive=settings.loss.exclusive, tuning_follows=tuning_follows, **more
    )
    output = head.output
    with torch.no_grad():
        output.weight.copy_(weight * factors)
        output.bias.copy_(bias)
