"""Several ranks train together: each takes a share of every batch, and all get the sums.

What they agree on (numbers of documents, flags, texts of the evaluation) travels over Gloo between the hosts' memories,
so no GPU is waited for; gradients and losses travel where they are, over NCCL between GPUs.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model
from torch import Tensor, distributed, nn

from ...errors import T179, T179_FEATURES, T180, T181
from ...model.features.joining import can_sum_gradients
from ...model.features.layer import features_of
from ...model.shims.torch_shim import TorchShim
from ..loop.single_step import Losses
from ..state.pipeline_state import all_weights, fill_all_weights, network_shims

# Gradients are copied into pieces of so many numbers: large enough for the network, small beside the weights.
_BUCKET = 8_000_000
# Names the file in which ranks of one machine meet; torchrun tells an address instead.
MEETING_FILE = "SPACY_TRANSFER_RANKS_MEET_IN"


def require_own_weights(nlp: Language, names: Sequence[str]) -> None:
    """Refuse components whose weights the ranks could not keep alike.

    nlp (Language): The pipeline.
    names (Sequence[str]): Components that learn.
    RAISES (ValueError): T179 if one of them is not ours, or has torch layers of others among its features.
    """
    models = {name: nlp.get_pipe(name).model for name in names}
    features = {name: features_of(model) for name, model in models.items()}
    others = [name for name, model in models.items() if not _is_network(model, features[name])]
    if others:
        raise ValueError(T179.format(names=", ".join(others)))
    foreign = [name for name, layer in features.items() if layer is not None and not can_sum_gradients(layer)]
    if foreign:
        raise ValueError(T179_FEATURES.format(names=", ".join(foreign)))


def _is_network(model: Model, features: Model | None) -> bool:
    """Whether all that learns in a component's model is our network, features aside."""
    joined = set() if features is None else {node.id for node in features.walk()}
    rest = [node for node in model.walk() if node.id not in joined]
    ours = all(isinstance(shim, TorchShim) for node in rest for shim in node.shims)
    return ours and not any(node.param_names for node in rest)


