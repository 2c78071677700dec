"""Resident memory of a long prediction over distinct texts: it must stay flat.

    python benchmarks/memory.py [--texts 50000] [--precision fp32] [--encoder NAME] [--tiny] [--batch-size 256]

Distinct short texts of many lengths go through `nlp.pipe` in one process; resident memory is printed ten times. oneDNN
keeps memory for every new shape of a bf16 product: with shapes as they come, 50,000 texts cost 1 GB. --tiny takes a
random BERT of width 64 in place of all-MiniLM-L6-v2, for a quick look.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MODEL = "transfer_textcat"
WORDS = (
    "the", "card", "login", "money", "refund", "order", "bill", "late", "broken", "password", "screen", "price", "box",
    "lost", "twice", "please", "thanks",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main() -> None:
    """Predict and print."""
    args = arguments()
    import torch

    from spacy_transfer.nn.devices.machine import describe_machine

    machine = describe_machine(torch.device("cpu"))
    print(
        f"{machine['model']} ({', '.join(machine['flags'])}), {machine['threads']} threads, torch {torch.__version__}"
    )
    with TemporaryDirectory() as folder:
        nlp = pipeline(tiny_encoder(Path(folder)) if args.tiny else args.encoder, args.precision)
        network = nlp.get_pipe(MODEL).model.shims[0].network
        loaded = resident()
        print(f"precision {network.precision}, {loaded:.0f} MiB after loading", flush=True)
        start, seen = time.perf_counter(), []
        for n, _ in enumerate(nlp.pipe(texts(args.texts), batch_size=args.batch_size), start=1):
            if n % max(1, args.texts // 10) == 0:
                seen.append(resident())
                rate = n / (time.perf_counter() - start)
                print(f"{n:8,} texts  {seen[-1]:7.0f} MiB  {rate:6.0f} texts/s", flush=True)
        growth = seen[-1] - seen[len(seen) // 2 - 1]
        print(f"second half: {growth:+.0f} MiB; at most 5 % of {seen[-1]:.0f} MiB: {growth <= 0.05 * seen[-1]}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--precision", default="fp32", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch-size", type=int, default=256)
    return parser.parse_args()


def pipeline(encoder: str, precision: str) -> Any:
    """An initialized pipeline; what it predicts does not matter."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    model = {"encoder": {"name": encoder, "revision": None}, "precision": precision}
    nlp.add_pipe(MODEL, config={"model": model})
    made = [nlp.make_doc("the card"), nlp.make_doc("a bill")]
    examples = [Example.from_dict(doc, {"cats": {"a": 1.0 - i, "b": float(i)}}) for i, doc in enumerate(made)]
    nlp.initialize(lambda: examples)
    return nlp


def texts(n: int) -> Iterator[str]:
    """Distinct texts of 3 to 60 words."""
    rng = random.Random(0)
    for i in range(n):
        words = [rng.choice(WORDS) for _ in range(rng.randint(2, 59))]
        yield " ".join([*words, "".join(LETTERS[int(digit)] for digit in str(i))])


def resident() -> float:
    """MiB of this process in memory."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def tiny_encoder(folder: Path) -> str:
    """A random BERT of two layers, with letters as pieces."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


if __name__ == "__main__":
    main()
