"""Choices that were tuned on one CPU, each against its alternative on this one.

    python benchmarks/kernel_choices.py [--turns 7] [--rows 16] [--pieces 64] [--threads N] [--precision fp32,bf16]

Shapes are those of all-MiniLM-L6-v2 (12 heads of 32, width 384, 30,522 pieces). Turns are interleaved and the best of
each counts; ours is right where its time is at most the other's. Run it on a quiet machine: the load is printed.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

HEADS, WIDTH, VOCABULARY = 12, 384, 30_522
Work = Callable[[], object]


def main() -> None:
    """Measure and print one row a choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--pieces", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    import torch

    from spacy_transfer.nn.devices.machine import describe_machine

    if args.threads:
        torch.set_num_threads(args.threads)
    machine = describe_machine(torch.device("cpu"))
    print(
        f"{machine['model']} ({', '.join(machine['flags'])}), {machine['threads']} threads, torch {torch.__version__}"
    )
    print(f"load {os.getloadavg()[0]:.1f}; {args.rows} rows of {args.pieces} pieces, best of {args.turns} turns\n")
    print(f"{'choice':44}{'ours, ms':>10}{'other, ms':>11}{'ratio':>7}  ours is")
    for name in args.precision.split(","):
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
        for what, (ours, other) in choices(args.rows, args.pieces, dtype).items():
            first, second = best(ours, other, args.turns)
            ratio = second / first
            right = "right" if ratio >= 1.0 else "about even" if ratio > 0.9 else "WRONG here"
            print(f"{name + ' ' + what:44}{1e3 * first:10.2f}{1e3 * second:11.2f}{ratio:7.2f}  {right}", flush=True)


def best(ours: Work, other: Work, turns: int) -> tuple[float, float]:
    """Seconds of the fastest turn of each."""
    found = [float("inf"), float("inf")]
    ours(), other()
    for _ in range(turns):
        for i, work in enumerate((ours, other)):
            start = time.perf_counter()
            work()
            found[i] = min(found[i], time.perf_counter() - start)
    return found[0], found[1]


def choices(n_rows: int, n_pieces: int, dtype: Any) -> dict[str, tuple[Work, Work]]:
    """What is compared: ours, the other."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from spacy_transfer.nn.devices import cpu_kernels as kernels

    torch.manual_seed(0)
    shape = (n_rows, HEADS, n_pieces, WIDTH // HEADS)
    query, key, value = (torch.randn(shape, dtype=dtype) for _ in range(3))
    leaves = [part.clone().requires_grad_() for part in (query, key, value)]
    mask = torch.ones(n_rows, 1, 1, n_pieces, dtype=torch.bool).expand(-1, -1, n_pieces, -1)
    states = torch.randn(n_rows, n_pieces, WIDTH, dtype=dtype, requires_grad=True)
    ids = torch.randint(0, VOCABULARY, (n_rows, n_pieces))
    table = torch.randn(VOCABULARY, WIDTH, requires_grad=True)

    def attention(ours: bool, rate: float) -> Work:
        def work() -> None:
            if ours:
                out = kernels.attention(*leaves, mask, rate, None)
            else:
                out = F.scaled_dot_product_attention(*leaves, attn_mask=mask, dropout_p=rate)
            out.sum().backward()

        return work

    def reading(ours: bool) -> Work:
        def work() -> None:
            with torch.no_grad():
                if ours:
                    kernels._attention_in_parts(query, key, value, mask, None)
                else:
                    F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

        return work

    def embedding(sparse: bool) -> Work:
        def work() -> None:
            F.embedding(ids, table, sparse=sparse).sum().backward()
            # What a step does with it: all gradients are summed before the optimizer reads them.
            assert table.grad is not None
            table.grad = None

        return work

    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True)
    layer = layer.to(dtype).eval()
    many = torch.randn(128, n_pieces, WIDTH, dtype=dtype)

    def budget(pieces: int) -> Work:
        def work() -> None:
            with torch.no_grad():
                for part in many.split(max(1, pieces // n_pieces)):
                    layer(part)

        return work

    # In fp32 torch's own kernel predicts; in bf16 ours does.
    predicts_itself = dtype == torch.bfloat16
    return {
        "attention with dropout, learning": (attention(True, 0.1), attention(False, 0.1)),
        "attention without dropout, learning": (attention(True, 0.0), attention(False, 0.0)),
        "attention, predicting": (reading(predicts_itself), reading(not predicts_itself)),
        "dropout of states, learning": (
            lambda: kernels.dropout(states, 0.1).sum().backward(), lambda: F.dropout(states, 0.1).sum().backward(),
        ),
        "gradient of embeddings, sparse": (embedding(True), embedding(False)),
        "4,096 pieces at a time against 1,024": (budget(4096), budget(1024)),
        "4,096 pieces at a time against 16,384": (budget(4096), budget(16_384)),
    }  # fmt: skip


if __name__ == "__main__":
    main()
