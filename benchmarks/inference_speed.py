"""Prediction speed against spaCy + spacy-transformers, the HF pipeline and sentence-transformers, and against the bare
network: the same pieces in the same micro-batches, tensors made beforehand, through torch alone.

    python benchmarks/inference_speed.py --data FILE.jsonl [--encoder FOLDER] [--texts 1200] [--runs 5] [--gpu 0]
        [--json FILE]

FILE holds {"text", "label"} lines. Every run of every contestant is a process of its own on the same texts and encoder,
one after the other in turns; a ratio is taken within a turn, and median and spread are over turns. Each contestant
first warms up and tries the batch sizes 32, 128 and 512 on a part of the texts, then classifies all of them once,
timed, with the best. Loading is left out on all sides. Heads are untrained: that changes no arithmetic.

The exported pipelines (on the CPU alone) are made first: a linear probe on the texts after those that are timed, then
`spacy transfer export` with texts that neither has seen, which also tells what accuracy int8 costs. The first text is
timed from the start of Python on, in a process that imports spaCy, loads a pipeline and classifies one text; for the
exported one also in a process that cannot import torch and transformers, as where they are not installed.

What differs: a few texts tell whether HF's pipeline and sentence-transformers run in fp32 or in bf16; ours takes the
precision that "auto" measures. sentence-transformers encodes only, its head (one product) is left out. All truncate at
256 pieces; ours reads longer texts by windows, so the texts are cut to 200 words for all. --gpu 0 runs all of them on
that GPU.

Needs: pip install 'spacy-transfer[demo,onnx]'
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train_speed import arithmetic, default_encoder, in_process, machine, matrix_peak, row, take_gpu, wait

LABELS = ["a", "b", "c", "d"]
BATCH_SIZES = (32, 128, 512)
BARE = "its bare network"
PEERS = {
    "spaCy + spacy-transformers": ["spacy"],
    "HF pipeline, its best precision": ["hf-fp32", "hf-bf16"],
    "sentence-transformers, its best precision": ["st-fp32", "st-bf16"],
    BARE: ["bare"],
}
STOCK, OTHERS = "spaCy + spacy-transformers", "HF pipeline; sentence-transformers encode + head"
EXPORTED = ["onnx-fp32", "onnx-int8"]
# Documents to fit the head on, and to calibrate and measure int8 on.
N_FITTED, N_MEASURED = 1000, 1000
FIRST = """
import sys
if sys.argv[2]:
    class NotInstalled:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in sys.argv[2].split(","):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, NotInstalled())
    import catalogue
    class Points:
        every = catalogue.AVAILABLE_ENTRY_POINTS
        def select(self, **group):
            return [one for one in self.every.select(**group) if "spacy_transformers" not in one.value]
    catalogue.AVAILABLE_ENTRY_POINTS = Points()
import spacy
print(len(spacy.load(sys.argv[1])("Where is my parcel?").cats))
"""


def main() -> None:
    """Run all contestants in turns and print the table."""
    args = arguments()
    if args.worker:
        print("RESULT " + json.dumps(work(args.worker, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = compete(args, Path(folder))
    import torch

    print(f"\n{machine(args.gpu)}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"{args.data}, {args.texts} texts")
    for found in rows:
        print(f"{found['work']:32} | {found['against']:44} | {found['ratio']:6.2f}  "
              f"({found['low']:.2f} to {found['high']:.2f})  must {found['must']:g}")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


def compete(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all contestants in turns. RETURNS (list): The rows of the table.

    folder (Path): For the pipelines that are made.
    """
    turns: list[dict[str, dict[str, Any]]] = []
    peers = {against: best_of(names, args) for against, names in PEERS.items()}
    exported = EXPORTED if args.gpu < 0 else []
    loss = 0.0
    if exported:
        made = in_process(__file__, "make", args, "--made", folder)
        loss = made["loss"]
        print(f"exported int8: {made['chosen']}, accuracy {made['before']:.4f} before and {made['after']:.4f} after, "
              f"{made['megabytes']:.1f} MB", flush=True)  # fmt: skip
    for run in range(args.runs):
        turns.append({})
        for name in ["ours", *exported, *peers.values()]:
            found = turns[-1][name] = in_process(__file__, name, args, "--made", folder)
            share = f", {found['peak_share']:.0%} of the peak" if "peak_share" in found else ""
            print(f"turn {run + 1}  {name:9} {found['docs_per_second']:8.1f} docs/s, batches of {found['batch_size']}"
                  f"  {found.get('precision', '')}{share}", flush=True)  # fmt: skip
        if exported:
            turns[-1]["first"] = {
                "stock": first_text(folder / "stock"), "here": first_text(folder / "onnx-int8"),
                "alone": first_text(folder / "onnx-int8", "torch,transformers,spacy_transformers"),
            }  # fmt: skip
            print(f"turn {run + 1}  first text: " + ", ".join(f"{k} {v:.1f} s" for k, v in turns[-1]["first"].items()),
                  flush=True)  # fmt: skip
    return summary(turns, peers, loss if exported else None)


