"""The states of a transformer component as rows for a network, and the way back for their gradients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...nn.devices.host_rows import HostRows
from ...nn.devices.pinned import to_device, together_to_device
from ...nn.joined import NOTHING, Joined
from ...nn.network import RowBatch

if TYPE_CHECKING:
    from thinc.types import ArrayXd


class Outputs(Protocol):
    """What an encoder of transformers gives, by name; see its `ModelOutput`."""

    def __init__(self, *, last_hidden_state: "ArrayXd") -> None:
        """Make one of states, (n_spans, n_pieces, width)."""

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> "ArrayXd": ...


class Wordpieces(Protocol):
    """Pieces of the spans of a document."""

    input_ids: "ArrayXd"
    attention_mask: "ArrayXd"


class Alignment(Protocol):
    """Pieces of each token of a document, as a ragged array."""

    dataXd: "ArrayXd"
    lengths: "ArrayXd"


class TransformerData(Protocol):
    """What is used of the class of this name in spacy-transformers, one per document; needs no import."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    model_output: Outputs
    wordpieces: Wordpieces
    align: Alignment


# Takes the gradients of states, of the documents that have some.
GiveBack = Callable[[list[TransformerData]], object]


def nobody(gradients: list[TransformerData]) -> None:
    """Take the gradients of states that nothing is behind.

    gradients (list[TransformerData]): Of the documents that have states.
    """


@dataclass(frozen=True)
class States:
    """States of some documents.

    states (Tensor): (n_rows, n_pieces, width), padding on the right.
    batch (RowBatch): What is counted, and for whom.
    places (list): Of each row its document, its span in it, first piece in the span and number of pieces; a document
        without states has a row of zeros and span -1.
    """

    states: Tensor
    batch: RowBatch
    places: list[tuple[int, int, int, int]]

    def of(self, group: Sequence[int]) -> tuple[Tensor, RowBatch]:
        """States and rows of some of the documents, in this order; a document may come twice."""
        if list(group) == list(range(self.batch.n_docs)):
            return self.states, self.batch
        rows_of: dict[int, list[int]] = {}
        for row, (i, *_) in enumerate(self.places):
            rows_of.setdefault(i, []).append(row)
        device, batch = self.states.device, self.batch
        numbers = [row for i in group for row in rows_of[i]]
        owners = np.asarray([j for j, i in enumerate(group) for _ in rows_of[i]])
        host = None if batch.host is None else HostRows(batch.host.counted[numbers], owners, is_full=False)
        rows, owner = to_device(numbers, device), to_device(owners, device)
        ids, mask, counted = batch.ids[rows], batch.mask[rows], batch.counted[rows]
        chosen = RowBatch(ids, mask, counted, owner, len(group), host, batch.joined.of(group))
        return self.states[rows], chosen


def width_of(data: Sequence[TransformerData]) -> int | None:
    """Width of the states; None if no document has any."""
    return next((int(one.model_output["last_hidden_state"].shape[-1]) for one in data if _has_states(one)), None)


