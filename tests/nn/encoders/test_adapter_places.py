"""Where adapters go: in every family, by name, and what the frozen boundary makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from house_kit.adapters import LORA, adapted

pytest.importorskip("peft")

import torch

from house_kit.encoders import KNOWN_FAMILIES
from house_kit.pipelines import network_of
from spacy_transfer.nn.encoders.adapters import IA3, LoRA, attach, fingerprint, is_adapter_weight, reattach
from spacy_transfer.nn.encoders.adapters import merge as merge_encoder
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder

# Parts of the names of what "auto" adapts in a layer: LoRA's, IA3's.
_BERT = ({"query", "key", "value", "dense"}, {"key", "value", "output.dense"})
AUTO = {
    "bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "electra": _BERT,
    "distilbert": ({"q_lin", "k_lin", "v_lin", "out_lin"}, {"k_lin", "v_lin", "ffn.lin2"}),
    "albert": ({"query", "key", "value", "dense"}, {"key", "value", "ffn_output"}),
    "albert-two-groups": ({"query", "key", "value", "dense"}, {"key", "value", "ffn_output"}),
    "mpnet": ({"q", "k", "v", "o"}, {"k", "v", "output.dense"}),
    "deberta-v2": ({"query_proj", "key_proj", "value_proj", "dense"}, {"key_proj", "value_proj", "output.dense"}),
    "deberta-v3": ({"query_proj", "key_proj", "value_proj", "dense"}, {"key_proj", "value_proj", "output.dense"}),
    "deberta-v2-conv": ({"query_proj", "key_proj", "value_proj", "dense"}, {"key_proj", "value_proj", "output.dense"}),
    "modernbert": ({"Wqkv", "Wo"}, {"Wqkv", "mlp.Wo"}),
    "t5": ({"q", "k", "v", "o"}, {"k", "v", "DenseReluDense.wo"}),
    "bart": ({"q_proj", "k_proj", "v_proj", "out_proj"}, {"k_proj", "v_proj", "fc2"}),
    "gpt2": ({"attn.c_attn", "attn.c_proj"}, {"attn.c_attn", "mlp.c_proj"}),
    **{
        family: ({"q_proj", "k_proj", "v_proj", "o_proj"}, {"k_proj", "v_proj", "down_proj"})
        for family in ("llama", "gemma3")
    },
}  # fmt: skip


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_auto_finds_its_places_in_every_family(family: str, encoder_folder: Callable[[str], Path]) -> None:
    for builder, wanted in ((LoRA(rank=2), AUTO[family][0]), (IA3(), AUTO[family][1])):
        encoder = PretrainedEncoder(str(encoder_folder(family))).load().encoder
        own, n_layers = {name for name, _ in encoder.named_parameters()}, encoder.n_layers
        record = attach(encoder, builder, -1)
        assert all(any(f".{name}".endswith(f".{part}") for part in wanted) for name in record["modules"])
        for part in wanted:
            assert any(f".{name}".endswith(f".{part}") for name in record["modules"]), part
        shared = {"albert": 1, "albert-two-groups": 2}.get(family, n_layers)
        assert len(record["modules"]) == shared * len(wanted)
        # IA3: attention.output.dense is none of its places.
        assert isinstance(builder, LoRA) or not [n for n in record["modules"] if "attention.output" in n]
        assert {name.replace(".base_layer.", ".") for name, _ in encoder.named_parameters()} > own


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_resume_cache_and_merge_in_every_family(family: str, encoder_folder: Callable[[str], Path]) -> None:
    """Stopping and going on at every depth, storing and merging with a lively adapter in every linear map."""
    encoder = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
    plain = fingerprint(encoder)
    depths = {name: encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    record = attach(encoder, LoRA(rank=2, targets="all_linear"), 0)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            where = name.partition(".lora_")[0] if is_adapter_weight(name) else name.replace(".base_layer.", ".")
            assert encoder.depth_of(name) == next(d for n, d in depths.items() if n.startswith(where)), name
            if is_adapter_weight(name):
                weight.normal_(std=0.2)
    assert fingerprint(encoder) == plain
    ids = torch.randint(6, 60, (2, 7))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        full = encoder(ids, mask)
        for depth in range(encoder.n_layers + 1):
            assert torch.equal(encoder.resume(ids, mask, encoder.prefix(ids, mask, depth), depth), full), depth
        again = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
        assert not torch.allclose(again(ids, mask), full, atol=1e-2)
        random = torch.get_rng_state()
        reattach(again, record)
        assert torch.equal(torch.get_rng_state(), random)
        again.load_state_dict(encoder.state_dict())
        assert torch.equal(again.eval()(ids, mask), full)
        merge_encoder(encoder)
        torch.testing.assert_close(encoder(ids, mask), full, atol=5e-5, rtol=1e-4)
    assert {name: encoder.depth_of(name) for name, _ in encoder.named_parameters()} == depths
    assert fingerprint(encoder) != plain


def test_targets_by_name(bert: Path) -> None:
    encoder = PretrainedEncoder(str(bert)).load().encoder
    record = attach(encoder, LoRA(targets=["query", "layer.2.attention.self.value"]), 0)
    assert [name.removeprefix("encoder.layer.") for name in record["modules"]] == [
        "0.attention.self.query", "1.attention.self.query", "2.attention.self.query", "2.attention.self.value",
    ]  # fmt: skip


def test_the_frozen_boundary_follows_the_targets(bert: Path) -> None:
    nlp = adapted(bert, {**LORA, "targets": ["layer.2.attention.self.query"]}, frozen_depth=-1)
    assert network_of(nlp).boundary == 2
