"""Hiding pieces, and the component that learns to predict them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import Config, Linear
from torch import nn

from house_kit.pipelines import moved
from house_kit.runs import ADAMW, assert_same_run, run
from house_kit.scratches import TINY
from house_kit.texts import TEXTS
from spacy_transfer.corpora.reading.piece_rows import PieceRows, write_rows
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.masked_lm import draw_key, hide
from spacy_transfer.nn.scratch.tokenizer_training import SPECIAL
from spacy_transfer.pipeline.masked_lm import FIGURES, PIECES, MaskedLMPredictor
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_masked_lm"
SCORES = {"masked_lm_loss", "masked_lm_score", "masked_lm_acc"}


# ---- hiding ------------------------------------------------------------------------------------------------------

IDS = torch.randint(5, 50, (400, 50), generator=torch.Generator().manual_seed(1))
ELIGIBLE = torch.rand(IDS.shape, generator=torch.Generator().manual_seed(2)) < 0.5
ORDINARY = torch.arange(5, 50)


def hidden(ids: torch.Tensor, eligible: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return hide(ids, eligible, **{"mask_id": 4, "ordinary": ORDINARY, "share": 0.15, "key": draw_key(0, 0), **options})


def test_hiding() -> None:
    read, chosen = hidden(IDS, ELIGIBLE)
    assert not (chosen & ~ELIGIBLE).any()
    assert torch.equal(read[~chosen], IDS[~chosen])
    assert float(chosen.sum() / ELIGIBLE.sum()) == pytest.approx(0.15, abs=0.015)
    assert float((read[chosen] == 4).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((read[chosen] == IDS[chosen]).float().mean()) == pytest.approx(0.1 + 0.1 / 45, abs=0.03)
    # Pieces put in place of others are any of the ordinary ones, equally often.
    wide, chosen = hidden(IDS, torch.ones_like(ELIGIBLE), share=0.999)
    put = wide[chosen & (wide != 4) & (wide != IDS)]
    counts = torch.bincount(put, minlength=50)[5:]
    assert int(counts.min()) > 0.4 * len(put) / 45
    assert int(counts.max()) < 2 * len(put) / 45


def test_what_is_hidden_in_a_row_is_its_own_affair() -> None:
    """Neither the other rows nor padding change it, wherever it stands; another key does."""
    whole = hidden(IDS, ELIGIBLE)
    padded = torch.nn.functional.pad(IDS, (0, 7)), torch.nn.functional.pad(ELIGIBLE, (0, 7))
    order = torch.randperm(len(IDS), generator=torch.Generator().manual_seed(3))[:30]
    for part, same in zip(hidden(padded[0][order], padded[1][order]), whole, strict=True):
        assert torch.equal(part[:, :50], same[order])
    keys = {draw_key(seed, count) for seed in range(30) for count in range(30)}
    assert len(keys) == 900
    chosen = torch.stack([hidden(IDS, ELIGIBLE, key=draw_key(0, count))[1] for count in range(40)]).float()
    # Over the steps every piece has its turn, and two steps have no more in common than chance gives them.
    turns = chosen.mean(dim=0)[ELIGIBLE]
    assert float(turns.std()) == pytest.approx((0.15 * 0.85 / 40) ** 0.5, rel=0.05)
    assert float((chosen[0] * chosen[1]).sum() / ELIGIBLE.sum()) == pytest.approx(0.15**2, abs=0.01)


def test_at_least_one_piece() -> None:
    few = ELIGIBLE.clone()
    few[0] = False
    _, chosen = hidden(IDS, few, share=0.001, at_least_one=True)
    assert chosen[1:].any(dim=1).all()
    assert not chosen[0].any()
    assert not (chosen & ~few).any()
    assert int(chosen.sum()) < 430


# ---- the component -----------------------------------------------------------------------------------------------


def predictor(folder: Path | str | None = None, *, initialize: bool = True, **blocks: Any) -> Language:
    """A pipeline with a tiny encoder from scratch, without dropout, or with one from a folder."""
    encoder = TINY if folder is None else {"name": str(folder), "revision": None}
    nlp = spacy.blank("xx")
    model = {"encoder": encoder, "windows": {"length": 32, "stride": 20}, "precision": "fp32", "share": 0.3, **blocks}
    nlp.add_pipe(NAME, config={"model": model})
    if initialize:
        torch.manual_seed(0)
        nlp.initialize(lambda: examples(nlp))
    return nlp


def examples(nlp: Language, texts: list[str] = TEXTS) -> list[Example]:
    return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]


def shim_of(nlp: Language) -> Any:
    return nlp.get_pipe(NAME).model.shims[0]


def weights(nlp: Language) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in shim_of(nlp).network.named_parameters()}


def gradients(nlp: Language, parts: list[list[Example]]) -> dict[str, torch.Tensor]:
    """Of several sub-batches, divided as `finish_update` does."""
    for part in parts:
        nlp.get_pipe(NAME).update(part)
    factor = shim_of(nlp).gradients.factor()
    found = {name: w.grad.to_dense() * factor for name, w in shim_of(nlp).network.named_parameters()}
    shim_of(nlp).drop_gradients()
    return found


def test_the_loss_is_that_of_the_hidden_pieces() -> None:
    nlp = predictor()
    shim, docs = shim_of(nlp), examples(nlp)
    network = shim.network
    loss = nlp.get_pipe(NAME).update(docs)[NAME] / len(docs)
    rows = shim.reader.read(TEXTS, remember=False)
    found = list(shim._hidden(rows, 10**6, draw_key(0, 0), at_least_one=False))
    assert len(found) == 1
    batch, _, read, mask, chosen = found[0]
    asked = batch.ids.flatten()[chosen]
    assert (asked >= len(SPECIAL)).all()
    logits = network(read, mask, chosen)
    # Output weights are the pieces' own vectors.
    table = network.encoder.body.embeddings.pieces.weight
    states = network.transform(network.encoder(read, mask).flatten(0, 1)[chosen])
    assert (logits - states @ table.T - network.bias).abs().max() < 1e-5
    wanted = nn.functional.cross_entropy(logits, asked)
    assert loss == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert shim.gradients.n_docs == len(chosen)
    (expected,) = torch.autograd.grad(wanted, table)
    torch.testing.assert_close(table.grad.to_dense() * shim.gradients.factor(), expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("budget", [32, 100, 300])
def test_parts_and_micro_batches_change_nothing(budget: int) -> None:
    whole = predictor()
    docs = examples(whole, [*TEXTS, " ".join(TEXTS[:8])])
    expected = gradients(whole, [docs])
    for nlp, parts in ((predictor(piece_budget=budget), [docs]), (predictor(), [docs[:1], docs[1:9], docs[9:]])):
        for name, gradient in gradients(nlp, parts).items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4, msg=name)


def test_it_learns_and_what_is_hidden_changes() -> None:
    nlp = predictor()
    docs, sgd = examples(nlp), AdamW(learn_rate=2e-2)
    before = nlp.evaluate(docs)
    losses = [nlp.update(docs, sgd=sgd)[NAME] for _ in range(80)]
    after = nlp.evaluate(docs)
    assert after["masked_lm_loss"] < before["masked_lm_loss"] - 1
    assert after["masked_lm_acc"] > before["masked_lm_acc"] + 0.2
    assert after["masked_lm_score"] == pytest.approx(np.exp(-after["masked_lm_loss"]))
    assert losses[-1] < losses[0]
    assert (shim_of(nlp).n_draws, shim_of(nlp).n_steps) == (80, 80)
    # The same pieces are asked for whatever else stands in the batch.
    assert nlp.evaluate(docs) | {"speed": 0} == after | {"speed": 0}
    alone = [nlp(text).user_data[FIGURES] for text in TEXTS]
    together = [doc.user_data[FIGURES] for doc in nlp.pipe(TEXTS)]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_a_step_without_a_chosen_piece() -> None:
    """Nothing moves, but the next step hides others."""
    nlp = predictor(share=1e-6)
    before, sgd = weights(nlp), AdamW(learn_rate=1e-2)
    assert nlp.update(examples(nlp), sgd=sgd)[NAME] == 0.0
    assert not moved(before, weights(nlp))
    assert shim_of(nlp).n_draws == 1
    assert nlp.evaluate(examples(nlp))["masked_lm_loss"] > 0


def test_saved_and_copied(tmp_path: Path) -> None:
    nlp = predictor()
    nlp.update(examples(nlp), sgd=AdamW(learn_rate=1e-2))
    nlp.to_disk(tmp_path / "disk")
    other = predictor(initialize=False)
    other.from_bytes(nlp.to_bytes())
    copied = predictor(initialize=False)
    copied.get_pipe(NAME).model = copy.deepcopy(nlp.get_pipe(NAME).model)
    expected = nlp.evaluate(examples(nlp))
    for again in (spacy.load(tmp_path / "disk"), other, copied):
        assert not moved(weights(nlp), weights(again))
        assert again.evaluate(examples(again)) | {"speed": 0} == expected | {"speed": 0}
        assert shim_of(again).n_draws == 1
        assert shim_of(again).id != shim_of(nlp).id
    # What it learned is an encoder for a classifier.
    loaded = PretrainedEncoder(str(tmp_path / "disk")).load()
    for name, weight in loaded.encoder.named_parameters():
        assert torch.equal(weight, weights(nlp)[f"encoder.{name}"])


def test_it_trains_by_the_same_loop(bert: Path, tmp_path: Path) -> None:
    """With any corpus, with model-best, patience and averages; nothing but its name is special."""
    nlp = spacy.blank("xx")
    DocBin(docs=[nlp.make_doc(text) for text in TEXTS]).to_disk(tmp_path / "texts.spacy")
    reader = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "texts.spacy"), "max_length": 0, "limit": 0,
              "gold_preproc": False, "augmenter": None}  # fmt: skip
    config = predictor(bert, initialize=False).config
    config["corpora"] = {"train": reader, "dev": reader}
    config["training"].update(
        seed=1, max_steps=0, patience=6, eval_frequency=3, max_epochs=0, optimizer={**ADAMW, "use_averages": True}
    )
    config["training"]["optimizer"]["learn_rate"] = 1e-9
    config = Config(config)
    done = run(config, tmp_path / "out")
    assert done.n_steps < 100
    assert config["training"]["score_weights"]["masked_lm_score"] == 1.0
    performance = spacy.load(tmp_path / "out" / "model-best").meta["performance"]
    assert performance.keys() >= SCORES
    run(config, tmp_path / "again")
    assert_same_run(tmp_path / "out", tmp_path / "again")


def test_wrong_input(encoder_folder: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"T135.*'t5'.*<mask>"):
        predictor(encoder_folder("t5"))
    with pytest.raises(ValueError, match=r"T006.*transfer_masked_lm"):
        predictor(initialize=False)("text")
    for blocks, message in (
        ({"share": 1.0}, "T005.*share"), ({"piece_budget": 0}, "T005.*piece_budget"), ({"piece_budget": 8}, "T024"),
        ({"windows": {"length": 64, "stride": 20}}, "T022"),
        ({"encoder": {"@misc": "spacy-transfer.Windows.v1"}}, "T001.*an encoder"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            predictor(**blocks)
    with pytest.raises(ValueError, match=r"T241.*linear"):
        MaskedLMPredictor(spacy.blank("xx").vocab, Linear())


# ---- rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "size", "given"), [(0, 4, 0), (3, 4, 3), (4, 4, 4), (9, 4, 8), (9, 1, 9)])
def test_rows_on_disk(n: int, size: int, given: int, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    rows = [np.arange(i + 1, dtype=np.int32) + i for i in range(n)]
    assert write_rows(tmp_path / "rows", iter(rows)) == n
    found = [eg.predicted.user_data[PIECES] for eg in PieceRows(path=tmp_path / "rows")(nlp)]
    assert all(np.array_equal(one, other) for one, other in zip(found, rows, strict=True))
    reader = PieceRows(path=tmp_path / "rows", shuffle=True, multiple_of=size)
    orders = [[len(eg.predicted.user_data[PIECES]) for eg in reader(nlp)] for _ in range(8)]
    assert {len(order) for order in orders} == {given}
    if n > 4:
        assert len({tuple(order) for order in orders}) > 1
        # What is left out changes.
        assert {length for order in orders for length in order} == set(range(1, n + 1))


def test_rows_have_a_fingerprint(tmp_path: Path) -> None:
    found = set()
    for name, rows in (("a", [[1, 2], [3]]), ("b", [[1], [2, 3]]), ("c", [[1, 2], [4]]), ("d", [[1, 2], [3]])):
        write_rows(tmp_path / name, [np.asarray(row, dtype=np.int32) for row in rows])
        found.add(PieceRows(path=tmp_path / name).fingerprint())
    assert len(found) == 3
    with pytest.raises(ValueError, match=r"T242.*nowhere"):
        PieceRows(path=tmp_path / "nowhere")
    (tmp_path / "a" / "ids.npy").write_bytes(b"junk")
    with pytest.raises(ValueError, match="T242"):
        PieceRows(path=tmp_path / "a")
    with pytest.raises(ValueError, match=r"T005.*multiple_of"):
        PieceRows(path=tmp_path / "b", multiple_of=0)
