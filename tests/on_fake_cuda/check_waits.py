"""How often the host waits for a GPU, and how much it asks of it: a bound for every block.

What holds, with losses left on the GPU as our own loop does (`nlp.update` alone fetches its loss, one wait): a training
step waits for nothing, a call of `nlp.pipe` once, for its scores. A new `.item()`, `.cpu()`, `torch.tensor(list,
device=...)`, a mask as an index show here, with their line. The exceptions and their reasons stand in `TABLE`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
import torch.nn.functional as F
import transformers
from torch.overrides import _get_current_function_mode

from house_kit.encoders import KNOWN_FAMILIES
from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.scratches import classifier
from house_kit.texts import LABELS, TEXTS, WORDS, examples_of, exclusive_examples, one_hot
from spacy_transfer.nn.devices.host_ahead import HostAhead
from spacy_transfer.training.adamw import AdamW

# Launches are those of a certain transformers.
COUNTED = transformers.__version__.startswith("4.53.")
LONG = " ".join(2 * WORDS)
CROSS = {"@losses": "spacy-transfer.CrossEntropy.v1"}
FROZEN: dict[str, Any] = {"tuning": {"frozen_depth": "all"}}
HALF: dict[str, Any] = {"tuning": {"frozen_depth": 1}}


def around(name: str, **fields: Any) -> dict[str, Any]:
    return {"loss": {"@losses": f"spacy-transfer.{name}.v1", "loss": CROSS, **fields}}


def pooled_by(name: str) -> dict[str, Any]:
    return {"pooling": {"@layers": f"spacy-transfer.{name}.v1"}, "long": True}


AUGMENTED = {"augmentation": {"@misc": "spacy-transfer.Augmentation.v1", "drop": 0.2, "clean": 0.5}}
QUERIES = {"head": {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}}
CHAR_NGRAMS = {"char_ngrams": {"@misc": "spacy-transfer.CharNGrams.v1", "min_pieces": 1}}

# Blocks: what is built; waits and launches of a training step; waits and launches of a call in prediction.
TABLE: dict[str, tuple[dict[str, Any], tuple[int, int], tuple[int, int]]] = {
    "BERT": ({}, (0, 260), (1, 81)),
    "BERT, bf16": ({"precision": "bf16"}, (0, 392), (1, 111)),
    # The scale of the next step depends on whether this one overflowed.
    "BERT, fp16": ({"precision": "fp16"}, (1, 455), (1, 111)),
    "BERT in micro-batches": ({"piece_budget": 64}, (0, 1127), (1, 321)),
    "windows": ({"long": True}, (0, 265), (1, 85)),
    "roberta": ({"family": "roberta"}, (0, 267), (1, 89)),
    "xlm-roberta": ({"family": "xlm-roberta"}, (0, 204), (1, 68)),
    "distilbert": ({"family": "distilbert"}, (0, 251), (1, 79)),
    # One for the activation of a pooler that is not there.
    "albert": ({"family": "albert"}, (0, 342), (1, 104)),
    "electra": ({"family": "electra"}, (0, 256), (1, 77)),
    "mpnet": ({"family": "mpnet"}, (0, 264), (1, 86)),
    "modernbert": ({"family": "modernbert"}, (0, 398), (1, 164)),
    "t5": ({"family": "t5"}, (0, 383), (1, 127)),
    "bart": ({"family": "bart"}, (0, 254), (1, 82)),
    # Positions are made by TorchScript, which no mode of torch sees; it copies a number to the GPU.
    "deberta-v2": ({"family": "deberta-v2"}, (1, 431), (2, 162)),
    "deberta-v3": ({"family": "deberta-v3"}, (1, 428), (2, 161)),
    "half frozen": (HALF, (0, 185), (1, 81)),
    "half frozen, bf16": ({**HALF, "precision": "bf16"}, (0, 271), (1, 118)),
    "half frozen in micro-batches": ({**HALF, "piece_budget": 64}, (0, 764), (1, 321)),
    "half frozen, no cache": ({**HALF, "cache": {"memory": 0}}, (0, 216), (1, 81)),
    "frozen": (FROZEN, (0, 45), (1, 81)),
    "unfreezing": ({"tuning": {"frozen_depth": "all", "unfreeze_every": 50}}, (0, 45), (1, 81)),
    "rates by depth": ({"tuning": {"lr_decay": 0.8}}, (0, 278), (1, 81)),
    "LoRA": ({"tuning": {"adapter": {"@misc": "spacy-transfer.LoRA.v1"}}}, (0, 330), (1, 129)),
    "gradient checkpointing": ({"gradient_checkpointing": True}, (0, 332), (1, 81)),
    "MeanPooling": (pooled_by("MeanPooling"), (0, 265), (1, 85)),
    "ClsPooling": (pooled_by("ClsPooling"), (0, 262), (1, 82)),
    "MaxPooling": (pooled_by("MaxPooling"), (0, 276), (1, 82)),
    "AttentionPooling": (pooled_by("AttentionPooling"), (0, 293), (1, 95)),
    "label queries": (QUERIES, (0, 319), (1, 104)),
    "label queries over windows": ({**QUERIES, "long": True}, (0, 324), (1, 106)),
    "R-Drop": (around("RDrop"), (0, 304), (1, 81)),
    "contrast": (around("SupervisedContrastive"), (0, 333), (1, 81)),
    "contrast in micro-batches": ({**around("SupervisedContrastive"), "piece_budget": 64}, (0, 1404), (1, 321)),
    "mixup": (around("Mixup"), (0, 296), (1, 81)),
    "augmented, half frozen": ({**HALF, **AUGMENTED}, (0, 397), (1, 81)),
    "augmented, frozen": ({**FROZEN, **AUGMENTED}, (0, 135), (1, 81)),
    "from scratch": ({"kind": "scratch"}, (0, 213), (1, 81)),
    # How many n-grams a micro-batch has decides the size of what is summed; see `nn/scratch/char_ngrams.py`.
    "from scratch, n-grams": ({"kind": "scratch", "encoder": CHAR_NGRAMS}, (1, 231), (2, 96)),
    "hidden pieces": ({"kind": "hidden pieces"}, (0, 258), (1, 90)),
    # Thinc is on the CPU here, and with it the encoder: its backward pass needs the gradient there.
    "shared encoder": ({"kind": "shared"}, (1, 50), (1, 8)),
    "shared encoder, R-Drop": ({"kind": "shared", **around("RDrop")}, (1, 104), (1, 8)),
}


def folder_of(encoder_folder: Callable[[str], Path], blocks: dict[str, Any]) -> Path:
    return encoder_folder(blocks.pop("family", "bert"))


def made(encoder_folder: Callable[[str], Path], blocks: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A pipeline on the GPU, and what it learns: 24 texts, or 9 of which six are read in three windows."""
    blocks = {**blocks}
    long, kind = blocks.pop("long", False), blocks.pop("kind", "classifier")
    folder = folder_of(encoder_folder, blocks)
    if kind == "hidden pieces":
        nlp = spacy.blank("xx")
        block = {"encoder": {"name": str(folder), "revision": None}, "windows": {"length": 32, "stride": 20}}
        nlp.add_pipe("transfer_masked_lm", config={"model": {**block, "precision": "fp32", "device": "cuda"}})
        nlp.initialize(lambda: exclusive_examples(nlp))
    elif kind == "shared":
        from house_kit.shared import shared_pipeline

        nlp = shared_pipeline(folder, device="cuda", **blocks)
    elif kind == "scratch":
        nlp = classifier(device="cuda", **blocks)
    else:
        nlp = pipeline(folder, device="cuda", **{"precision": "fp32", **blocks})
    examples = exclusive_examples(nlp)
    if long:
        texts = [*(f"{text} {LONG}" for text in TEXTS[:6]), *TEXTS[6:9]]
        examples = examples_of(nlp, texts, [one_hot(LABELS[i % 3]) for i in range(9)])
    return nlp, examples


