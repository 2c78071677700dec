"""Warm an encoder up on raw texts by masked-piece prediction; see `spacy transfer pretrain --help`."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import T005, T134, T135, T137
from ..model.batches import collate, micro_batches
from ..model.gradients import Gradients
from ..model.pieces import PieceTokenizer
from ..model.reading import Document, TextReader
from ..model.settings import Settings
from ..model.storage import weights_of, write_file, write_weights
from ..nn.encoder import Encoder
from ..nn.fetch import put_folder
from ..nn.masked_pieces import MaskedPieceNetwork, hide
from ..nn.precision import resolve_device, resolve_precision
from ..nn.pretrained import LoadedEncoder

# Most pieces in a micro-batch, by kind of device.
_BUDGETS = {"cpu": 4096, "cuda": 65_536}
_MASK_PIECES = ("[MASK]", "<mask>")
# Texts kept apart to see what was learned: a twentieth, but not so many that looking takes long.
_HELD_SHARE, _MOST_HELD = 0.05, 500
_WARM_UP = 0.1

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Pretraining:
    """How an encoder is warmed up.

    steps (int): Steps of the optimizer. rows (int): Rows (windows of texts) in a step.
    rate (float): Highest learning rate, after a tenth of the steps; it falls to 0 in a line.
    weight_decay (float): Of AdamW. share (float): Of the pieces that is chosen for prediction.
    seed (int): Of everything drawn.
    """

    steps: int = 2000
    rows: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.01
    share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        for field, good, want in (
            ("steps", self.steps >= 1, "steps >= 1"),
            ("rows", self.rows >= 1, "rows >= 1"),
            ("rate", self.rate > 0.0, "rate > 0"),
            ("weight_decay", 0.0 <= self.weight_decay <= 1.0, "0 to 1"),
            ("share", 0.0 < self.share < 1.0, "0 < share < 1"),
        ):
            if not good:
                raise ValueError(T005.format(block="pretrain", field=field, value=getattr(self, field), want=want))


@dataclass(frozen=True)
class Pretrained:
    """What came of it.

    folder (Path): The encoder. n_texts, n_rows (int): What it read. n_weights (int): Of the encoder.
    loss_before, loss_after (float): Mean loss of a hidden piece in texts kept apart, in nats.
    """

    folder: Path
    n_texts: int
    n_rows: int
    n_weights: int
    loss_before: float
    loss_after: float


class MaskedPieces:
    """The step of a training loop: rows in, loss out, gradients in the network.

    encoder (Encoder): Learns. tokenizer (PieceTokenizer): Its own. device, precision: Where and how it computes.
    share (float): Of the pieces that is chosen. seed (int): Of what is chosen.
    RAISES (ValueError): T135 for a tokenizer without a mask piece.
    """

    def __init__(
        self, encoder: Encoder, tokenizer: PieceTokenizer, *, device: torch.device, precision: torch.dtype,
        share: float = 0.15, seed: int = 0,
    ) -> None:  # fmt: skip
        special = {one["content"]: one["id"] for one in json.loads(tokenizer.text)["added_tokens"] if one["special"]}
        found = [special[piece] for piece in _MASK_PIECES if piece in special]
        if not found:
            raise ValueError(T135.format(name=encoder.family, pieces=" or ".join(_MASK_PIECES)))
        self._mask_id: int = found[0]
        self._special = torch.tensor(sorted({*special.values(), *tokenizer.prefix, *tokenizer.suffix}))
        ids = torch.arange(tokenizer.n_pieces)
        self._ordinary = ids[~torch.isin(ids, self._special)]
        self._share, self._generator = share, torch.Generator().manual_seed(seed)
        self.network = MaskedPieceNetwork(encoder, precision).to(device)
        self._device = device

    def step(self, documents: Sequence[Document]) -> float:
        """Gradients of the mean loss of all hidden pieces, micro-batch by micro-batch. RETURNS (float): That loss."""
        self.network.train()
        hidden = list(self._hidden(documents, self._generator))
        n_chosen = max(1, sum(int(chosen.sum()) for *_, chosen in hidden))
        total = torch.zeros((), device=self._device)
        for batch in hidden:
            # Without a single chosen piece there is nothing to learn.
            if batch[-1].any():
                loss = self._loss(*batch) / n_chosen
                loss.backward()
                total += loss.detach()
        return float(total)

    @torch.no_grad()
    def evaluate(self, documents: Sequence[Document]) -> float:
        """Mean loss of a hidden piece; the same pieces are hidden at every call."""
        self.network.eval()
        hidden = list(self._hidden(documents, torch.Generator().manual_seed(0)))
        n_chosen = max(1, sum(int(chosen.sum()) for *_, chosen in hidden))
        return sum(float(self._loss(*batch)) for batch in hidden if batch[-1].any()) / n_chosen

    def _hidden(
        self, documents: Sequence[Document], generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        pad, kind = self.network.encoder.pad_id, self._device.type
        for group in micro_batches(documents, _BUDGETS.get(kind, 8192), kind):
            batch = collate([documents[i] for i in group], pad, torch.device("cpu"))
            eligible = batch.mask.bool() & ~torch.isin(batch.ids, self._special)
            read, chosen = hide(
                batch.ids, eligible, mask_id=self._mask_id, ordinary=self._ordinary, share=self._share,
                generator=generator,
            )  # fmt: skip
            yield batch.ids, read, batch.mask, chosen

    def _loss(self, ids: Tensor, read: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        device = self._device
        logits = self.network(read.to(device), mask.to(device), chosen.to(device))
        return F.cross_entropy(logits, ids[chosen].to(device), reduction="sum")


def pretrain(
    settings: Settings,
    texts: Sequence[str],
    target: Path,
    *,
    plan: Pretraining | None = None,
    device: torch.device | None = None,
    report: Report | None = None,
    force: bool = False,
) -> Pretrained:
    """Warm an encoder up on raw texts and write it into a folder that a classifier's `encoder.name` takes.

    settings (Settings): Blocks of a classifier: its encoder starts, its windows cut the texts, its device computes.
        A scratch encoder's pieces are made of the texts.
    texts (Sequence[str]): Raw texts.
    target (Path): The folder; it appears complete or not at all.
    plan (Pretraining): Steps, rows, rate. device (torch.device | None): What "auto" means.
    report (Callable): Called now and then with the number of steps done and the mean loss since the last call.
    force (bool): Replace what is in target.
    RETURNS (Pretrained): Texts read, loss before and after.
    RAISES (FileExistsError): T137 for a target that is there already.
    RAISES (ValueError): T134 without texts, T135 for an encoder without a mask piece, and what the blocks find wrong.
    """
    plan = plan or Pretraining()
    if target.exists() and not (force and target.is_dir()):
        raise FileExistsError(T137.format(path=target))
    n_texts = len(texts)
    if settings.text.normalization is not None:
        # As the classifier will clean them.
        texts = settings.text.normalization.apply(list(texts))
    if not any(text.strip() for text in texts):
        raise ValueError(T134.format(n_texts=n_texts))
    torch.manual_seed(plan.seed)
    loaded = settings.encoder.load(lambda: texts)
    tokenizer = PieceTokenizer(loaded.tokenizer)
    settings.windows.check(tokenizer, loaded.encoder.max_pieces)
    where = resolve_device(settings.device, device or torch.device("cpu"))
    task = MaskedPieces(
        loaded.encoder, tokenizer, device=where, precision=resolve_precision(settings.precision, where),
        share=plan.share, seed=plan.seed,
    )  # fmt: skip
    rows, held = _rows(texts, TextReader(tokenizer, settings.windows), plan.seed)
    before = task.evaluate(held)
    _learn(task, rows, plan, report)
    after = task.evaluate(held)
    _write(loaded, target, {"n_texts": len(texts), "steps": plan.steps})
    n_weights = sum(weight.numel() for weight in loaded.encoder.parameters())
    return Pretrained(target, len(texts), len(rows), n_weights, before, after)


def _rows(texts: Sequence[str], reader: TextReader, seed: int) -> tuple[list[Document], list[Document]]:
    """Each row a document of its own; those to learn from, and those of the texts kept apart."""
    read = [document for document in reader.read(texts, remember=False) if len(document[0].ids)]
    random.Random(seed).shuffle(read)
    n_held = min(_MOST_HELD, int(_HELD_SHARE * len(read)))
    held, learned = read[:n_held], read[n_held:]
    # Too few texts to keep any apart: then the loss is that of what was learned.
    return [[row] for document in learned for row in document], [[row] for document in held or read for row in document]


def _learn(task: MaskedPieces, rows: list[Document], plan: Pretraining, report: Report | None) -> None:
    network: nn.Module = task.network
    # Large embeddings have sparse gradients on a CPU.
    gradients = Gradients(half=False)
    adam = torch.optim.AdamW(task.network.decaying(), lr=plan.rate, weight_decay=plan.weight_decay, fused=True)
    warm_up = max(1, round(_WARM_UP * plan.steps))
    batches = _batches(rows, plan)
    told, losses = max(1, plan.steps // 20), list[float]()
    for step in range(plan.steps):
        for group in adam.param_groups:
            group["lr"] = plan.rate * min((step + 1) / warm_up, (plan.steps - step) / max(1, plan.steps - warm_up))
        losses.append(task.step(next(batches)))
        gradients.make_dense(network.parameters())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        gradients.finish()
        if report is not None and ((step + 1) % told == 0 or step + 1 == plan.steps):
            report(step + 1, sum(losses) / len(losses))
            losses.clear()


def _batches(rows: list[Document], plan: Pretraining) -> Iterator[list[Document]]:
    """Rows in a new order in every epoch, without end; a batch may reach into the next one."""
    order, draw = list[int](), random.Random(plan.seed)
    while True:
        while len(order) < plan.rows:
            epoch = list(range(len(rows)))
            draw.shuffle(epoch)
            order += epoch
        yield [rows[i] for i in order[: plan.rows]]
        del order[: plan.rows]


def _write(loaded: LoadedEncoder, target: Path, told: dict[str, Any]) -> None:
    """The files of an encoder as one of our components keeps them."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        weights = {f"encoder.{name}": weight for name, weight in weights_of(loaded.encoder).items()}
        write_weights(weights, part / "weights.safetensors")
        write_file(part / "tokenizer.json", loaded.tokenizer)
        write_file(part / "encoder.json", json.dumps({**loaded.record, "pretrained": told}, indent=2))
        if loaded.record.get("licence"):
            write_file(part / "LICENSE.encoder", loaded.record["licence"])
        put_folder(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
