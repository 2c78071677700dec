"""Memory of one step on a batch with one very long text, against the usual batch.

    python benchmarks/long_text.py [--characters 42500] [--steps 3] [--encoder sentence-transformers/all-MiniLM-L6-v2]

Each case runs in a process of its own: updates of 16 texts, then the highest memory of the process above what it
had before the first. "usual" are 16 texts of some 1,000 characters (four fill the micro-batch of 4,096 pieces in
windows of 256); "long" has one text of `--characters` among them. The memory of the process holds what the allocator
keeps of small and large blocks too; `tests/model/learning/test_long_texts.py` counts the tensors themselves.
"""

import argparse
import json
import multiprocessing
import sys
import threading
import time
from pathlib import Path
from typing import Any

SENTENCE = "The tram to the harbor is late again and nobody at the desk knows when the next one will leave. "


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * 4096


class Peak(threading.Thread):
    """Watches the memory of the process every 2 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.is_set():
            self.highest = max(self.highest, resident())
            time.sleep(0.002)

    def end(self) -> int:
        """RETURNS (int): Most bytes that were seen."""
        self._over.set()
        self.join()
        return self.highest


def measure(case: str, characters: int, steps: int, encoder: str, sender: Any) -> None:
    """Train, then predict; send the most bytes above the start of each, and the seconds of a step."""
    import spacy
    import torch
    from spacy.training import Example

    from spacy_transfer.training.adamw import AdamW

    usual = [(SENTENCE * 11)[: 1000 + i] for i in range(16)]
    long = (SENTENCE * (characters // len(SENTENCE) + 1))[:characters]
    texts = [*usual[:15], long] if case == "long" else usual
    nlp = spacy.blank("en")
    model = {"encoder": {"name": encoder}, "windows": {"length": 256, "stride": 192}, "precision": "fp32"}
    nlp.add_pipe("transfer_textcat", config={"model": model})
    cats = [{"a": float(i % 2), "b": 1.0 - i % 2} for i in range(16)]
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": c}) for text, c in zip(texts, cats, strict=True)]
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    sgd = AdamW(learn_rate=1e-4)
    # The optimizer's moments are there, whatever the texts.
    nlp.update([Example.from_dict(nlp.make_doc("late"), {"cats": cats[0]})], sgd=sgd)
    before, peak, start = resident(), Peak(), time.perf_counter()
    peak.start()
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    trained, seconds = peak.end() - before, (time.perf_counter() - start) / steps
    before, peak = resident(), Peak()
    peak.start()
    list(nlp.pipe(texts))
    sender.send({"training": trained, "prediction": max(0, peak.end() - before), "seconds": seconds})


def main() -> None:
    """Print megabytes of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=42_500)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    context, found = multiprocessing.get_context("spawn"), {}
    for case in ("usual", "long"):
        receiver, sender = context.Pipe(False)
        child = context.Process(target=measure, args=(case, args.characters, args.steps, args.encoder, sender))
        child.start()
        # Not here, the child has failed and said why.
        sender.close()
        try:
            found[case] = receiver.recv()
        except EOFError:
            sys.exit(1)
        child.join()
        figures = found[case]
        print(
            f"{case:6} {figures['training'] / 1e6:8,.0f} MB in training, {figures['prediction'] / 1e6:6,.0f} MB in "
            f"prediction, {figures['seconds']:.1f} s a step",
            flush=True,
        )
    print(f"long / usual in training: {found['long']['training'] / found['usual']['training']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2), "utf-8")


if __name__ == "__main__":
    main()