@pytest.mark.parametrize("name", TABLE)
def test_waits_and_launches(name: str, encoder_folder: Callable[[str], Path], gpu: Any) -> None:
    blocks, step, call = TABLE[name]
    if blocks.get("kind") == "shared":
        pytest.importorskip("spacy_transformers")
    if name == "LoRA":
        pytest.importorskip("peft")
    if blocks.get("family", "bert") not in KNOWN_FAMILIES:
        pytest.skip("not in this transformers")
    nlp, examples = made(encoder_folder, blocks)
    pipe = nlp.get_pipe(nlp.pipe_names[-1])
    pipe.model.shims[0].keeps_losses_on_gpu = True
    optimizer = AdamW(learn_rate=1e-3, use_averages=True)
    # The first ones fill the cache, and make moments and averages.
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)
    with gpu.counting() as learning:
        nlp.update(examples, sgd=optimizer)
    texts = [example.text for example in examples]
    hidden_pieces = blocks.get("kind") == "hidden pieces"
    predict = (lambda: nlp.evaluate(examples)) if hidden_pieces else (lambda: list(nlp.pipe(texts)))
    predict()
    with gpu.counting() as predicting:
        predict()
    for counts, (n_waits, n_launches) in ((learning, step), (predicting, call)):
        assert not counts.slow
        assert len(counts.waits) == n_waits, counts.waits
        if COUNTED:
            assert counts.launches <= n_launches, counts.ops.most_common(12)


def test_a_loop_of_spacys_waits_once_a_step_for_the_loss(bert: Path, gpu: Any) -> None:
    nlp = pipeline(bert, device="cuda", precision="fp32")
    examples, optimizer = exclusive_examples(nlp), AdamW()
    with gpu.counting() as counts:
        nlp.update(examples, sgd=optimizer)
    assert [what for what, _ in counts.waits] == ["_local_scalar_dense"]


