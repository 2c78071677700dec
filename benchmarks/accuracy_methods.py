"""Trains and tests one method for accuracy.py, perhaps in another environment: it imports what its method needs alone.

    python accuracy_methods.py METHOD FOLDER --encoder ENCODER --seed 0 --shots 8

FOLDER has train.jsonl and test.jsonl. The last line printed is a JSON object: accuracy, seconds of training (what is
read from disk included) by the clock and of all processors, and what else the method says.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Passes over the texts for spaCy and the Trainer of transformers: as many as few texts need, for both the same.
EPOCHS = {"8": 40, "64": 15, "full": 5}
RATE, WARMUP, BATCH = 5e-5, 0.1, 16
Row = dict[str, str]
# What it takes the test texts for, what the training took, and what else it says.
Outcome = tuple[list[str], dict[str, float], dict[str, Any]]


def main() -> None:
    """Run a method and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=sorted(METHODS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", default="8")
    parser.add_argument("--gpu-id", type=int, default=-1, help="-1 for the CPU; peers take a GPU if there is one")
    parser.add_argument("--budget")
    args = parser.parse_args()
    train, test = (
        [json.loads(line) for line in (args.folder / f"{part}.jsonl").read_text("utf-8").splitlines()]
        for part in ("train", "test")
    )
    predicted, took, more = METHODS[args.method](args, train, test)
    right = sum(own == row["label"] for own, row in zip(predicted, test, strict=True))
    print(json.dumps({"accuracy": right / len(test), **took, **more}))


def ours(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """What the project does that `spacy transfer init` writes."""
    import spacy
    import srsly

    from spacy_transfer.training.device import use_device

    begin = _clock()
    project = args.folder / "project"
    command = [sys.executable, "-m", "spacy"]
    data = [str(args.folder / f"{part}.jsonl") for part in ("train", "test")]
    more = ["--budget", args.budget] if args.budget else []
    more += ["--encoder", args.encoder, "--seed", str(args.seed), "--gpu-id", str(args.gpu_id)]
    init = ["transfer", "init", *data, str(project), *more]
    subprocess.run([*command, *init], check=True, stdout=sys.stderr)
    for step in ("convert", "train"):
        subprocess.run([*command, "project", "run", step, str(project)], check=True, stdout=sys.stderr)
    took = _since(begin)
    steps = (project / "project.yml").read_text("utf-8")
    (trained,) = (one for one in ("model-best", "model-last") if f"training/{one}" in steps)
    use_device(args.gpu_id)
    nlp = spacy.load(project / "training" / trained)
    chosen = [max(doc.cats, key=doc.cats.__getitem__) for doc in nlp.pipe(row["text"] for row in test)]
    made = srsly.read_json(project / "init.json")
    compared = {one["name"]: round(one["score"], 4) for one in made["compared"]}
    return chosen, took, {"recipe": made["recipe"], "compared": compared}


def probe(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """Logistic regression on the vectors of the frozen encoder."""
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    warnings.filterwarnings("ignore")
    begin = _clock()
    encode = _encoder(args.encoder, args.gpu_id)
    folds = StratifiedKFold(4, shuffle=True, random_state=args.seed)
    grid = GridSearchCV(LogisticRegression(max_iter=2000), {"C": [0.1, 1.0, 10.0, 100.0]}, cv=folds)
    grid.fit(encode([row["text"] for row in train]), [row["label"] for row in train])
    took = _since(begin)
    return list(grid.predict(encode([row["text"] for row in test]))), took, {"C": grid.best_params_["C"]}


def spacy_textcat(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """The textcat of spaCy on a transformer of spacy-transformers, trained at 5e-5 with a tenth of warm-up."""
    import spacy
    from spacy.training import Example
    from thinc.api import Adam, fix_random_seed, warmup_linear

    if args.gpu_id >= 0:
        spacy.require_gpu(args.gpu_id)
    fix_random_seed(args.seed)
    begin = _clock()
    nlp = spacy.blank("en")
    transformer = {
        "@architectures": "spacy-transformers.TransformerModel.v3", "name": _folder(args.encoder),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96},
        "tokenizer_config": {"use_fast": True},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": transformer})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0, "upstream": "*",
        "pooling": {"@layers": "reduce_mean.v1"},
    }  # fmt: skip
    linear = {"@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": True, "ngram_size": 1}
    model = {"@architectures": "spacy.TextCatEnsemble.v2", "tok2vec": listener, "linear_model": linear}
    nlp.add_pipe("textcat", config={"model": model})
    labels = sorted({row["label"] for row in train})
    examples = [
        Example.from_dict(
            nlp.make_doc(row["text"]), {"cats": {label: float(label == row["label"]) for label in labels}}
        )
        for row in train
    ]
    nlp.initialize(lambda: examples)
    epochs, chance = EPOCHS.get(args.shots, 15), random.Random(args.seed)
    n_steps = epochs * -(-len(examples) // BATCH)
    optimizer = Adam(warmup_linear(RATE, int(n_steps * WARMUP), n_steps + 1), L2=0.01, L2_is_weight_decay=True)
    for _ in range(epochs):
        chance.shuffle(examples)
        for start in range(0, len(examples), BATCH):
            nlp.update(examples[start : start + BATCH], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()
    took = _since(begin)
    chosen = [max(doc.cats, key=doc.cats.__getitem__) for doc in nlp.pipe(row["text"] for row in test)]
    return chosen, took, {"epochs": epochs}


def hf(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """The Trainer of transformers on a sequence classifier, at 5e-5 with a tenth of warm-up."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(args.seed)
    begin = _clock()
    labels = sorted({row["label"] for row in train})
    name = _folder(args.encoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name, num_labels=len(labels))

    def read(rows: list[Row], *, labeled: bool) -> list[dict[str, Any]]:
        """Pieces of texts, and the number of the label of each."""
        pieces = tokenizer([row["text"] for row in rows], truncation=True, max_length=256)["input_ids"]
        if not labeled:
            return [{"input_ids": ids} for ids in pieces]
        return [{"input_ids": ids, "labels": labels.index(row["label"])} for ids, row in zip(pieces, rows, strict=True)]

    epochs = EPOCHS.get(args.shots, 15)
    options = transformers.TrainingArguments(
        str(args.folder / "hf"), num_train_epochs=epochs, learning_rate=RATE, warmup_ratio=WARMUP, seed=args.seed,
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=64, save_strategy="no", report_to=[],
        disable_tqdm=True, logging_strategy="no", use_cpu=args.gpu_id < 0,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model, options, train_dataset=read(train, labeled=True),
        data_collator=transformers.DataCollatorWithPadding(tokenizer), processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    took = _since(begin)
    logits = trainer.predict(read(test, labeled=False)).predictions
    return [labels[i] for i in logits.argmax(axis=1)], took, {"epochs": epochs}


# ---- in environments of their own ------------------------------------------------------------------------------


def setfit(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """SetFit with the settings of its quick start."""
    import datasets
    import setfit as library

    begin = _clock()
    labels = sorted({row["label"] for row in train})
    model = library.SetFitModel.from_pretrained(_folder(args.encoder), labels=labels)
    options = library.TrainingArguments(
        batch_size=16, num_epochs=1, seed=args.seed, output_dir=str(args.folder / "setfit"), report_to="none"
    )
    trainer = library.Trainer(model=model, args=options, train_dataset=datasets.Dataset.from_list(train))
    trainer.train()
    took = _since(begin)
    return [str(one) for one in model.predict([row["text"] for row in test])], took, {}


def fastfit(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """FastFit with the settings of its README."""
    import datasets
    import torch
    import transformers

    # A script that it fetches from the network, gone from datasets 3 on; nothing is chosen by it.
    datasets.load_metric = lambda *_, **__: None
    import fastfit.train as library

    begin = _clock()
    parts = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list(train), "validation": datasets.Dataset.from_list(train),
            "test": datasets.Dataset.from_list(test),
        }
    )  # fmt: skip
    trainer = library.FastFitTrainer(
        model_name_or_path=_folder(args.encoder), label_column_name="label", text_column_name="text",
        num_train_epochs=40, per_device_train_batch_size=32, per_device_eval_batch_size=64, max_text_length=128,
        dataloader_drop_last=False, num_repeats=4, optim="adafactor", clf_loss_factor=0.1, fp16=False, dataset=parts,
        seed=args.seed, output_dir=str(args.folder / "fastfit"), report_to="none", save_strategy="no",
    )  # fmt: skip
    model = trainer.train().eval()
    took = _since(begin)
    # Its `export_model` fails with newer versions of transformers; this is what the exported model computes.
    tokenizer = transformers.AutoTokenizer.from_pretrained(_folder(args.encoder))
    found: list[str] = []
    for start in range(0, len(test), 64):
        texts = [row["text"] for row in test[start : start + 64]]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt").to(model.device)
        with torch.no_grad():
            scores = model.inference_forward(batch["input_ids"], batch["attention_mask"])
        found += [trainer.labels[i] for i in scores.argmax(dim=-1)]
    return found, took, {}


def model2vec(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """The classifier of Model2Vec on vectors that it distills from the encoder."""
    from model2vec.distill import distill
    from model2vec.train import StaticModelForClassification

    begin = _clock()
    static = distill(_folder(args.encoder))
    classifier = StaticModelForClassification.from_static_model(model=static)
    texts, labels = [row["text"] for row in train], [row["label"] for row in train]
    # Of few texts it cannot hold out a tenth with each label: it stops on those that it learns from, as FastFit does.
    held: dict[str, Any] = {"X_val": texts, "y_val": labels} if args.shots != "full" else {}
    classifier.fit(texts, labels, **held)
    took = _since(begin)
    return [str(one) for one in classifier.predict([row["text"] for row in test])], took, {}


def autointent(args: argparse.Namespace, train: list[Row], test: list[Row]) -> Outcome:
    """AutoIntent's light preset."""
    import autointent as library

    begin = _clock()
    labels = sorted({row["label"] for row in train})
    rows = [{"utterance": row["text"], "label": labels.index(row["label"])} for row in train]
    data = library.Dataset.from_dict({"train": rows})
    tuned = library.Pipeline.from_preset("classic-light")
    tuned.set_config(library.configs.SentenceTransformerEmbeddingConfig(model_name=_folder(args.encoder)))
    tuned.fit(data)
    took = _since(begin)
    return [labels[i] for i in tuned.predict([row["text"] for row in test])], took, {}


# ---- time -------------------------------------------------------------------------------------------------------


def _clock() -> tuple[float, float]:
    """Seconds by the clock, and those of processors, of ended children too: what other programs run moves them less."""
    times = os.times()
    return time.perf_counter(), times.user + times.system + times.children_user + times.children_system


def _since(begin: tuple[float, float]) -> dict[str, float]:
    """What passed since then."""
    seconds, cpu = (now - before for now, before in zip(_clock(), begin, strict=True))
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


# ---- the encoder ---------------------------------------------------------------------------------------------


def _folder(encoder: str) -> str:
    """Where its files are, if our package is installed and knows: other environments are given a folder."""
    try:
        from spacy_transfer.repository.resolve import find_encoder
    except ImportError:
        return encoder
    return str(find_encoder(encoder, None, download=False).folder)


def _encoder(encoder: str, gpu_id: int) -> Any:
    """Texts to normalized means of their states."""
    import torch
    import transformers

    name = _folder(encoder)
    device = torch.device("cuda", gpu_id) if gpu_id >= 0 else torch.device("cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = transformers.AutoModel.from_pretrained(name).to(device)

    @torch.no_grad()
    def encode(texts: list[str]) -> Any:
        """Vectors, (n_texts, width)."""
        found = []
        for start in range(0, len(texts), 64):
            some = texts[start : start + 64]
            batch = tokenizer(some, padding=True, truncation=True, max_length=256, return_tensors="pt").to(device)
            mask = batch["attention_mask"][..., None]
            states = model(**batch).last_hidden_state
            found.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1))
        return torch.cat(found).cpu().numpy()

    return encode


METHODS = {
    "ours": ours, "probe": probe, "spacy": spacy_textcat, "hf": hf, "setfit": setfit, "fastfit": fastfit,
    "model2vec": model2vec, "autointent": autointent,
}  # fmt: skip

if __name__ == "__main__":
    main()
