"""Character n-grams: the vector of a piece is the sum of its own and those of its n-grams."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checks import check_least, check_share


@dataclass(frozen=True)
class CharNGrams:
    """Character n-grams of the pieces: what is learned about "refunded" holds for "refund" too.

    On few texts most words are rare, and their own vectors hardly learn. A piece that the tokenizer does not know is
    [UNK] and has no n-grams.

    shortest (int): Fewest characters of an n-gram; the ends of a piece count as one each, "<refund>".
    longest (int): Most characters of an n-gram, at least `shortest`.
    min_pieces (int): An n-gram that fewer pieces have is left out; one that a single piece has says nothing new.
    size (int): Most n-grams; those that most pieces have are kept.
    dropout (float): Share of the n-grams that are left out in training, for each place in each text anew; without it
        the n-grams learn the training texts by heart. 0 <= dropout < 1.
    SOURCE: Bojanowski et al. 2017 (fastText), arXiv:1607.04606.
    """

    shortest: int = 3
    longest: int = 5
    min_pieces: int = 2
    size: int = 50_000
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for field, least in (("shortest", 1), ("longest", self.shortest), ("min_pieces", 1), ("size", 1)):
            check_least("CharNGrams", self, field, least)
        check_share("CharNGrams", self, "dropout")

    def members(self, pieces: Sequence[str | None]) -> tuple[list[list[int]], int]:
        """Find the n-grams of a vocabulary.

        pieces (Sequence[str | None]): By their ids; None for a special one.
        RETURNS (tuple): Of each piece the numbers of its n-grams, each once, and how many n-grams there are.
        """
        found = [list(dict.fromkeys(self._n_grams(piece))) if piece is not None else [] for piece in pieces]
        counts = Counter(n_gram for one in found for n_gram in one)
        kept = sorted((-n_pieces, n_gram) for n_gram, n_pieces in counts.items() if n_pieces >= self.min_pieces)
        numbers = {n_gram: number for number, (_, n_gram) in enumerate(kept[: self.size])}
        return [[numbers[n_gram] for n_gram in one if n_gram in numbers] for one in found], len(numbers)

    def _n_grams(self, piece: str) -> Iterator[str]:
        whole = f"<{piece}>"
        for length in range(self.shortest, self.longest + 1):
            for start in range(len(whole) - length + 1):
                yield whole[start : start + length]


class CharNGramVectors(nn.Module):
    """Sums of the vectors of n-grams: ids (n_rows, n_pieces) -> (n_rows, n_pieces, width).

    n_pieces (int): Size of the vocabulary.
    n_ngrams (int): Different n-grams.
    n_members (int): Those of all pieces added up.
    width (int): Of a vector.
    dropout (float): As in `CharNGrams`.
    """

    # Which n-grams a piece has: those of piece i are members[starts[i] : starts[i + 1]].
    members: Tensor
    starts: Tensor

    def __init__(self, n_pieces: int, n_ngrams: int, n_members: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(n_ngrams, width)
        self.dropout = dropout
        self.register_buffer("members", torch.zeros(n_members, dtype=torch.int64))
        self.register_buffer("starts", torch.zeros(n_pieces + 1, dtype=torch.int64))

    def fill(self, members: Sequence[Sequence[int]]) -> None:
        """Say which n-grams each piece has.

        members (Sequence): As `CharNGrams.members` gives them.
        """
        self.members.copy_(torch.tensor([number for one in members for number in one], dtype=torch.int64))
        self.starts[1:] = torch.tensor([len(one) for one in members]).cumsum(0)

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        flat = ids.flatten()
        first = self.starts[flat]
        counts = self.starts[flat + 1] - first
        offsets = counts.cumsum(0) - counts
        # Positions of the members of one piece after the other. Their number is asked for once: on a GPU that waits.
        n_places = int(counts.sum())
        shifts = torch.repeat_interleave(first - offsets, counts, output_size=n_places)
        places = torch.arange(n_places, device=ids.device) + shifts
        kept = None
        if self.training and self.dropout > 0.0:
            kept = F.dropout(self.table.weight.new_ones(places.shape), self.dropout)
        sums = F.embedding_bag(self.members[places], self.table.weight, offsets, mode="sum", per_sample_weights=kept)
        return sums.view(*ids.shape, -1)