def gather(data: Sequence[TransformerData], width: int, device: torch.device, joined: Joined = NOTHING) -> States:
    """Rows of documents, a row for each span.

    A piece that lies in several spans counts once: the tokens that two spans share are split between them in the
    middle, as windows split their pieces, so that each counts where it has more context. Special pieces count at the
    ends of the document, not where it was cut.

    data (Sequence[TransformerData]): One per document; one without states (an empty document) gets a state of zero.
    width (int): Width of the states.
    device (torch.device): Where the network computes.
    joined (Joined): What is joined to the vectors of the documents.
    RETURNS (States): States and rows.
    """
    places: list[tuple[int, int, int, int]] = []
    counted: list[tuple[int, int]] = []
    for i, one in enumerate(data):
        if not _has_states(one):
            places.append((i, -1, 0, 1))
            counted.append((0, 1))
            continue
        inside = _host(one.wordpieces.attention_mask) > 0
        firsts, sizes = inside.argmax(axis=1), inside.sum(axis=1)
        ranges = counted_ranges(_host(one.align.dataXd).ravel(), _host(one.align.lengths), inside.shape[1], sizes)
        places.extend((i, row, int(firsts[row]), int(sizes[row])) for row in range(len(inside)))
        for first, size, (begin, end) in zip(firsts, sizes, ranges, strict=True):
            # From the first piece on: some tokenizers pad on the left.
            start = max(begin - int(first), 0)
            counted.append((start, max(min(end - int(first), int(size)), start)))
    longest = max(size for *_, size in places)
    ids = np.zeros((len(places), longest), dtype=np.int64)
    mask, counts = np.zeros_like(ids), np.zeros_like(ids)
    for row, ((i, span, first, size), (begin, end)) in enumerate(zip(places, counted, strict=True)):
        mask[row, :size] = 1
        counts[row, begin:end] = 1
        if span >= 0:
            ids[row, :size] = _host(data[i].wordpieces.input_ids)[span, first : first + size]
    owner = np.asarray([i for i, *_ in places])
    host = HostRows(counts > 0, owner, is_full=False)
    ids_there, mask_there, counts_there, owner_there = together_to_device((ids, mask, counts, owner), device)
    batch = RowBatch(ids_there, mask_there, counts_there, owner_there, len(data), host, joined)
    return States(_padded(data, places, width, longest, device), batch, places)


def _padded(
    data: Sequence[TransformerData], places: Sequence[tuple[int, int, int, int]], width: int, longest: int,
    device: torch.device,
) -> Tensor:  # fmt: skip
    """States of the rows at some places, (n_rows, longest, width). Where they lie on another device than they are
    wanted on, they travel in one copy."""
    tensors = [_tensor(one.model_output["last_hidden_state"]) if _has_states(one) else None for one in data]
    source = next((tensor.device for tensor in tensors if tensor is not None), device)
    states = torch.zeros((len(places), longest, width), device=source)
    pieces = []
    for row, (i, span, first, size) in enumerate(places):
        if (tensor := tensors[i]) is None or span < 0:
            continue
        if source.type == "cpu":
            states[row, :size] = tensor[span, first : first + size]
        else:
            pieces.append(tensor[span, first : first + size])
    if pieces:
        # All rows at once: a launch for each would keep a GPU waiting for the host.
        found = states.flatten(0, 1).index_copy(0, to_device(_positions(places, longest), source), torch.cat(pieces))
        states = found.unflatten(0, (len(places), longest))
    return to_device(states, device)


def _positions(places: Sequence[tuple[int, int, int, int]], longest: int) -> NDArray[np.int64]:
    """Of all pieces with states one after the other: where they lie in the padded rows, seen as one row."""
    found = [np.arange(size) + row * longest for row, (_, span, _, size) in enumerate(places) if span >= 0]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def scatter(gradient: Tensor, states: States, data: Sequence[TransformerData]) -> list[TransformerData]:
    """Gradients in the form that the transformer takes: of the documents that have states, in their order.

    gradient (Tensor): On `states.states`.
    states (States): As `gather` gave them.
    data (Sequence[TransformerData]): As for `gather`.
    RETURNS (list[TransformerData]): One for each document with states.
    """
    learning = [i for i, one in enumerate(data) if _has_states(one)]
    if not learning:
        return []
    shapes = [data[i].model_output["last_hidden_state"].shape for i in learning]
    like = _tensor(data[learning[0]].model_output["last_hidden_state"])
    # To a transformer on the CPU everything goes in one copy. It is waited for: its backward pass is next.
    gradient = gradient.detach().to(like.device)
    begins = dict(zip(learning, np.cumsum([0, *(n_spans * n_pieces for n_spans, n_pieces, _ in shapes)]), strict=False))
    n_pieces = {i: shape[1] for i, shape in zip(learning, shapes, strict=True)}
    targets = [
        np.arange(size) + begins[i] + span * n_pieces[i] + first for i, span, first, size in states.places if span >= 0
    ]
    sources = to_device(_positions(states.places, gradient.shape[1]), like.device)
    flat = torch.zeros((sum(shape[0] * shape[1] for shape in shapes), gradient.shape[2]), device=like.device)
    flat.index_copy_(0, to_device(np.concatenate(targets), like.device), gradient.flatten(0, 1)[sources])
    parts = flat.split([shape[0] * shape[1] for shape in shapes])
    return [
        # Made anew: the transformer adds the gradients of other listeners to it in place.
        replace(data[i], model_output=type(data[i].model_output)(last_hidden_state=_like(part.view(shape))))
        for i, part, shape in zip(learning, parts, shapes, strict=True)
    ]