def first_text(pipeline: Path, without: str = "") -> float:
    """Seconds from the start of Python to the scores of a first text, in a process of its own.

    without (str): Packages that cannot be imported.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST, str(pipeline), without], check=True, env=environment,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - begin


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
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)
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


def summary(
    turns: Sequence[dict[str, dict[str, Any]]], peers: dict[str, str], loss: float | None
) -> list[dict[str, Any]]:
    """The rows of the table: median, lowest and highest ratio over turns.

    peers (dict): By what is compared with, the contestant.
    loss (float | None): Of accuracy, by int8; None where nothing was exported.
    """
    others = [name for against, name in peers.items() if against not in (STOCK, BARE)]

    def speeds(name: str, *against: str) -> list[float]:
        return [turn[name]["docs_per_second"] / max(turn[one]["docs_per_second"] for one in against) for turn in turns]

    rows = [row("default pipeline, nlp.pipe", STOCK, speeds("ours", peers[STOCK]), 1.9),
            row("default pipeline", OTHERS, speeds("ours", *others), 1.4)]  # fmt: skip
    if loss is not None:
        # A faster one that has lost too much counts for nothing.
        good = 1.0 if loss <= 0.005 else 0.0
        int8 = [good * ratio for ratio in speeds("onnx-int8", "ours")]
        rows.append(row(f"exported int8, accuracy loss {loss:.4f}", "our own best precision on torch", int8, 1.5))
        rows.append(row("exported int8", STOCK, [good * r for r in speeds("onnx-int8", peers[STOCK])], 3.2))
    if "peak_share" in turns[0]["ours"]:
        rows.append(row("default pipeline, share of the matrix peak", "peak of the same run and precision",
                        [turn["ours"]["peak_share"] for turn in turns], 0.6))  # fmt: skip
    if loss is not None:
        for what, how in (("alone", "torch not installed"), ("here", "torch installed")):
            sooner = [turn["first"]["stock"] / turn["first"][what] for turn in turns]
            rows.append(row(f"import + load + first text, exported, {how}", STOCK, sooner, 3 if what == "alone" else 0))
        rows.append(row("exported fp32", "our own best precision on torch", speeds("onnx-fp32", "ours"), 0))
    rows.append(row("default pipeline", BARE, speeds("ours", peers[BARE]), 0.95))
    rows += [row("default pipeline", against, speeds("ours", name), 0) for against, name in peers.items()
             if against not in (STOCK, BARE)]  # fmt: skip
    return rows


# ---- one contestant, in its own process ------------------------------------------------------------------------------


def work(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Classify with one contestant and measure."""
    take_gpu(args.gpu)
    rows = [json.loads(line) for line in args.data.read_text("utf-8").splitlines() if line.strip()]
    for one in rows:
        one["text"] = " ".join(one["text"].split()[:200])
    if name == "make":
        return make(rows[args.texts :] or rows, args)
    texts = [row["text"] for row in rows][: args.texts]
    kind, _, what = name.partition("-")
    contestants = {
        "ours": ours, "spacy": stock_spacy, "hf": hf_pipeline, "st": sentences, "bare": bare_network, "onnx": exported,
    }  # fmt: skip
    classify, more = contestants[kind](what, args)
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
    if kind == "ours" and args.gpu < 0:
        # `arithmetic` counts a backward pass too, twice as much as the forward pass.
        gflop = arithmetic([{"text": text} for text in texts], args.encoder) / 3
        peak = matrix_peak({"torch.bfloat16": "bf16"}.get(more["precision"], "fp32"))
        more = {**more, "peak_share": gflop / seconds / peak}
    return {"docs_per_second": len(texts) / seconds, "batch_size": size, **more}


def make(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Fit a head, export, and save the pipelines whose start is timed."""
    import spacy
    from spacy.tokens import DocBin
    from spacy.training import Example

    from spacy_transfer import export

    nlp = spacy.blank("en")
    probe = {"@misc": "spacy-transfer.LinearProbe.v1"}
    model = {"encoder": {"name": str(args.encoder)}, "head_init": probe, "tuning": {"frozen_depth": "all"}}
    nlp.add_pipe("transfer_textcat", config={"model": model})
    labels = sorted({row["label"] for row in rows})
    docs = []
    for one in rows[: N_FITTED + N_MEASURED]:
        docs.append(nlp.make_doc(one["text"]))
        docs[-1].cats = {label: float(label == one["label"]) for label in labels}
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs[:N_FITTED]])
    nlp.to_disk(args.made / "torch")
    DocBin(docs=docs[N_FITTED:]).to_disk(args.made / "measured.spacy")
    export(args.made / "torch", args.made / "onnx-fp32")
    done = export(args.made / "torch", args.made / "onnx-int8", precision="int8", data=args.made / "measured.spacy",
                  max_loss=1.0)  # fmt: skip
    stock_nlp(args).to_disk(args.made / "stock")
    (report,) = done.reports.values()
    before = report.variants[0].accuracy
    kept = next(one for one in report.variants if one.name == report.chosen)
    return {"chosen": kept.name, "before": before, "after": kept.accuracy, "loss": before - kept.accuracy,
            "megabytes": kept.megabytes}  # fmt: skip


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

    from spacy_transfer.model.text.batching import micro_batches
    from spacy_transfer.model.text.collating import collate

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


def exported(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """An exported pipeline. what (str): Its precision."""
    import spacy

    nlp = spacy.load(args.made / f"onnx-{what}")
    return lambda texts, size: list(nlp.pipe(texts, batch_size=size)), {"precision": what}


def stock_spacy(what: str, args: argparse.Namespace) -> tuple[Classify, dict[str, Any]]:
    """textcat + spacy-transformers as `spacy init config` sets it up."""
    nlp = stock_nlp(args)
    return lambda texts, size: list(nlp.pipe(texts, batch_size=size)), {}


def stock_nlp(args: argparse.Namespace) -> Any:
    """Its pipeline."""
    from spacy.cli.init_config import init_config
    from spacy.training import Example
    from spacy.util import load_model_from_config

    config = init_config(lang="en", pipeline=["textcat"], optimize="accuracy", gpu=True, pretraining=False)
    config["components"]["transformer"]["model"]["name"] = str(args.encoder)
    nlp = load_model_from_config(config, auto_fill=True)
    cats = [{label: float(label == one) for label in LABELS} for one in LABELS]
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a text"), {"cats": one}) for one in cats])
    return nlp


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
