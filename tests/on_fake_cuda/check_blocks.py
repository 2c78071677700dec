"""Every block learns on a GPU what it learns on a CPU, and leaves no tensor behind on the other device."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from thinc.api import fix_random_seed

from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.runs import CNN
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.pretraining.pretrain import Pretraining, pretrain


def loss(name: str, **values: Any) -> dict[str, Any]:
    return {"loss": {"@losses": f"spacy-transfer.{name}.v1", **values}}


def layer(field: str, name: str, **values: Any) -> dict[str, Any]:
    return {field: {"@layers": f"spacy-transfer.{name}.v1", **values}}


def misc(name: str, **values: Any) -> dict[str, Any]:
    return {"@misc": f"spacy-transfer.{name}.v1", **values}


INNER = loss("CrossEntropy")
QUERY = layer("head", "LabelQueryHead", heads=2)
LONG = {"windows": {"length": 8, "stride": 4}}
FEATURES = layer("features", "Tok2VecFeatures", tok2vec=CNN)
ALL = {"tuning": {"frozen_depth": "all"}}
EXCLUSIVE: dict[str, dict[str, Any]] = {
    "cls": layer("pooling", "ClsPooling"),
    "max": layer("pooling", "MaxPooling"),
    "attention": layer("pooling", "AttentionPooling"),
    "attention, windows": {**layer("pooling", "AttentionPooling"), **LONG},
    "head with a hidden layer": layer("head", "Head", hidden=[8], norm=True),
    "label query": QUERY,
    "label query, windows": {**QUERY, **LONG},
    "smoothing": loss("CrossEntropy", label_smoothing=0.1, class_weights="balanced"),
    "contrastive": loss("SupervisedContrastive", **INNER),
    "R-Drop": loss("RDrop", **INNER),
    "mixup": loss("Mixup", **INNER),
    "small micro-batches": {"piece_budget": 32},
    "contrastive in small micro-batches": {**loss("SupervisedContrastive", **INNER), "piece_budget": 64},
    "frozen, cached": ALL,
    "half frozen, cached": {"tuning": {"frozen_depth": 1, "lr_decay": 0.8}},
    "half frozen, no room": {"tuning": {"frozen_depth": 1}, "cache": {"memory": 1000}},
    "frozen, no cache": {**ALL, "cache": {"memory": 0}},
    "unfrozen by and by": {"tuning": {"frozen_depth": 2, "unfreeze_every": 1, "unfreeze_down_to": 0}},
    "solved": {**ALL, "head_init": misc("LinearProbe", Cs=[1.0])},
    "label texts": {"label_texts": misc("LabelTexts")},
    "augmented": {"augmentation": misc("Augmentation", drop=0.3, clean=0.5)},
    "augmented, frozen": {**ALL, "augmentation": misc("Augmentation", drop=0.3, clean=0.5)},
    "LoRA": {"tuning": {"adapter": misc("LoRA", rank=2)}},
    "DoRA": {"tuning": {"adapter": misc("LoRA", rank=2, variant="dora")}},
    "IA3": {"tuning": {"adapter": misc("IA3")}},
    "checkpointed": {"gradient_checkpointing": True},
    "features": FEATURES,
    "features, frozen, solved": {**FEATURES, **ALL, "head_init": misc("LinearProbe", Cs=[1.0])},
}
MULTILABEL: dict[str, dict[str, Any]] = {
    "binary": {},
    "focal": loss("Focal", exclusive=False),
    "asymmetric": loss("Asymmetric"),
    "squared": loss("SquaredError"),
    "smooth L1": loss("SmoothL1"),
    "label query": QUERY,
}
KINDS = [(False, name) for name in EXCLUSIVE] + [(True, name) for name in MULTILABEL]


def trained(encoder: Path, device: str, blocks: dict[str, Any], multilabel: bool, n_steps: int = 2) -> tuple[Any, Any]:
    fix_random_seed(0)
    blocks = {key: dict(value) if isinstance(value, dict) else value for key, value in blocks.items()}
    nlp = pipeline(encoder, multilabel=multilabel, device=device, **blocks)
    examples = (multilabel_examples if multilabel else exclusive_examples)(nlp, 6)
    optimizer = AdamW(learn_rate=1e-3)
    losses = []
    for _ in range(n_steps):
        found = nlp.update(examples, sgd=optimizer)
        losses += found.values()
    return nlp, losses


@pytest.mark.parametrize(("multilabel", "name"), KINDS, ids=[f"{name}{' (any)' * many}" for many, name in KINDS])
def test_a_block_learns_what_it_learns_on_a_cpu(quiet_bert: Path, multilabel: bool, name: str) -> None:
    blocks = (MULTILABEL if multilabel else EXCLUSIVE)[name]
    (on_cpu, wanted), (on_gpu, found) = (trained(quiet_bert, device, blocks, multilabel) for device in ("cpu", "cuda"))
    assert found == pytest.approx(wanted, abs=1e-3, rel=1e-3)
    torch.testing.assert_close(scores_of(on_gpu, TEXTS), scores_of(on_cpu, TEXTS), atol=2e-3, rtol=1e-2)
    assert {weight.device.type for weight in network_of(on_gpu).parameters()} == {"cuda"}
    assert {buffer.device.type for buffer in network_of(on_gpu).buffers()} <= {"cuda"}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("blocks", [{}, {"tuning": {"frozen_depth": 1}}], ids=["full", "half"])
def test_half_precisions_go_the_same_way(quiet_bert: Path, precision: str, blocks: dict[str, Any]) -> None:
    _, wanted = trained(quiet_bert, "cpu", blocks, False)
    _, found = trained(quiet_bert, "cuda", {**blocks, "precision": precision}, False)
    assert found == pytest.approx(wanted, rel=0.1)


def test_a_copy_stays_on_the_device(quiet_bert: Path) -> None:
    nlp, _ = trained(quiet_bert, "cuda", {}, False, 1)
    other = copy.deepcopy(nlp.get_pipe("transfer_textcat").model).shims[0]
    assert other.network.device == shim_of(nlp).network.device


def test_an_encoder_warms_up_on_a_gpu(quiet_bert: Path, tmp_path: Path) -> None:
    found = []
    for device in ("cpu", "cuda"):
        config = pipeline(quiet_bert, device=device).config
        plan = Pretraining(steps=4, rows=8, rate=1e-3)
        found.append(pretrain(config, TEXTS * 2, tmp_path / device, plan=plan))
    assert found[1].loss_after == pytest.approx(found[0].loss_after, rel=1e-3)