# ---- what the host answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_what_the_host_answers_is_what_the_device_would(
    family: str, is_full: bool, encoder_folder: Callable[[str], Path], gpu: Any
) -> None:
    encoder = network_of(pipeline(encoder_folder(family), device="cuda", precision="fp32")).encoder.eval()
    ids, mask = torch.full((3, 7), 6, device="cuda"), torch.ones((3, 7), dtype=torch.int64)
    if not is_full:
        mask[1, 4:] = 0
    mask = mask.to("cuda")
    with torch.no_grad():
        asked, answered = encoder(ids, mask), encoder(ids, mask, is_full)
        assert torch.equal(asked.cpu(), answered.cpu())
        for depth in range(1, encoder.n_layers):
            states = encoder.prefix(ids, mask, depth, is_full)
            assert torch.equal(encoder.resume(ids, mask, states, depth, is_full).cpu(), asked.cpu())
    assert _get_current_function_mode() is None


@pytest.mark.parametrize("is_full", [True, False])
def test_without_padding_attention_has_no_mask(is_full: bool, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one flash attention may not be taken; and the layers run without a mode, which costs each call some time."""
    encoder, seen = network_of(pipeline(bert, device="cuda", precision="fp32")).encoder, []
    original = F.scaled_dot_product_attention

    def attention(*args: Any, attn_mask: Any = None, **kwargs: Any) -> Any:
        seen.append((attn_mask is None, _get_current_function_mode()))
        return original(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    mask = torch.ones((2, 5), dtype=torch.int64)
    mask[0, 4:] = int(is_full)
    encoder(torch.full((2, 5), 6, device="cuda"), mask.to("cuda"), is_full)
    assert seen == [(is_full, None)] * encoder.n_layers


def test_another_thread_does_not_end_what_this_one_began(gpu: Any) -> None:
    from threading import Thread

    layer = torch.nn.Identity()
    with HostAhead(torch.ones((2, 5), device="cuda"), True, layer):
        other = Thread(target=layer, args=(None,))
        other.start()
        other.join()
        assert isinstance(_get_current_function_mode(), HostAhead)
        layer(None)
        assert _get_current_function_mode() is None


# ---- states that stay on the GPU ---------------------------------------------------------------------------------


def losses_and_scores(nlp: Any) -> tuple[list[float], torch.Tensor]:
    examples, optimizer = exclusive_examples(nlp), AdamW(learn_rate=1e-3)
    return [nlp.update(examples[:16], sgd=optimizer)["transfer_textcat"] for _ in range(4)], scores_of(nlp, TEXTS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_on_the_gpu_are_those_that_are_computed(precision: str, bert: Path, tmp_path: Path, gpu: Any) -> None:
    """All of them there, some of them, some of them on disk: the same training."""
    blocks: dict[str, Any] = {**HALF, "device": "cuda", "precision": precision}
    wanted = losses_and_scores(pipeline(bert, **blocks, cache={"memory": 0}))
    size = 16 * (4 if precision == "fp32" else 2)
    for cache in (
        {}, {"memory": 60 * size}, {"memory": 60 * size, "cache_dir": str(tmp_path)},
        {"memory": 0, "cache_dir": str(tmp_path)},
    ):  # fmt: skip
        nlp = pipeline(bert, **blocks, cache=cache)
        found = losses_and_scores(nlp)
        states = shim_of(nlp).pathway.cached
        assert states.stay_on_gpu
        assert states._used <= states._budget
        assert states.hits > 0
        torch.testing.assert_close(found[0], wanted[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[1], wanted[1], atol=1e-4, rtol=1e-3)


def test_a_full_gpu_keeps_what_it_has(quiet_bert: Path, monkeypatch: pytest.MonkeyPatch, gpu: Any) -> None:
    from spacy_transfer.model.shared import state_memory

    monkeypatch.setattr(state_memory, "_FIRST", 64)
    monkeypatch.setattr(state_memory.StateMemory, "_grow", grown_once(state_memory.StateMemory._grow))
    nlp = pipeline(
        quiet_bert, **HALF, device="cuda", precision="fp32", piece_budget=64, windows={"length": 32, "stride": 20}
    )
    wanted = losses_and_scores(pipeline(quiet_bert, **HALF, device="cuda", precision="fp32", cache={"memory": 0}))
    found = losses_and_scores(nlp)
    states = shim_of(nlp).pathway.cached
    assert 0 < len(states._memory) < len(TEXTS)
    assert states.is_full
    torch.testing.assert_close(found[0], wanted[0], atol=1e-4, rtol=1e-4)


def grown_once(original: Any) -> Any:
    calls: list[int] = []

    def grow(self: Any, least: int) -> bool:
        calls.append(least)
        return len(calls) == 1 and original(self, least)

    return grow
