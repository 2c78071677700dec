"""How often `init --labels` is right without any labeled text.

    python benchmarks/zero_shot.py --data FOLDER --labels LABELS.json [--texts 500] [--test 500]

FOLDER holds train.jsonl, of which the first texts are read and not their labels, and test.jsonl. LABELS.json is what
`init --labels` takes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import spacy

from spacy_transfer import zero_shot
from spacy_transfer.evaluation.calibration import calibration


def main() -> None:
    """Print accuracy, calibration error, and accuracy of always guessing the most frequent label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--test", type=int, default=500, help="Texts of test.jsonl, spread evenly")
    options = parser.parse_args()
    rows = [json.loads(line) for line in (options.data / "test.jsonl").read_text("utf-8").splitlines()]
    n_test = min(options.test, len(rows))
    rows = [rows[i * len(rows) // n_test] for i in range(n_test)]
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw.jsonl"
        lines = (options.data / "train.jsonl").read_text("utf-8").splitlines()[: options.texts]
        raw.write_text("".join(json.dumps({"text": json.loads(line)["text"]}) + "\n" for line in lines), "utf-8")
        zero_shot(raw, options.labels, Path(name) / "project")
        nlp = spacy.load(Path(name) / "project" / "zero_shot")
    cats = [doc.cats for doc in nlp.pipe([row["text"] for row in rows])]
    right = np.array([max(one, key=one.get) == row["label"] for one, row in zip(cats, rows, strict=True)])
    sure = np.array([max(one.values()) for one in cats])
    given = [row["label"] for row in rows]
    print(f"{options.data.name}: {len(rows)} test texts, {len(lines)} texts without labels")
    print(f"accuracy {right.mean():.3f}, calibration error {calibration(sure, right).error:.3f}")
    print(f"the most frequent label {max(given.count(label) for label in set(given)) / len(given):.3f}")


if __name__ == "__main__":
    main()
