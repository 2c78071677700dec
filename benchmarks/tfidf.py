"""TF-IDF and logistic regression on the project's data: what a classifier without transfer reaches.

    python benchmarks/tfidf.py [--data assets/support]

Word n-grams and strength are chosen on dev; the test score is that of the choice. Needs scikit-learn (extra `test`).
"""

import argparse
import json
from itertools import product
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Print every choice's dev accuracy and the chosen one's test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("assets/support"))
    folder = parser.parse_args().data
    texts, labels = {}, {}
    for split in ("train", "dev", "test"):
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]
        texts[split], labels[split] = [row["text"] for row in rows], [row["label"] for row in rows]
    found = []
    for ngrams, strength in product(((1, 1), (1, 2)), (1, 10, 100)):
        words = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True)
        model = LogisticRegression(C=strength, max_iter=2000).fit(words.fit_transform(texts["train"]), labels["train"])
        dev, test = (model.score(words.transform(texts[split]), labels[split]) for split in ("dev", "test"))
        found.append((dev, test, ngrams, strength))
        print(f"ngrams {ngrams}  C {strength:3}  dev {dev:.3f}")
    _, test, ngrams, strength = max(found)
    print(f"chosen on dev: ngrams {ngrams}, C {strength}; test accuracy {test:.3f}")


if __name__ == "__main__":
    main()
