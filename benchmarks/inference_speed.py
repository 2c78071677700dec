"""Prediction speed against spaCy + spacy-transformers, the HF pipeline and sentence-transformers, and against the bare
network: the same pieces in the same micro-batches, tensors made beforehand, through torch alone.

    python benchmarks/inference_speed.py --data FILE.jsonl [--encoder FOLDER] [--texts 1200] [--runs 5] [--gpu 0]
        [--json FILE]

FILE holds {"text"} lines. Every run of every contestant is a process of its own on the same texts and encoder, one
after the other in turns; a ratio is taken within a turn, and median and spread are over turns. Each contestant first
warms up and tries the batch sizes 32, 128 and 512 on a part of the texts, then classifies all of them once, timed, with
the best. Loading is left out on all sides. Heads are untrained: that changes no arithmetic.

What differs: a few texts tell whether HF's pipeline and sentence-transformers run in fp32 or in bf16; ours takes the
precision that "auto" measures. sentence-transformers encodes only, its head (one product) is left out. All truncate at
256 pieces; ours reads longer texts by windows, so the texts are cut to 200 words for all. --gpu 0 runs all of them on
that GPU.

Needs: pip install 'spacy-transfer[demo]'
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train_speed import default_encoder, in_process, machine, row, take_gpu, wait

LABELS = ["a", "b", "c", "d"]
BATCH_SIZES = (32, 128, 512)
BARE = "its bare network"
PEERS = {
    "spaCy + spacy-transformers": ["spacy"],
    "HF pipeline, its best precision": ["hf-fp32", "hf-bf16"],
    "sentence-transformers, its best precision": ["st-fp32", "st-bf16"],
    BARE: ["bare"],
}
# What must be reached: against spaCy's own stack, and against the faster of the other two.
MUST = {"spaCy + spacy-transformers": 1.7, "best of the other two": 1.3, BARE: 0.95}


def main() -> None:
    """Run all contestants in turns and print the table."""
    args = arguments()
    if args.worker:
        print("RESULT " + json.dumps(work(args.worker, args)))
        return
    turns: list[dict[str, dict[str, Any]]] = []
    peers = {against: best_of(names, args) for against, names in PEERS.items()}
    for run in range(args.runs):
        turns.append({})
        for name in ["ours", *peers.values()]:
            found = turns[-1][name] = in_process(__file__, name, args)
            print(f"turn {run + 1}  {name:9} {found['docs_per_second']:8.1f} docs/s, batches of {found['batch_size']}"
                  f"  {found.get('precision', '')}", flush=True)  # fmt: skip
    rows = summary(turns, peers)
    import torch

    print(f"\n{machine(args.gpu)}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"{args.data}, {args.texts} texts")
    for found in rows:
        print(f"{found['work']:32} | {found['against']:44} | {found['ratio']:6.2f}  "
              f"({found['low']:.2f} to {found['high']:.2f})  must {found['must']:g}")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--texts", type=int, default=1200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--gpu", type=int, default=-1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.encoder = args.encoder or default_encoder()
    return args


def best_of(names: Sequence[str], args: argparse.Namespace) -> str:
    """The fastest of a peer's precisions on this machine, by a few texts."""
    if len(names) == 1:
        return names[0]
    few = argparse.Namespace(**{**vars(args), "texts": 64})
    speeds = {name: in_process(__file__, name, few)["docs_per_second"] for name in names}
    print("64 texts: " + ", ".join(f"{name} {speed:.1f} docs/s" for name, speed in speeds.items()), flush=True)
    return max(speeds, key=lambda name: speeds[name])


