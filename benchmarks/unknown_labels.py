"""How well the confidence that `calibrate --train` fits tells texts with unknown labels: AUROC on BANKING77-OOS.

    python benchmarks/unknown_labels.py --data FOLDER [--work FOLDER]

The encoder stays frozen, and its head is the linear probe. Of train.jsonl every fifth text is dev. Nothing is fitted on
test.jsonl, nor on any text with an unknown label. `--leave-out 12` looks at train.jsonl alone: that many labels are
unknown, in three draws; so were the measures chosen.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import spacy
import torch
from spacy.training import Example

import spacy_transfer.pipeline.factories  # noqa: F401
from spacy_transfer.evaluation.temperature import find_temperature, log_odds_of, scores_of
from spacy_transfer.evaluation.unknown_labels import auroc, fit_confidence, fit_groups
from spacy_transfer.nn.heads.confidence import Confidence
from spacy_transfer.nn.losses.cross_entropy import CrossEntropy
from spacy_transfer.training.linear_probe import LinearProbe

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def vectors_of(texts: list[str], file: Path) -> np.ndarray:
    """Vectors of the frozen encoder, kept in a file."""
    if not file.exists():
        nlp = spacy.blank("xx")
        pipe = nlp.add_pipe("transfer_textcat", config={"model": {"encoder": {"name": ENCODER}}})
        examples = [Example.from_dict(nlp.make_doc(label), {"cats": {label: 1.0}}) for label in "ab"]
        nlp.initialize(lambda: examples)
        np.save(file, pipe.vectors([nlp.make_doc(text) for text in texts]))
    return np.load(file)


def measure(train: tuple, dev: tuple, known: np.ndarray, unknown: np.ndarray, labels: list[str]) -> dict[str, float]:
    """AUROC of the confidence and of each of its measures."""
    (x, y), (dev_x, dev_y) = train, dev
    column = {label: i for i, label in enumerate(labels)}
    eye = np.eye(len(labels), dtype=np.float32)
    targets = eye[[column[label] for label in y]]
    loss = CrossEntropy().build([1.0] * len(labels))
    weight, bias = LinearProbe().solve(
        torch.from_numpy(x), torch.from_numpy(targets), torch.ones(targets.shape), loss, exclusive=True,
        tuning_follows=False,
    )  # fmt: skip

    def logits(vectors: np.ndarray) -> np.ndarray:
        return vectors @ weight.numpy().T + bias.numpy()

    gold = eye[[column[label] for label in dev_y]]
    temperature = find_temperature(logits(dev_x).astype(np.float64), gold, np.ones_like(gold), exclusive=True)
    groups = fit_groups(x, targets > 0)

    def odds(vectors: np.ndarray) -> np.ndarray:
        return log_odds_of(scores_of(logits(vectors) / temperature, exclusive=True), exclusive=True)

    fit = fit_confidence(groups, dev_x, odds(dev_x))
    confidence = Confidence(len(labels), len(groups.prototypes), x.shape[1], exclusive=True)
    for name, value in vars(fit).items():
        getattr(confidence, name).copy_(torch.from_numpy(value))

    def sure(vectors: np.ndarray) -> np.ndarray:
        found = confidence(torch.from_numpy(vectors), torch.from_numpy(logits(vectors) / temperature))
        return found.double().numpy()

    return {
        "accuracy on dev": float((logits(dev_x).argmax(axis=1) == gold.argmax(axis=1)).mean()),
        "confidence": auroc(sure(known), sure(unknown)),
        "nearness alone": auroc(groups.nearness(known), groups.nearness(unknown)),
        "closeness alone": auroc(groups.closeness(known), groups.closeness(unknown)),
        "log odds alone": auroc(odds(known), odds(unknown)),
        "refused of known, 5 % wanted": float((sure(known) < np.quantile(sure(dev_x), 0.05)).mean()),
        "refused of unknown": float((sure(unknown) < np.quantile(sure(dev_x), 0.05)).mean()),
    }


def main() -> None:
    """Print a line for each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder banking77_oos with train.jsonl, test.jsonl")
    parser.add_argument("--work", type=Path, default=Path("unknown_labels"), help="Keeps vectors")
    parser.add_argument("--leave-out", type=int, default=0, help="Labels of train that count as unknown")
    options = parser.parse_args()
    options.work.mkdir(exist_ok=True)

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        rows = [json.loads(line) for line in (options.data / f"{part}.jsonl").read_text("utf-8").splitlines()]
        vectors = vectors_of([row["text"] for row in rows], options.work / f"{part}.npy")
        return vectors, np.array([row["label"] for row in rows])

    x, y = read("train")
    labels = sorted(set(y.tolist()))
    is_dev = np.arange(len(y)) % 5 == 0
    if not options.leave_out:
        test_x, test_y = read("test")
        is_known = np.isin(test_y, labels)
        found = measure((x[~is_dev], y[~is_dev]), (x[is_dev], y[is_dev]), test_x[is_known], test_x[~is_known], labels)
        print(f"test: {is_known.sum()} texts with known labels, {(~is_known).sum()} with others")
        print("\n".join(f"{name:30} {value:.4f}" for name, value in found.items()))
        return
    for draw in range(3):
        gone = set(np.random.default_rng(draw).choice(labels, options.leave_out, replace=False).tolist())
        kept = [label for label in labels if label not in gone]
        own = np.isin(y, kept)
        learned, held = own & ~is_dev, own & is_dev
        halves = np.flatnonzero(held)
        dev, known = halves[::2], halves[1::2]
        found = measure((x[learned], y[learned]), (x[dev], y[dev]), x[known], x[~own], kept)
        print(f"draw {draw}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
