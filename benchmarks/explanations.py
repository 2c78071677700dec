"""Whether explanations say what a pipeline does: sanity checks from the literature.

    python benchmarks/explanations.py PIPELINE TEST.jsonl [--n 200] [--draws 3] [--seed 0] [--json FILE]

TEST holds {"text", "label"} lines. Three questions, for gradients, for occlusion and for random words:

- Deletion: how far does the score of the predicted label fall where the words that matter most are left out, 10 to 50 %
  of them? An explanation that is worth anything lies far above random words (Samek et al. 2017, arXiv:1509.06321).
- Agreement: rank correlation (Spearman) of the values of gradients and of occlusion.
- Randomization: rank correlation with the explanations of the same network whose weights are drawn again: the head
  alone, then from the middle layer up, then all (Adebayo et al. 2018, arXiv:1810.03292). It has to fall towards 0. One
  draw may point the same way by chance, or the other way: several are averaged. Also of sizes, without signs.

Also printed: the largest gap of completeness, and gradients per text.
"""

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from linear_probe import read
from spacy.language import Language

from spacy_transfer.pipeline.components import classifiers_of
from spacy_transfer.pipeline.explanations.explanation import Explanation
from spacy_transfer.pipeline.explanations.occlusion import without

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    """Print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--n", type=int, default=200, help="Texts, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=3, help="Randomized networks")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    nlp = spacy.load(args.pipeline)
    chance = random.Random(args.seed)
    texts = [row["text"] for row in chance.sample(read(args.test), args.n)]
    found = {method: explanations(nlp, texts, method) for method in ("gradients", "occlusion")}
    gaps = [one.gap for one in found["gradients"] if one.gap is not None]
    n_runs = statistics.mean(one.n_runs for one in found["gradients"])
    print(f"largest gap {max(gaps):.4f}, gradients per text {n_runs:.1f}")
    results: dict[str, Any] = {"gap": max(gaps), "deletion": {}}
    print(f"{'left out':12}", *(f"{share:>8.0%}" for share in SHARES))
    for name, order in {
        "gradients": [ranked(one) for one in found["gradients"]],
        "occlusion": [ranked(one) for one in found["occlusion"]],
        "random": [chance.sample(range(len(one.words)), len(one.words)) for one in found["gradients"]],
    }.items():
        falls = [fall(nlp, found["gradients"], order, share) for share in SHARES]
        results["deletion"][name] = falls
        print(f"{name:12}", *(f"{value:8.3f}" for value in falls), flush=True)
    results["agreement"] = agreement(found["gradients"], found["occlusion"])
    print(f"agreement of gradients and occlusion {results['agreement']:.3f}")
    before = found["gradients"]
    labels = [one.label for one in before]
    states: dict[str, list[tuple[float, float]]] = {}
    for draw in range(args.draws):
        other = spacy.load(args.pipeline)
        for name in randomized(other, args.seed + draw):
            after = explanations(other, texts, "gradients", labels)
            states.setdefault(name, []).append((agreement(before, after), agreement(before, after, sizes=True)))
    results["randomized"] = {name: np.mean(values, axis=0).tolist() for name, values in states.items()}
    for name, (signed, sizes) in results["randomized"].items():
        print(f"{name:24} {signed:+.3f}, sizes {sizes:+.3f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def explanations(
    nlp: Language, texts: Sequence[str], method: str, labels: Sequence[str] | None = None
) -> list[Explanation]:
    """One of each text: of the given label, or of the predicted one."""
    pipe = next(iter(classifiers_of(nlp).values()))
    docs = [nlp.make_doc(text) for text in texts]
    if labels is None:
        return [one[0] for one in pipe.explain(docs, method=method)]
    return [pipe.explain([doc], labels=[label], method=method)[0][0] for doc, label in zip(docs, labels, strict=True)]


def ranked(one: Explanation) -> list[int]:
    """Numbers of words, those that speak most for the label first."""
    return sorted(range(len(one.words)), key=lambda i: -one.words[i].value)


def fall(nlp: Language, explained: Sequence[Explanation], orders: Sequence[Sequence[int]], share: float) -> float:
    """Mean fall of the score where a share of the words is left out."""
    pipe = next(iter(classifiers_of(nlp).values()))
    docs = []
    for one, order in zip(explained, orders, strict=True):
        doc = nlp.make_doc(one.text)
        words = [token.i for token in doc if not token.is_space]
        n = max(1, round(share * len(words)))
        docs.append(without(doc, {words[i] for i in order[:n]}))
    scores = pipe.predict(docs)
    columns = [pipe.labels.index(one.label) for one in explained]
    return float(np.mean([one.score - row[j] for one, row, j in zip(explained, scores, columns, strict=True)]))


def agreement(some: Sequence[Explanation], others: Sequence[Explanation], *, sizes: bool = False) -> float:
    """Mean rank correlation of the values, or of their sizes, of the words of each text."""
    found = []
    for one, other in zip(some, others, strict=True):
        values = [np.asarray([word.value for word in each.words]) for each in (one, other)]
        ranks = [np.argsort(np.argsort(np.abs(row) if sizes else row)) for row in values]
        if len(one.words) > 2:
            found.append(float(np.corrcoef(*ranks)[0, 1]))
    return statistics.mean(found)


def randomized(nlp: Language, seed: int) -> Any:
    """Draw weights again, from the top down; give a name for each state. The pipeline is spoiled afterwards."""
    pipe = next(iter(classifiers_of(nlp).values()))
    network = pipe.model.shims[0].network
    torch.manual_seed(seed)
    for depth in range(network.n_layers + 1, -1, -1):
        with torch.no_grad():
            for name, weight in network.named_parameters():
                # Weights of norms stay: at random they would be another network altogether.
                if network.depth_of(name) == depth and weight.ndim > 1:
                    weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
        network.forget_copies()
        if depth in (network.n_layers + 1, network.n_layers // 2 + 1, 0):
            yield "head" if depth > network.n_layers else f"depths {depth} and above"


if __name__ == "__main__":
    main()
