"""Micro-batches, batch sizes and the feature cache change nothing but time and memory."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example

from house_kit.encoders import KNOWN_FAMILIES, write_encoder
from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.corpora.reading.batcher import make_batch_by_pieces
from spacy_transfer.corpora.reading.piece_length import make_piece_length
from spacy_transfer.model.text.batching import micro_batches
from spacy_transfer.model.text.collating import collate
from spacy_transfer.model.text.windows import Row
from spacy_transfer.training.adamw import AdamW

PRECISIONS = ["fp32", "bf16"]
TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}
LONG = " ".join(TEXTS)
MIXED = [*TEXTS, "", " ", "\n\t ", LONG, "card", LONG[:90], "!", "\u200b", "日本語のテキスト"]


def row(length: int, first: int = 5) -> Row:
    return Row(np.arange(first, first + length, dtype=np.int32), (0, length))


# ---- grouping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_groups_hold_each_document_once_and_keep_to_the_budget(seed: int) -> None:
    rng = random.Random(seed)
    documents = [[row(rng.randint(1, 20)) for _ in range(rng.choice([1, 1, 1, 4]))] for _ in range(rng.randint(0, 30))]
    budget = rng.randint(20, 100)
    groups = list(micro_batches(documents, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(documents)))
    for group in groups:
        n_rows = sum(len(documents[i]) for i in group)
        longest = max(len(r.ids) for i in group for r in documents[i])
        assert n_rows * longest <= budget or len(group) == 1
    assert groups == sorted(groups, key=lambda group: -max(len(r.ids) for i in group for r in documents[i]))


def test_rows_become_tensors() -> None:
    documents = [
        [row(3)],
        [Row(np.asarray([1, 7, 8, 2], dtype=np.int32), (0, 2)), Row(np.asarray([1, 8, 2], np.int32), (1, 3))],
    ]
    batch = collate(documents, 9, torch.device("cpu"))
    assert batch.ids.tolist() == [[5, 6, 7, 9], [1, 7, 8, 2], [1, 8, 2, 9]]
    assert batch.mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.counted.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]]
    assert batch.owner.tolist() == [0, 1, 1]
    assert batch.n_docs == 2


# ---- prediction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_batch_size_and_order_change_no_score(bert: Path, precision: str, frozen: Any) -> None:
    nlp = pipeline(bert, precision=precision, tuning={"frozen_depth": frozen})
    atol = TOLERANCE[precision]
    wanted = torch.cat([scores_of(nlp, [text]) for text in MIXED])
    assert wanted.std(dim=0).min() > 10 * TOLERANCE["fp32"]
    for batch_size in (1, 2, 7, 1000):
        torch.testing.assert_close(scores_of(nlp, MIXED, batch_size=batch_size), wanted, atol=atol, rtol=0.0)
    order = random.Random(1).sample(range(len(MIXED)), len(MIXED))
    torch.testing.assert_close(scores_of(nlp, [MIXED[i] for i in order]), wanted[order], atol=atol, rtol=0.0)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_family_scores_alike_in_any_batch(family: str, encoder_folder: Any) -> None:
    nlp = pipeline(encoder_folder(family))
    alone = torch.cat([scores_of(nlp, [text]) for text in MIXED])
    torch.testing.assert_close(scores_of(nlp, MIXED), alone, atol=1e-5, rtol=0.0)


def test_budgets_change_no_score(bert: Path) -> None:
    found = [scores_of(pipeline(bert, piece_budget=budget), MIXED) for budget in (32, 100, 100_000)]
    for scores in found[1:]:
        torch.testing.assert_close(scores, found[0], atol=1e-5, rtol=0.0)


def test_empty_documents_get_all_labels(bert: Path) -> None:
    for multilabel in (False, True):
        nlp = pipeline(bert, multilabel=multilabel)
        labels = nlp.pipe_labels[nlp.pipe_names[0]]
        for doc in nlp.pipe(["", " ", "\n\n", "card"]):
            assert list(doc.cats) == labels
            assert all(0.0 < score < 1.0 for score in doc.cats.values())
            if not multilabel:
                assert sum(doc.cats.values()) == pytest.approx(1.0)
    assert list(nlp.pipe([])) == []
    assert nlp.get_pipe(nlp.pipe_names[0]).predict([]).shape == (0, 4)


def test_scores_are_plain_numbers(bert: Path) -> None:
    doc = pipeline(bert)("the card")
    assert {type(score) for score in doc.cats.values()} == {float}
    assert list(doc.cats) == LABELS


@pytest.mark.parametrize("unfrozen", [False, True])
def test_the_encoder_never_gets_more_than_the_budget(bert: Path, unfrozen: bool) -> None:
    """Not even where one vector a document is cached, and no longer fits."""
    nlp = pipeline(bert, piece_budget=100, tuning={"frozen_depth": "all", "unfreeze_every": int(unfrozen)})
    sizes: list[int] = []
    body = network_of(nlp).encoder.body
    body.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True)
    for _ in range(3):
        nlp.update(exclusive_examples(nlp), sgd=AdamW())
        scores_of(nlp, [text + " please" for text in TEXTS])
    assert max(sizes) <= 100
    assert sum(sizes) > 200


# ---- learning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_budgets_change_no_step(quiet_bert: Path, multilabel: bool, frozen: Any) -> None:
    found = []
    for budget in (32, 100, 100_000):
        nlp = pipeline(quiet_bert, multilabel=multilabel, piece_budget=budget, tuning={"frozen_depth": frozen})
        sgd = AdamW(learn_rate=1e-2, eps=1e-3)
        losses: dict[str, float] = {}
        for _ in range(2):
            nlp.update(multilabel_examples(nlp) if multilabel else exclusive_examples(nlp), sgd=sgd, losses=losses)
        found.append((losses[nlp.pipe_names[0]], weights_of(nlp)))
    for loss, weights in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for name, value in weights.items():
            torch.testing.assert_close(value, found[0][1][name], atol=5e-6, rtol=1e-5, msg=name)


def test_the_step_depends_on_no_order(quiet_bert: Path) -> None:
    found = []
    for reverse in (False, True):
        nlp = pipeline(quiet_bert)
        examples = exclusive_examples(nlp)
        nlp.update(examples[::-1] if reverse else examples, sgd=AdamW(learn_rate=1e-2, eps=1e-3))
        found.append(weights_of(nlp))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=5e-6, rtol=1e-5, msg=name)


def test_an_empty_batch_is_no_step(bert: Path) -> None:
    nlp = pipeline(bert)
    before = weights_of(nlp)
    assert nlp.get_pipe("transfer_textcat").update([], sgd=AdamW(learn_rate=1.0)) == {"transfer_textcat": 0.0}
    assert not moved(before, weights_of(nlp))


# ---- the feature cache -------------------------------------------------------------------------------------------

POOLINGS = ["MeanPooling", "ClsPooling", "LastPooling", "MaxPooling", "AttentionPooling"]


def trained(folder: Path, cache: dict[str, Any], n_steps: int = 4, **blocks: Any) -> Any:
    nlp = pipeline(folder, cache=cache, **blocks)
    sgd = AdamW(learn_rate=1e-2, eps=1e-3)
    for i in range(n_steps):
        nlp.update(exclusive_examples(nlp)[i % 2 :: 2], sgd=sgd)
    return nlp


def assert_alike(one: Any, other: Any, atol: float) -> None:
    for name, value in weights_of(one).items():
        torch.testing.assert_close(value, weights_of(other)[name], atol=atol, rtol=1e-4, msg=name)
    torch.testing.assert_close(scores_of(one, MIXED), scores_of(other, MIXED), atol=atol, rtol=0.0)


@pytest.mark.parametrize("pooling", mostly_slow(POOLINGS, but=["MeanPooling", "AttentionPooling"]))
@pytest.mark.parametrize("frozen", [1, 2, "all"])
def test_cached_is_uncached(quiet_bert: Path, pooling: str, frozen: Any) -> None:
    blocks = {"tuning": {"frozen_depth": frozen}, "pooling": {"@layers": f"spacy-transfer.{pooling}.v1"}}
    cached, uncached = trained(quiet_bert, {}, **blocks), trained(quiet_bert, {"memory": 0}, **blocks)
    states = shim_of(cached).pathway.cached
    assert states.hits > 2 * states.misses
    assert shim_of(uncached).pathway is shim_of(uncached).current_pathway.direct
    assert_alike(cached, uncached, 1e-5)


@pytest.mark.parametrize("frozen", [1, "all"])
def test_a_cache_that_is_too_small_changes_nothing(quiet_bert: Path, frozen: Any) -> None:
    small = trained(quiet_bert, {"memory": 1000}, tuning={"frozen_depth": frozen})
    assert shim_of(small).pathway.cached.is_full
    assert_alike(small, trained(quiet_bert, {"memory": 0}, tuning={"frozen_depth": frozen}), 1e-5)


@pytest.mark.parametrize("frozen", [1, "all"])
@pytest.mark.parametrize("disk_precision", [pytest.param("same", marks=pytest.mark.slow), "half"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_cache_on_disk_serves_the_next_run(
    quiet_bert: Path, tmp_path: Path, frozen: Any, disk_precision: str, precision: str
) -> None:
    cache = {"memory": 0, "cache_dir": str(tmp_path), "disk_precision": disk_precision}
    blocks = {"tuning": {"frozen_depth": frozen}, "precision": precision}
    first = trained(quiet_bert, cache, **blocks)
    assert list(tmp_path.glob("*/*.data"))
    second = trained(quiet_bert, cache, **blocks)
    assert shim_of(second).pathway.cached.misses == 0
    exact = 1e-6 if disk_precision == "same" else 5e-3
    assert_alike(first, second, exact)
    assert_alike(second, trained(quiet_bert, {"memory": 0}, **blocks), max(exact, TOLERANCE[precision]))


def test_a_damaged_cache_is_computed_anew(quiet_bert: Path, tmp_path: Path) -> None:
    cache, tuning = {"memory": 0, "cache_dir": str(tmp_path)}, {"frozen_depth": 1}
    wanted = trained(quiet_bert, cache, tuning=tuning)
    data = next(tmp_path.glob("*/*.data"))
    raw = bytearray(data.read_bytes())
    for place in range(100, len(raw), 500):
        raw[place] ^= 0xFF
    data.write_bytes(raw)
    assert_alike(trained(quiet_bert, cache, tuning=tuning), wanted, 1e-5)


def test_a_cache_serves_only_its_own_weights(tmp_path: Path) -> None:
    cache = {"memory": 0, "cache_dir": str(tmp_path / "cache")}
    one = write_encoder(tmp_path / "one", "bert")
    other = write_encoder(tmp_path / "other", "bert", layer_norm_eps=1e-3)
    tuning = {"frozen_depth": 1}
    trained(one, cache, tuning=tuning)
    # Other weights below the boundary.
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"] += 0.1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    for folder in (other, one):
        cached, uncached = trained(folder, cache, tuning=tuning), trained(folder, {"memory": 0}, tuning=tuning)
        torch.testing.assert_close(scores_of(cached, TEXTS), scores_of(uncached, TEXTS), atol=1e-2, rtol=0.0)


def test_a_cache_serves_only_its_own_configuration(tmp_path: Path) -> None:
    """The same weights with another activation are another encoder."""
    cache = {"memory": 0, "cache_dir": str(tmp_path / "cache")}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tuning = {"frozen_depth": 1}
    for activation in ("gelu", "relu"):
        folder = write_encoder(tmp_path / activation, "bert", hidden_act=activation, **quiet)
        cached, uncached = trained(folder, cache, tuning=tuning), trained(folder, {"memory": 0}, tuning=tuning)
        assert_alike(cached, uncached, 1e-5)


def test_loading_other_weights_empties_the_cache(quiet_bert: Path) -> None:
    nlp = trained(quiet_bert, {}, tuning={"frozen_depth": 1})
    other = pipeline(quiet_bert, tuning={"frozen_depth": 1})
    with torch.no_grad():
        network_of(other).encoder.body.embeddings.word_embeddings.weight.mul_(2.0)
    wanted = scores_of(
        spacy.util.load_model_from_config(other.config, auto_fill=True).from_bytes(other.to_bytes()), TEXTS
    )
    nlp.from_bytes(other.to_bytes())
    torch.testing.assert_close(scores_of(nlp, TEXTS), wanted, atol=1e-6, rtol=0.0)


def test_averages_and_cache_agree(quiet_bert: Path) -> None:
    found = []
    for cache in ({}, {"memory": 0}):
        nlp = pipeline(quiet_bert, cache=cache, tuning={"frozen_depth": 1})
        sgd = AdamW(learn_rate=1e-2, eps=1e-3, use_averages=True)
        for _ in range(3):
            nlp.update(exclusive_examples(nlp), sgd=sgd)
        with nlp.use_params(sgd.averages):
            found.append(scores_of(nlp, TEXTS))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0.0)


# ---- exact lengths -----------------------------------------------------------------------------------------------


def test_piece_length_is_the_length_of_the_row(bert: Path) -> None:
    nlp = pipeline(bert)
    length = make_piece_length(str(bert))
    for text in [*TEXTS, "", " ", "[SEP] card", "日本語のテキスト"]:
        (rows,) = shim_of(nlp).reader.read([text], remember=False)
        doc = nlp.make_doc(text)
        assert length(doc) == len(rows[0].ids)
        assert length(Example.from_dict(doc, {"cats": {}})) == len(rows[0].ids)


def test_batches_by_exact_lengths_are_sorted(bert: Path) -> None:
    length = make_piece_length(str(bert))
    docs = [spacy.blank("xx").make_doc("card " * n) for n in (9, 2, 7, 1, 8, 3)]
    batches = list(make_batch_by_pieces(docs=2, get_length=length)(docs))
    assert sorted(sorted(length(doc) for doc in batch) for batch in batches) == [[3, 4], [5, 9], [10, 11]]


def test_piece_length_of_an_encoder_that_is_nowhere() -> None:
    length = make_piece_length("nowhere/at-all")
    with pytest.raises(OSError, match="T05"):
        length(spacy.blank("xx").make_doc("card"))
