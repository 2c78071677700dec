"""Several threads and forked children use one pipeline: each gets what it would get alone."""

import copy
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from house_kit.pipelines import network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.locks import NETWORK, ForkLock, NetworkLock
from spacy_transfer.nn.devices import low_precision
from spacy_transfer.training.adamw import AdamW

HALF = {"tuning": {"frozen_depth": 1}}


class Held:
    """Holds the run of another thread open inside a layer of the encoder, until it is let go."""

    def __init__(self, nlp: Any, run: Callable[[], Any]) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()
        # Above the boundary and not the last: prefix, resume and plain runs all meet it, or stop at it.
        self._layer = network_of(nlp).encoder._layers[1]
        # For all modules, so that copies of the encoder do not hold it.
        self._hook = register_module_forward_pre_hook(self._wait)
        self._thread = threading.Thread(target=run)
        self._pid = os.getpid()

    def _wait(self, module: Any, args: Any) -> None:
        is_held = module is self._layer and threading.get_ident() == self._thread.ident and os.getpid() == self._pid
        if is_held and not self.go_on.is_set():
            self.inside.set()
            self.go_on.wait(60)

    def __enter__(self) -> "Held":
        self._thread.start()
        assert self.inside.wait(60)
        return self

    def __exit__(self, *error: Any) -> None:
        self.go_on.set()
        self._thread.join(60)
        self._hook.remove()


def states(nlp: Any, texts: list[str] = TEXTS) -> torch.Tensor:
    """By prefix and resume, as training runs."""
    from spacy_transfer.model.text.collating import collate

    network, shim = network_of(nlp), shim_of(nlp)
    batch = collate(shim.reader.read(texts, remember=False), network.encoder.pad_id, network.device)
    with torch.no_grad():
        return network.resume(network.prefix(batch), batch)