class Ranks:
    """This process among the others of a job that `torchrun`, or `spacy transfer train --ranks`, has started.

    gpu (bool): Whether the ranks train on GPUs.
    RAISES (ValueError): T180 for more ranks than GPUs.
    """

    def __init__(self, *, gpu: bool) -> None:
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if gpu and self.local_rank >= torch.cuda.device_count():
            n_local = int(os.environ.get("LOCAL_WORLD_SIZE", self.local_rank + 1))
            raise ValueError(T180.format(ranks=n_local, devices=f"{torch.cuda.device_count()} GPU(s)"))
        if gpu:
            torch.cuda.set_device(self.local_rank)
        if not distributed.is_initialized():
            _meet("nccl" if gpu else "gloo")
        self.rank, self.n_ranks = distributed.get_rank(), distributed.get_world_size()
        self._hosts = distributed.new_group(backend="gloo") if gpu else None
        self._names: list[str] = []

    @staticmethod
    def are_asked_for() -> bool:
        """Whether the environment says that this process is one of several."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.rank == 0

    def join(self, nlp: Language, names: list[str]) -> None:
        """Give all ranks the first one's weights, and let gradients be summed.

        nlp (Language): The pipeline.
        names (list[str]): Components that learn.
        RAISES (ValueError): T179 if one of them is not ours, or has torch layers of others among its features.
        """
        require_own_weights(nlp, names)
        self._names = names
        weights = all_weights(nlp, only_trainable=False)
        for name in sorted(weights):
            value = weights[name].contiguous()
            # Thinc's weights are in the hosts' memories, which NCCL does not reach.
            distributed.broadcast(value, src=0, group=self._hosts if value.device.type == "cpu" else None)
            weights[name] = value
        fill_all_weights(nlp, weights)
        for shim in network_shims(nlp).values():
            shim.sum_over_ranks = self.sum_gradients
        # The same dropout on every rank would tie their shares together.
        torch.manual_seed(torch.initial_seed() + 1_000_003 * self.rank)

    def agree(self, what: str, value: str) -> None:
        """Check that all ranks have the same value.

        what (str): What it is, for the message.
        value (str): This rank's.
        RAISES (ValueError): T181 if a rank has another value.
        """
        found = [part.decode("utf-8") for part in self._gather(value.encode("utf-8"))]
        if len(set(found)) > 1:
            raise ValueError(
                T181.format(what=what, values="; ".join(f"rank {i}: {one}" for i, one in enumerate(found)))
            )

    def from_first(self, make: Callable[[], str]) -> str:
        """A text that the first rank makes, on every rank.

        make (Callable): Called on the first one only.
        """
        return self._gather(make().encode("utf-8") if self.is_first else b"")[0].decode("utf-8")

    # ---- the loop's side -----------------------------------------------------------------------------------------

    def share(self, batch: list[Example]) -> list[Example]:
        """This rank's part of a batch: all parts have about as many characters, so about as many pieces."""
        loads = [0] * self.n_ranks
        mine: list[tuple[int, Example]] = []
        order = sorted(enumerate(batch), key=lambda one: (-len(one[1].reference.text), one[0]))
        for i, example in order:
            rank = loads.index(min(loads))
            loads[rank] += len(example.reference.text) + 1
            if rank == self.rank:
                mine.append((i, example))
        return [example for _, example in sorted(mine, key=lambda one: one[0])]

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        value = torch.tensor([int(flag)])
        distributed.all_reduce(value, distributed.ReduceOp.MAX, group=self._hosts)
        return bool(value.item())

    def total(self, losses: Losses) -> Losses:
        """Sums over the ranks; on GPUs they stay there."""
        found = [losses.get(name, 0.0) for name in self._names]
        on_gpu = next((value for value in found if isinstance(value, Tensor) and value.device.type == "cuda"), None)
        device = torch.device("cuda", self.local_rank) if on_gpu is not None or self._hosts is not None else "cpu"
        values = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in found])
        distributed.all_reduce(values)
        return dict(zip(self._names, values if self._hosts is not None else values.tolist(), strict=True))

    def sum_gradients(self, weights: Mapping[str, nn.Parameter], n_docs: int) -> int:
        """Sum gradients in place.

        weights (Mapping): What moves, in the same order on all ranks.
        n_docs (int): Documents of this rank.
        RETURNS (int): Documents of all ranks.
        """
        trainable = list(weights.values())
        head = torch.tensor([n_docs, *(int(weight.grad is not None) for weight in trainable)])
        distributed.all_reduce(head, group=self._hosts)
        found = [weight for weight, n in zip(trainable, head[1:].tolist(), strict=True) if n]
        for weight in found:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        # Thinc's gradients may be in the host's memory while the network's are on the GPU.
        for kind in ("cpu", "cuda"):
            group = self._hosts if kind == "cpu" else None
            bucket: list[Tensor] = []
            for weight in found:
                if weight.grad is None or weight.grad.device.type != kind:
                    continue
                bucket.append(weight.grad)
                if sum(gradient.numel() for gradient in bucket) >= _BUCKET:
                    _sum_bucket(bucket, group)
                    bucket = []
            if bucket:
                _sum_bucket(bucket, group)
        return int(head[0])

    # ---- evaluation ----------------------------------------------------------------------------------------------

    def share_evaluation(self, examples: list[Example], predict: Callable[[list[Example]], None]) -> list[Example]:
        """Let each rank predict a share of the dev data.

        RETURNS (list[Example]): All, predicted, on all ranks.
        """
        predict(examples[self.rank :: self.n_ranks])
        mine = [example.predicted.to_bytes(exclude=["tensor"]) for example in examples[self.rank :: self.n_ranks]]
        sizes = [len(one) for one in mine]
        header = b"".join(size.to_bytes(8, "big") for size in [len(sizes), *sizes])
        for rank, raw in enumerate(self._gather(header + b"".join(mine))):
            if rank == self.rank:
                continue
            n = int.from_bytes(raw[:8], "big")
            begin = 8 * (n + 1)
            for i, example in enumerate(examples[rank :: self.n_ranks]):
                end = begin + int.from_bytes(raw[8 * (i + 1) : 8 * (i + 2)], "big")
                example.predicted = Doc(example.predicted.vocab).from_bytes(raw[begin:end])
                begin = end
        return examples

    def gather_random(self, state: str) -> list[str]:
        """A text of every rank, on every rank."""
        return [part.decode("utf-8") for part in self._gather(state.encode("utf-8"))]

    def _gather(self, data: bytes) -> list[bytes]:
        """Bytes of every rank, on every rank."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.n_ranks)]
        distributed.all_gather(sizes, torch.tensor([len(data)]), group=self._hosts)
        longest = max(int(size) for size in sizes)
        mine = torch.zeros(longest, dtype=torch.uint8)
        mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else mine[:0]
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.n_ranks)]
        distributed.all_gather(parts, mine, group=self._hosts)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]


def _meet(backend: str) -> None:
    """Join the job's other ranks. Without a file it is torchrun's job: torch listens at the address that it tells."""
    if (file := os.environ.get(MEETING_FILE)) is None:
        distributed.init_process_group(backend)
        return
    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = distributed.FileStore(file, n_ranks)  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=store, rank=rank, world_size=n_ranks)


def _sum_bucket(gradients: list[Tensor], group: distributed.ProcessGroup | None) -> None:
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat, group=group)
    begin = 0
    for gradient in gradients:
        size = math.prod(gradient.shape)
        gradient.copy_(flat[begin : begin + size].view_as(gradient))
        begin += size