def groups(data: Sequence[TransformerData], budget: int) -> Iterator[list[int]]:
    """Documents of like length together, under a budget of pieces, for prediction.

    YIELDS (list[int]): Indices.
    """
    shapes = [one.model_output["last_hidden_state"].shape[:2] if _has_states(one) else (1, 1) for one in data]
    order = sorted(range(len(data)), key=lambda i: -shapes[i][1])
    group: list[int] = []
    n_rows = 0
    for i in order:
        if group and (n_rows + shapes[i][0]) * shapes[group[0]][1] > budget:
            yield group
            group, n_rows = [], 0
        group.append(i)
        n_rows += shapes[i][0]
    if group:
        yield group


def counted_ranges(
    positions: NDArray[np.integer], lengths: NDArray[np.integer], n_pieces: int, sizes: NDArray[np.integer]
) -> list[tuple[int, int]]:
    """The pieces that count in each row of a document.

    positions (n_aligned,): Flat positions, row * n_pieces + piece, of the pieces of each token, one after the other.
    lengths (n_tokens,): How many of them each token has.
    n_pieces (int): Length of the padded rows.
    sizes (n_rows,): Pieces of each row, padding left out.
    RETURNS (list): First and one past the last counted piece of each row.
    """
    n_rows = len(sizes)
    if n_rows == 1:
        return [(0, n_pieces)]
    tokens = np.repeat(np.arange(len(lengths)), lengths)
    rows, columns = positions // n_pieces, positions % n_pieces
    spans = [tokens[rows == row] for row in range(n_rows)]
    ranges: list[tuple[int, int]] = []
    begin_token = 0
    for row in range(n_rows):
        if not len(spans[row]):
            # A span of blanks alone: only its special pieces, which do not count inside a document.
            ranges.append((0, 0))
            continue
        following = next((span for span in spans[row + 1 :] if len(span)), None)
        # The first token that is no longer ours: the middle of what the next span shares with this one.
        end_token = len(lengths) if following is None else int(following.min() + spans[row].max() + 1) // 2
        ours = columns[(rows == row) & (tokens >= begin_token) & (tokens < end_token)]
        begin = 0 if row == 0 or not len(ours) else int(ours.min())
        end = n_pieces if following is None else (int(ours.max()) + 1 if len(ours) else begin)
        ranges.append((begin, end))
        begin_token = max(begin_token, end_token)
    if not any(end > begin for begin, end in ranges):
        ranges[0] = (0, n_pieces)
    return ranges


def _has_states(one: TransformerData) -> bool:
    return "last_hidden_state" in one.model_output and one.model_output["last_hidden_state"].size > 0


def _host(array: "ArrayXd") -> NDArray[np.integer]:
    return array.get() if hasattr(array, "get") else np.asarray(array)


def _tensor(array: "ArrayXd") -> Tensor:
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array)
    from thinc.util import xp2torch

    return xp2torch(array)


def _like(tensor: Tensor) -> "ArrayXd":
    if tensor.device.type == "cpu":
        return tensor.numpy()
    from thinc.util import torch2xp

    return torch2xp(tensor)