def in_child(compute: Callable[[], Any]) -> Any:
    """What a forked child computes."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=lambda: sender.send(compute()))
    child.start()
    assert receiver.poll(60), "the child hangs"
    found = receiver.recv()
    child.join(60)
    return found


@pytest.mark.parametrize("what", ["scores", "states"])
def test_forked_while_another_thread_is_inside_a_run(bert: Path, what: str) -> None:
    nlp = pipeline(bert, **HALF)
    network_of(nlp).eval()
    wanted, expected = scores_of(nlp, TEXTS), states(nlp)
    run: dict[str, Callable[[], Any]] = {"scores": lambda: nlp(TEXTS[0]), "states": lambda: states(nlp, TEXTS[:2])}
    with Held(nlp, run[what]):
        assert in_child(lambda: [doc.cats for doc in nlp.pipe(TEXTS)]) == [doc.cats for doc in nlp.pipe(TEXTS)]
        assert torch.equal(torch.tensor(in_child(lambda: states(nlp).tolist())), expected)
        assert torch.equal(states(nlp), expected)
    assert torch.equal(scores_of(nlp, TEXTS), wanted)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copied_while_another_thread_is_inside_a_run(bert: Path, how: Callable[[Any], Any]) -> None:
    nlp = pipeline(bert, **HALF)
    network_of(nlp).eval()
    expected = states(nlp)
    with Held(nlp, lambda: states(nlp, TEXTS[:2])):
        encoder = how(network_of(nlp).encoder)
    ids = torch.arange(5, 15)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        own = network_of(nlp).encoder(ids, mask)
        assert torch.equal(encoder(ids, mask), own)
        assert torch.equal(encoder.resume(ids, mask, encoder.prefix(ids, mask, 1), 1), own)
        # Its own weights, not those it was copied from.
        for weight in encoder.parameters():
            weight.zero_()
        assert not torch.equal(encoder.resume(ids, mask, encoder.prefix(ids, mask, 1), 1), own)
    assert torch.equal(states(nlp), expected)


def test_a_loaded_pipeline_that_only_predicts_meets_no_gate(bert: Path, tmp_path: Path) -> None:
    pipeline(bert, **HALF).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    scores_of(nlp, TEXTS)
    assert not any("forward" in vars(module) for module in network_of(nlp).modules())


def trained(nlp: Any, n_steps: int = 6) -> dict[str, torch.Tensor]:
    """Weights after some steps with dropout."""
    examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=1e-2)
    torch.manual_seed(7)
    for step in range(n_steps):
        nlp.update(examples[step * 3 : step * 3 + 6], sgd=sgd, drop=0.2)
    return weights_of(nlp)


@pytest.mark.parametrize("blocks", [{}, HALF, {"tuning": {"frozen_depth": "all"}}])
def test_predicting_while_another_thread_trains_changes_nothing(bert: Path, blocks: dict[str, Any]) -> None:
    alone = trained(pipeline(bert, **blocks))
    nlp = pipeline(bert, **blocks)
    done, failed = threading.Event(), list[BaseException]()

    def predict() -> None:
        try:
            while not done.is_set():
                assert scores_of(nlp, TEXTS[:3]).isfinite().all()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    together = trained(nlp)
    done.set()
    for thread in threads:
        thread.join(60)
    assert not failed
    for name, weight in alone.items():
        assert torch.equal(together[name], weight), name


@pytest.mark.parametrize("was_trained", [False, True])
def test_several_threads_get_the_same_scores(bert: Path, was_trained: bool) -> None:
    nlp = pipeline(bert, **HALF)
    if was_trained:
        trained(nlp, 1)
    wanted, found = scores_of(nlp, TEXTS), list[torch.Tensor]()
    network_of(nlp).train()
    threads = [threading.Thread(target=lambda: found.append(scores_of(nlp, TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(torch.equal(scores, wanted) for scores in found)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("blocks", [{}, HALF])
def test_threads_that_predict_right_after_a_load_get_the_same_scores(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, blocks: dict[str, Any]
) -> None:
    pipeline(bert, **blocks).to_disk(tmp_path)
    changes = {"components.transfer_textcat.model.precision": precision}
    wanted = scores_of(spacy.load(tmp_path, config=changes), TEXTS)
    copies: list[Any] = []
    make = low_precision.LowPrecisionCopy._make_anew
    monkeypatch.setattr(
        low_precision.LowPrecisionCopy, "_make_anew", lambda self, *args: copies.append(self) or make(self, *args)
    )
    # Switching threads at every chance, so that each race has one.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        nlp, begin, found = spacy.load(tmp_path, config=changes), threading.Barrier(6), list[torch.Tensor]()

        def predict() -> None:
            begin.wait(60)
            found.append(scores_of(nlp, TEXTS))

        threads = [threading.Thread(target=predict) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 6
    assert all(torch.equal(scores, wanted) for scores in found)
    # Each of them once.
    assert len(copies) == len({id(one) for one in copies})


# ---- the locks ---------------------------------------------------------------------------------------------------


def test_a_fork_waits_for_a_change_and_leaves_the_child_free() -> None:
    network, plain = NetworkLock(), ForkLock(NETWORK)
    order: list[str] = []
    inside = threading.Event()

    def change() -> None:
        with network.changing(), plain:
            inside.set()
            threading.Event().wait(0.2)
            order.append("changed")

    thread = threading.Thread(target=change)
    thread.start()
    assert inside.wait(60)

    def take() -> str:
        with network.changing(), network.predicting(), plain:
            return "free"

    assert in_child(take) == "free"
    assert order == ["changed"]
    thread.join(60)
    assert take() == "free"


def test_a_child_of_whoever_holds_the_network_may_predict() -> None:
    network = NetworkLock()

    def read() -> str:
        with network.predicting():
            return "read"

    with network.holding():
        assert in_child(read) == "read"
        # And so may others meanwhile.
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(read()))
        thread.start()
        thread.join(60)
        assert found == ["read"]
    with network.predicting(), network.predicting():
        assert in_child(read) == "read"
