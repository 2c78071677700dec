"""Every encoder family: depth, freezing, stopping and going on at any depth, saving."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file

from house_kit.encoders import DECODERS, FAMILIES, KNOWN_FAMILIES, POSITIONS, WIDTH, write_encoder
from house_kit.pipelines import moved, network_of, pipeline, read_json, scores_of, weights_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder, build_encoder
from spacy_transfer.training.adamw import AdamW

N_LAYERS = {
    "bert": 3, "roberta": 3, "xlm-roberta": 2, "distilbert": 3, "albert": 3, "albert-two-groups": 4, "electra": 3,
    "mpnet": 3, "deberta-v2": 3, "deberta-v3": 3, "deberta-v2-conv": 3, "modernbert": 4, "t5": 3, "bart": 3,
    "gpt2": 3, "llama": 3, "gemma3": 3,
}  # fmt: skip
FAMILY_AND_DEPTH = [(family, depth) for family in KNOWN_FAMILIES for depth in range(-1, N_LAYERS[family] + 1)]
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def encoders(encoder_folder: Folders) -> Callable[[str], Encoder]:
    """Loaded encoders, in evaluation mode."""
    loaded: dict[str, Encoder] = {}

    def encoder(family: str) -> Encoder:
        if family not in loaded:
            loaded[family] = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
        return loaded[family]

    return encoder


def padded_rows(encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of 9, 4 and 1 pieces, padded on the right."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(6, 60, (3, 9), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate((9, 4, 1)):
        mask[row, :length] = 1
        ids[row, length:] = encoder.pad_id
    return ids, mask


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_width_and_depth(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    assert (encoder.width, encoder.n_layers) == (WIDTH, N_LAYERS[family])
    ids, mask = padded_rows(encoder)
    assert encoder(ids, mask).shape == (3, 9, WIDTH)
    assert encoder.pad_id == {"modernbert": 3}.get(family, FAMILIES[family][2].get("pad_token_id", 0))
    assert encoder.is_causal == (family in DECODERS)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_padding_changes_nothing(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    ids, mask = padded_rows(encoder)
    alone = encoder(ids[1:2, :4], mask[1:2, :4])
    torch.testing.assert_close(encoder(ids, mask)[1, :4], alone[0], atol=1e-5, rtol=1e-5)


# ---- depth of a weight -------------------------------------------------------------------------------------------

# Part of a weight's name: its depth, counted from L where negative (L = -1).
DEPTHS = {
    "bert": {"word_embeddings": 0, "embeddings.LayerNorm": 0, "layer.0.attention": 1, "layer.2.output": -1},
    "roberta": {"position_embeddings": 0, "layer.0.": 1, "layer.1.": 2, "layer.2.": -1},
    "xlm-roberta": {"word_embeddings": 0, "layer.1.": -1},
    "distilbert": {"embeddings.LayerNorm": 0, "layer.0.": 1, "layer.2.output_layer_norm": -1},
    "albert": {"embedding_hidden_mapping_in": 0, "embeddings.LayerNorm": 0, "albert_layer_groups.0": 1},
    "albert-two-groups": {"embedding_hidden_mapping_in": 0, "albert_layer_groups.0": 1, "albert_layer_groups.1": 3},
    "electra": {"embeddings_project": 0, "layer.0.": 1, "layer.2.": -1},
    "mpnet": {"relative_attention_bias": 0, "embeddings.LayerNorm": 0, "layer.0.": 1, "layer.2.": -1},
    "deberta-v2": {"rel_embeddings": 0, "encoder.LayerNorm": 0, "word_embeddings": 0, "layer.0.": 1, "layer.2.": -1},
    "deberta-v3": {"rel_embeddings": 0, "encoder.LayerNorm": 0, "layer.1.": 2},
    "deberta-v2-conv": {"encoder.conv.": 1, "rel_embeddings": 0, "layer.0.": 1},
    "modernbert": {"tok_embeddings": 0, "embeddings.norm": 0, "layers.0.": 1, "layers.3.": -1, "final_norm": -1},
    "t5": {
        "embed_tokens": 0, "relative_attention_bias": 0, "block.0.layer.0.SelfAttention.q": 1, "block.2.": -1,
        "final_layer_norm": -1,
    },
    "bart": {
        "embed_tokens": 0, "embed_positions": 0, "layernorm_embedding": 0, "layers.0.final_layer_norm": 1,
        "layers.1.": 2, "layers.2.self_attn_layer_norm": -1,
    },
    "gpt2": {"wte": 0, "wpe": 0, "h.0.": 1, "h.1.attn.c_attn": 2, "h.2.": -1, "ln_f": -1},
    **{
        family: {"embed_tokens": 0, "layers.0.": 1, "layers.1.mlp": 2, "layers.2.": -1, "body.norm.": -1}
        for family in ("llama", "gemma3")
    },
}  # fmt: skip


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_weight_has_its_depth(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    names = [name for name, _ in encoder.named_parameters()]
    for part, depth in DEPTHS[family].items():
        here = [name for name in names if part in name]
        assert here, f"{family} has no {part}: {names}"
        wanted = depth % (encoder.n_layers + 1)
        assert {encoder.depth_of(name) for name in here} == {wanted}, part
    expected = (
        {0, 1}
        if family == "albert"
        else {0, 1, 3}
        if family == "albert-two-groups"
        else set(range(encoder.n_layers + 1))
    )
    assert {encoder.depth_of(name) for name in names} == expected
    assert not any("pooler" in name or "decoder" in name for name in names)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_depth_is_where_a_weight_first_counts(family: str, encoders: Callable[[str], Encoder]) -> None:
    """Changing a weight of depth d leaves the states after d - 1 alone: so freezing d - 1 may cache them."""
    encoder = encoders(family)
    ids, mask = padded_rows(encoder)
    before = [encoder.prefix(ids, mask, depth) for depth in range(encoder.n_layers + 1)]
    for name, weight in encoder.named_parameters():
        depth = encoder.depth_of(name)
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.add_(0.5)
        for below in range(depth):
            assert torch.equal(encoder.prefix(ids, mask, below), before[below]), f"{name} counts before depth {depth}"
        with torch.no_grad():
            weight.copy_(kept)


# ---- stop and go on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_prefix_and_resume_equal_the_full_run(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    ids, mask = padded_rows(encoder)
    with torch.no_grad():
        full = encoder(ids, mask)
        for depth in range(encoder.n_layers + 1):
            states = encoder.prefix(ids, mask, depth)
            assert torch.equal(encoder.resume(ids, mask, states, depth), full), depth
        # Nothing of it stays behind.
        assert torch.equal(encoder(ids, mask), full)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_resume_uses_the_states_it_is_given(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    ids, mask = padded_rows(encoder)
    with torch.no_grad():
        for depth in range(encoder.n_layers):
            states = encoder.prefix(ids, mask, depth)
            other = encoder.resume(ids, mask, states + torch.randn(states.shape), depth)
            assert not torch.allclose(other, encoder(ids, mask)), depth


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_resume_works_for_other_shapes_than_the_recorded(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    ids, mask = padded_rows(encoder)
    with torch.no_grad():
        for rows in (slice(0, 1), slice(0, 2), slice(0, 3)):
            states = encoder.prefix(ids[rows], mask[rows], 1)
            assert torch.equal(encoder.resume(ids[rows], mask[rows], states, 1), encoder(ids[rows], mask[rows]))


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_gradients_through_resume_equal_the_plain_ones(family: str, encoder_folder: Folders) -> None:
    encoder = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
    ids, mask = padded_rows(encoder)
    for depth in range(encoder.n_layers):
        if all(encoder.depth_of(name) <= depth for name, _ in encoder.named_parameters()):
            break  # ALBERT: layer 1 has the weights of all
        gradients = []
        for resumed in (False, True):
            encoder.zero_grad(set_to_none=True)
            for name, weight in encoder.named_parameters():
                weight.requires_grad_(encoder.depth_of(name) > depth)
            if resumed:
                with torch.no_grad():
                    states = encoder.prefix(ids, mask, depth)
                out = encoder.resume(ids, mask, states, depth)
            else:
                out = encoder(ids, mask)
            (out * mask.unsqueeze(2)).square().sum().backward()
            gradients.append({n: w.grad.clone() for n, w in encoder.named_parameters() if w.grad is not None})
        plain, through = gradients
        assert plain.keys() == through.keys()
        assert plain
        for name, gradient in plain.items():
            assert torch.equal(gradient, through[name]), (depth, name)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_resume_leaves_training_modes_alone(family: str, encoder_folder: Folders) -> None:
    encoder = PretrainedEncoder(str(encoder_folder(family))).load().encoder.train()
    frozen = list(encoder.modules_up_to(1))
    for module in frozen:
        module.training = False
    before = [module.training for module in encoder.modules()]
    ids, mask = padded_rows(encoder)
    encoder.resume(ids, mask, encoder.prefix(ids, mask, 1), 1)
    assert [module.training for module in encoder.modules()] == before
    assert frozen
    assert any(before)


# ---- freezing and storage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "depth"), FAMILY_AND_DEPTH)
def test_a_step_moves_what_is_above_the_frozen_depth(family: str, depth: int, encoder_folder: Folders) -> None:
    nlp = pipeline(encoder_folder(family), tuning={"frozen_depth": depth}, head={"hidden": [8]})
    network = network_of(nlp)
    touched: list[int] = []

    def watch(layer: int, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if states.requires_grad:
            states.register_hook(lambda gradient: touched.append(layer))

    layers = network.encoder._layers if len(network.encoder._layers) == network.n_layers else []
    for i, layer in enumerate(layers):
        layer.register_forward_hook(lambda module, args, output, i=i: watch(i + 1, output))
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2, weight_decay=0.1))
    changed = {network.depth_of(name) for name in moved(before, weights_of(nlp))}
    have = {network.depth_of(name) for name in before}
    assert changed == {d for d in have if d > depth}
    # Nothing is computed backward at or below the frozen depth.
    if layers:
        assert set(touched) == set(range(max(depth, 0) + 1, network.n_layers + 1))


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_saved_and_loaded_pipelines_score_alike(family: str, encoder_folder: Folders, tmp_path: Path) -> None:
    nlp = pipeline(encoder_folder(family), tuning={"frozen_depth": 1})
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    texts = [*TEXTS[:5], "", "card " * 60]
    torch.testing.assert_close(scores_of(again, texts), scores_of(nlp, texts), atol=1e-6, rtol=0.0)
    assert not moved(weights_of(nlp), weights_of(again))


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_frozen_modules_draw_no_dropout(family: str, encoder_folder: Folders) -> None:
    """With the whole encoder frozen, states in training are those of evaluation; with one depth frozen, its states."""
    nlp = pipeline(encoder_folder(family))
    network = network_of(nlp)
    ids, mask = padded_rows(network.encoder)
    for depth in range(network.n_layers + 1):
        network.boundary = depth
        network.eval()
        quiet = network.encoder.prefix(ids, mask, depth)
        network.train()
        assert torch.equal(network.encoder.prefix(ids, mask, depth), quiet), depth
        if any(network.encoder.depth_of(name) > depth for name, _ in network.encoder.named_parameters()):
            assert not torch.equal(network.encoder(ids, mask), network.encoder(ids, mask)), f"no dropout above {depth}"


# ---- positions ---------------------------------------------------------------------------------------------------

LEARNED = [f for f in KNOWN_FAMILIES if f not in ("t5", "modernbert", "deberta-v3") and f not in DECODERS[1:]]


@pytest.mark.parametrize("family", LEARNED)
def test_the_longest_row_just_fits(family: str, encoders: Callable[[str], Encoder]) -> None:
    encoder = encoders(family)
    assert encoder.max_pieces == POSITIONS
    row = torch.full((1, POSITIONS), 7)
    assert encoder(row, torch.ones_like(row)).isfinite().all()
    row = torch.full((1, POSITIONS + 1), 7)
    with pytest.raises((IndexError, RuntimeError)):
        encoder(row, torch.ones_like(row))


def test_limits_without_learned_positions(encoders: Callable[[str], Encoder]) -> None:
    assert encoders("t5").max_pieces is None
    if "modernbert" in KNOWN_FAMILIES:
        assert encoders("modernbert").max_pieces == POSITIONS


def test_positions_counted_from_padding_piece_0(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path, "roberta", pad_token_id=0, bos_token_id=1)
    encoder = PretrainedEncoder(str(folder)).load().encoder
    # 42 positions, the first for padding alone.
    assert encoder.max_pieces == POSITIONS + 1
    row = torch.full((1, POSITIONS + 1), 7)
    assert encoder(row, torch.ones_like(row)).isfinite().all()


# ---- loading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_a_pretrained_encoder_arrives_whole(
    family: str, encoder_folder: Folders, encoders: Callable[[str], Encoder]
) -> None:
    """Every weight of the file that belongs to the encoder is the one in the encoder."""
    stored = load_file(encoder_folder(family) / "model.safetensors")
    for name, weight in encoders(family).named_parameters():
        plain = name.removeprefix("body.")
        found: Any = next((stored[key] for key in (plain, f"encoder.{plain}", "shared.weight") if key in stored), None)
        assert found is not None, name
        assert torch.equal(found, weight), name


def without(source: Path, target: Path, part: str) -> Path:
    """A copy of an encoder folder that lacks some weights."""
    shutil.copytree(source, target)
    weights = load_file(source / "model.safetensors")
    kept = {name: value for name, value in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize(
    ("family", "part"),
    [
        ("bert", "layer.1.attention.self.query.weight"), ("bert", "embeddings.LayerNorm.bias"),
        ("bart", "encoder.embed_positions"), ("bart", "encoder.layers.2.fc1"), ("bart", "shared"),
        ("t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"), ("t5", "shared"),
        ("modernbert", "final_norm"), ("deberta-v2", "rel_embeddings"),
    ],
)  # fmt: skip
def test_missing_weights_are_named(family: str, part: str, encoder_folder: Folders, tmp_path: Path) -> None:
    if family not in KNOWN_FAMILIES:
        pytest.skip("not in this transformers")
    folder = without(encoder_folder(family), tmp_path / "encoder", part)
    with pytest.raises(ValueError, match=r"T014.*no weights for"):
        PretrainedEncoder(str(folder)).load()


@pytest.mark.parametrize(("family", "part"), [("bert", "pooler"), ("bart", "decoder."), ("t5", "decoder.")])
def test_weights_that_are_not_used_may_be_missing(
    family: str, part: str, encoder_folder: Folders, tmp_path: Path
) -> None:
    folder = without(encoder_folder(family), tmp_path / "encoder", part)
    assert PretrainedEncoder(str(folder)).load().encoder.n_layers == N_LAYERS[family]


def test_weights_of_another_shape_are_refused(encoder_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    config = read_json(tmp_path / "encoder" / "config.json")
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({**config, "intermediate_size": 32}))
    with pytest.raises(ValueError, match=r"T453.*config.json.*intermediate_size = "):
        PretrainedEncoder(str(tmp_path / "encoder")).load()


def test_a_cut_weight_file_is_refused(encoder_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises((OSError, ValueError), match=r"T015|T054"):
        PretrainedEncoder(str(tmp_path / "encoder")).load()


def test_half_precision_weights_become_fp32(encoder_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    file = tmp_path / "encoder" / "model.safetensors"
    save_file({n: w.half() for n, w in load_file(file).items()}, file, metadata={"format": "pt"})
    config = read_json(tmp_path / "encoder" / "config.json")
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({**config, "torch_dtype": "float16"}))
    encoder = PretrainedEncoder(str(tmp_path / "encoder")).load().encoder
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("model_type", ["opt", "vit", "bloom"])
def test_what_is_no_text_encoder_is_refused(model_type: str, encoder_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    (tmp_path / "encoder" / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ValueError, match=rf"T012.*'{model_type}'"):
        PretrainedEncoder(str(tmp_path / "encoder")).load()


@pytest.mark.parametrize(
    "values", [{"model_type": "nonesuch"}, {"auto_map": {"AutoConfig": "code.Config"}, "model_type": "x"}]
)
def test_an_encoder_that_brings_its_own_code_is_refused(
    values: dict[str, Any], encoder_folder: Folders, tmp_path: Path
) -> None:
    shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(values))
    (tmp_path / "encoder" / "code.py").write_text("raise SystemExit('run!')")
    with pytest.raises(ValueError, match="T016"):
        PretrainedEncoder(str(tmp_path / "encoder")).load()


def test_a_slow_tokenizer_is_converted(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "encoder")
    vocab = read_json(tmp_path / "encoder" / "tokenizer.json")["model"]["vocab"]
    (tmp_path / "encoder" / "tokenizer.json").unlink()
    (tmp_path / "encoder" / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)))
    (tmp_path / "encoder" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    converted = PieceTokenizer(PretrainedEncoder(str(tmp_path / "encoder")).load().tokenizer)
    assert converted.encode(TEXTS) == PieceTokenizer.from_folder(bert).encode(TEXTS)
    assert (converted.prefix, converted.suffix) == ([2], [3])


# ---- gradient checkpointing --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", KNOWN_FAMILIES)
@pytest.mark.parametrize("depth", [-1, 1])
def test_gradient_checkpointing_changes_no_gradient(family: str, depth: int, tmp_path: Path) -> None:
    names = (
        "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "dropout_rate",
        "embedding_dropout", "mlp_dropout", "activation_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop",
    )  # fmt: skip
    quiet = dict.fromkeys(names, 0.0)
    folder = write_encoder(tmp_path, family, **quiet)
    if not PretrainedEncoder(str(folder)).load().encoder.body.supports_gradient_checkpointing:
        with pytest.raises(ValueError, match=r"T0\d\d.*gradient_checkpointing"):
            pipeline(folder, gradient_checkpointing=True)
        return
    found = []
    for checkpointing in (False, True):
        nlp = pipeline(folder, tuning={"frozen_depth": depth}, gradient_checkpointing=checkpointing)
        nlp.update(exclusive_examples(nlp, 6), sgd=False)
        found.append({n: w.grad.clone() for n, w in network_of(nlp).named_parameters() if w.grad is not None})
        if checkpointing:
            assert network_of(nlp).encoder.body.is_gradient_checkpointing
    plain, checkpointed = found
    assert plain
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.skipif("modernbert" not in KNOWN_FAMILIES, reason="transformers is older than ModernBERT")
@pytest.mark.parametrize("stated", [None, False, True])
def test_modernbert_compiles_itself_only_where_its_config_says_so(tmp_path: Path, stated: bool | None) -> None:
    """Its first pass on a GPU would otherwise take a minute and a C compiler."""
    folder = write_encoder(tmp_path / "encoder", "modernbert", reference_compile=False)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.pop("reference_compile", None)
    (folder / "config.json").write_text(
        json.dumps(config if stated is None else {**config, "reference_compile": stated}), "utf-8"
    )
    loaded = PretrainedEncoder(str(folder), None).load()
    assert loaded.encoder.body.config.reference_compile is bool(stated)
    assert build_encoder(loaded.record).body.config.reference_compile is bool(stated)