def summary(turns: Sequence[dict[str, dict[str, Any]]], peers: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of the table: median, lowest and highest ratio over turns.

    peers (dict): By what is compared with, the contestant.
    """
    ways = {against: [name] for against, name in peers.items()}
    ways["best of the other two"] = [
        name for against, name in peers.items() if "spaCy" not in against and against != BARE
    ]
    rows = []
    for against, names in ways.items():
        ratios = [
            turn["ours"]["docs_per_second"] / max(turn[name]["docs_per_second"] for name in names) for turn in turns
        ]
        rows.append(row("default pipeline, nlp.pipe", against, ratios, MUST.get(against, 0.0)))
    return rows


# ---- one contestant, in its own process ------------------------------------------------------------------------------


def work(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Classify with one contestant and measure."""
    take_gpu(args.gpu)
    rows = [json.loads(line) for line in args.data.read_text("utf-8").splitlines() if line.strip()]
    texts = [" ".join(row["text"].split()[:200]) for row in rows][: args.texts]
    kind, _, what = name.partition("-")
    classify, more = {
        "ours": ours,
        "spacy": stock_spacy,
        "hf": hf_pipeline,
        "st": sentences,
        "bare": bare_network,
    }[kind](what, args)
    part = texts[: max(64, len(texts) // 4)]
    prepare = more.pop("prepare", lambda texts, size: None)
    prepare(part[:32], 32)
    classify(part[:32], 32)
    times = {}
    for size in BATCH_SIZES:
        prepare(part, size)
        begin = time.perf_counter()
        classify(part, size)
        wait(args.gpu)
        times[size] = time.perf_counter() - begin
    size = min(times, key=lambda size: times[size])
    prepare(texts, size)
    begin = time.perf_counter()
    classify(texts, size)
    wait(args.gpu)
    seconds = time.perf_counter() - begin
    return {"docs_per_second": len(texts) / seconds, "batch_size": size, **more}


Classify = Callable[[Sequence[str], int], object]


def ours(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """This package's default pipeline."""
    nlp = our_pipeline(args)
    precision = str(nlp.get_pipe("transfer_textcat").model.shims[0].precision)
    return lambda texts, size: list(nlp.pipe(texts, batch_size=size)), {"precision": precision}


def our_pipeline(args: argparse.Namespace) -> Any:
    """With an untrained head."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat", config={"model": {"encoder": {"name": str(args.encoder)}}})
    cats = [{label: float(label == one) for label in LABELS} for one in LABELS]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a text"), {"cats": one}) for one in cats])
    return nlp


def bare_network(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """The network of our pipeline without anything around it."""
    import torch

    from spacy_transfer.model.text.batching import collate, micro_batches

    nlp = our_pipeline(args)
    shim = nlp.get_pipe("transfer_textcat").model.shims[0]
    network, budget = shim.network, shim.room.on(shim.device)
    network.eval()
    body, low = network.encoder.body, network.precision != torch.float32
    batches: list[Any] = []

    def prepare(texts: Sequence[str], size: int) -> None:
        batches.clear()
        for begin in range(0, len(texts), size):
            documents = shim.reader.read(texts[begin : begin + size], remember=False)
            for group in micro_batches(documents, budget, network.device.type):
                chosen = [documents[i] for i in group]
                batches.append(collate(chosen, network.encoder.pad_id, network.device, network.max_pieces))

    def classify(texts: Sequence[str], size: int) -> object:
        with torch.inference_mode(), torch.autocast(network.device.type, dtype=torch.bfloat16, enabled=low):
            scores = []
            for batch in batches:
                states = body(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state.float()
                sums = (states * batch.mask.unsqueeze(2)).sum(dim=1) / batch.mask.sum(dim=1, keepdim=True)
                vectors = sums.new_zeros(batch.n_docs, sums.shape[1]).index_add(0, batch.owner, sums)
                scores.append(torch.softmax(network.head.output(vectors), dim=1))
            return torch.cat(scores).cpu()

    return classify, {"precision": str(shim.precision), "prepare": prepare}


def stock_spacy(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """textcat + spacy-transformers as `spacy init config` sets it up."""
    from spacy.cli.init_config import init_config
    from spacy.training import Example
    from spacy.util import load_model_from_config

    config = init_config(lang="en", pipeline=["textcat"], optimize="accuracy", gpu=True, pretraining=False)
    config["components"]["transformer"]["model"]["name"] = str(args.encoder)
    nlp = load_model_from_config(config, auto_fill=True)
    cats = [{label: float(label == one) for label in LABELS} for one in LABELS]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a text"), {"cats": one}) for one in cats])
    return lambda texts, size: list(nlp.pipe(texts, batch_size=size)), {}


def device_of(args: argparse.Namespace) -> str:
    """As torch names it."""
    return "cpu" if args.gpu < 0 else f"cuda:{args.gpu}"


def hf_pipeline(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """The text-classification pipeline of transformers. what (str): Its precision."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[what]
    model = AutoModelForSequenceClassification.from_pretrained(args.encoder, num_labels=4, torch_dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(args.encoder)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, device=device_of(args), torch_dtype=dtype)

    def classify(texts: Sequence[str], size: int) -> object:
        return pipe(list(texts), batch_size=size, truncation=True, max_length=256, top_k=None)

    return classify, {"precision": what}


def sentences(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """`encode` of sentence-transformers, which sorts by length. what (str): Its precision."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(args.encoder), device=device_of(args))
    model.max_seq_length = 256
    if what == "bf16":
        model = model.to(torch.bfloat16)

    def classify(texts: Sequence[str], size: int) -> object:
        return model.encode(list(texts), batch_size=size, show_progress_bar=False, convert_to_tensor=True)

    return classify, {"precision": what}


if __name__ == "__main__":
    main()
