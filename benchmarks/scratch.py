"""A Transformer from scratch against TF-IDF and logistic regression, on the same texts.

    python benchmarks/scratch.py [--data assets/support] [--seeds 0,1,2] [--config configs/scratch.cfg] [KEY=VALUE ...]

Trains configs/scratch.cfg with `spacy train` once per seed, on train.jsonl; dev.jsonl, or a tenth of train where there
is none, decides which of a run's evaluations is kept; test.jsonl is looked at once per seed. KEY=VALUE overrides the
config, as in `training.max_steps=500`. TF-IDF's n-grams and strength are chosen on the same dev part. Needs
scikit-learn (extra `test`).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from time import perf_counter

import spacy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from spacy.tokens import DocBin

from spacy_transfer.corpora.convert import convert
from spacy_transfer.evaluation.evaluate import evaluate

CONFIG = Path(__file__).parent.parent / "configs" / "scratch.cfg"


def main() -> None:
    """Print test accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("assets/support"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        splits = [args.data / f"{split}.jsonl" for split in ("train", "dev", "test")]
        there = [path for path in splits if path.is_file()]
        convert(there, corpus, dev_share=0.1 if len(there) == 2 else 0.0)
        dev, test = linear(corpus)
        print(f"TF-IDF, logistic regression: dev {dev:.1%}, test {test:.1%}", flush=True)
        found = [
            scratch(corpus, Path(name) / seed, seed, args.config, args.overrides) for seed in args.seeds.split(",")
        ]
    for split, accuracies in zip(("dev", "test"), zip(*found, strict=True), strict=True):
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(f"from scratch, {split}: {statistics.mean(accuracies):.1%}, deviation {100 * spread:.1f} points")


def linear(corpus: Path) -> tuple[float, float]:
    """Dev and test accuracy of the choice that is best on dev."""
    texts, labels = {}, {}
    for split in ("train", "dev", "test"):
        docs = list(DocBin().from_disk(corpus / f"{split}.spacy").get_docs(spacy.blank("en").vocab))
        texts[split] = [doc.text for doc in docs]
        labels[split] = [max(doc.cats, key=lambda label: doc.cats[label]) for doc in docs]
    found = []
    for ngrams, strength in product(((1, 1), (1, 2)), (1, 10, 100)):
        words = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True)
        model = LogisticRegression(C=strength, max_iter=2000).fit(words.fit_transform(texts["train"]), labels["train"])
        found.append(tuple(model.score(words.transform(texts[split]), labels[split]) for split in ("dev", "test")))
    return max(found, key=lambda pair: pair[0])


def scratch(corpus: Path, out: Path, seed: str, config: Path, overrides: list[str]) -> tuple[float, float]:
    """Dev and test accuracy of one seed."""
    options = [f"--paths.{key}={corpus / file}" for key, file in PATHS.items()] + [f"--training.seed={seed}"]
    options += [f"--{override}" for override in overrides]
    start = perf_counter()
    command = [sys.executable, "-m", "spacy", "train", str(config), "--output", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    seconds = perf_counter() - start
    nlp = spacy.load(out / "model-best")
    dev, test = (float(evaluate(nlp, corpus / f"{split}.spacy")["accuracy"]) for split in ("dev", "test"))
    print(f"seed {seed}: dev {dev:.1%}, test {test:.1%}, {seconds:.0f} s", flush=True)
    return dev, test


PATHS = {"train": "train.spacy", "dev": "dev.spacy", "labels": "labels.json"}

if __name__ == "__main__":
    main()
