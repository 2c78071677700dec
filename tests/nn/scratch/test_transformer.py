"""The layers of an encoder from scratch are torch's, stop and go on at every depth, and do not see padding."""

import numpy as np
import pytest
import torch
from torch import nn

from house_kit.scratches import batch, builder
from house_kit.texts import TEXTS
from spacy_transfer.nn.devices.cpu_kernels import CpuKernels
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.encoders.pretrained import build_encoder
from spacy_transfer.nn.scratch.char_ngrams import CharNGrams
from spacy_transfer.nn.scratch.tokenizer_training import UNK
from spacy_transfer.nn.scratch.transformer import waves


def lively(encoder: Encoder) -> Encoder:
    """With weights that all show in the states."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 0.2))
    return encoder.eval()


KINDS = {
    "before": {}, "after": {"norm_first": False, "activation": "relu"}, "waves": {"positions": "sinusoidal"},
    "one-head": {"heads": 1, "depth": 2}, "char_ngrams": {"char_ngrams": CharNGrams(min_pieces=1)},
    "free": {"norm_states": False}, "zero": {"zero_init_residual": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_torch(kind: str) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [9, 4, 1])
    states = encoder.body.embeddings(ids)
    for layer in encoder.body.layers:
        mine = layer(states, None, mask == 0)
        theirs = nn.TransformerEncoderLayer(
            16, layer.self_attn.num_heads, 24, activation=layer.activation, batch_first=True,
            norm_first=layer.norm_first,
        )  # fmt: skip
        theirs.load_state_dict(layer.state_dict())
        assert (mine - theirs.eval()(states, src_key_padding_mask=mask == 0))[mask.bool()].abs().max() < 1e-5
        states = mine
    assert torch.equal(encoder.body.final_norm(states), encoder(ids, mask))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grad", [True, False])
def test_padding_changes_nothing(kind: str, grad: bool) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [12, 5, 1])
    with torch.set_grad_enabled(grad):
        together = encoder(ids, mask)
        with CpuKernels():
            kernels = encoder(ids, mask)
        for row, length in enumerate([12, 5, 1]):
            alone = encoder(ids[row : row + 1, :length], mask[row : row + 1, :length])
            for states in (together, kernels):
                assert (states[row, :length] - alone[0]).abs().max() < 1e-5


def test_what_stands_in_the_padding_does_not_matter() -> None:
    encoder = lively(builder().load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [12, 5])
    other = torch.where(mask.bool(), ids, 7)
    assert torch.equal(encoder(ids, mask)[mask.bool()], encoder(other, mask)[mask.bool()])


@pytest.mark.parametrize("kind", KINDS)
def test_stop_and_go_on_at_every_depth(kind: str) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [9, 4, 7])
    whole = encoder(ids, mask)
    whole.square().sum().backward()
    wanted = {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}
    for depth in range(encoder.n_layers + 1):
        encoder.zero_grad()
        with torch.no_grad():
            states = encoder.prefix(ids, mask, depth)
        resumed = encoder.resume(ids, mask, states, depth)
        assert torch.equal(resumed, whole)
        if depth == encoder.n_layers:
            continue
        resumed.square().sum().backward()
        for name, weight in encoder.named_parameters():
            if encoder.depth_of(name) > depth:
                assert torch.equal(weight.grad, wanted[name]), name
            else:
                assert weight.grad is None or not weight.grad.any() or encoder.depth_of(name) == 0


def test_starting_at_zero_is_starting_with_a_bag_of_words() -> None:
    """Before training the layers hand the embeddings on, in whatever order they come."""
    encoder = builder(zero_init_residual=True, norm_states=False).load(lambda: TEXTS).encoder.eval()
    ids, mask = batch(encoder, [9, 4])
    assert torch.equal(encoder(ids, mask), encoder.body.embeddings(ids))
    other = builder(norm_states=False).load(lambda: TEXTS).encoder.eval()
    assert (other(ids, mask) - other.body.embeddings(ids)).abs().max() > 1e-3
    encoder(ids, mask).square().sum().backward()
    for layer in encoder.body.layers:
        assert layer.self_attn.out_proj.weight.grad.any()
        assert layer.linear2.weight.grad.any()


def test_states_without_norms() -> None:
    """A vector that is twice as long stays so, and no norm is left over that would get no gradient."""
    made = builder(norm_states=False, zero_init_residual=True, positions="sinusoidal").load(lambda: TEXTS)
    encoder = made.encoder.eval()
    assert not [name for name, _ in encoder.named_parameters() if name.startswith(("body.final", "body.embeddings.n"))]
    table = encoder.body.embeddings
    ids = torch.full((1, 1), 9)
    place = table(ids) - table.pieces.weight[9]
    before = table(ids)
    table.pieces.weight.data[9] *= 2
    assert torch.allclose(table(ids) - place, 2 * (before - place), atol=1e-6)
    assert 0.2 < table.pieces.weight[10:].std() < 0.3


def test_depths() -> None:
    encoder = builder().load(lambda: TEXTS).encoder
    assert encoder.n_layers == 3
    depths = {name: encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    assert {depth for name, depth in depths.items() if "embeddings" in name} == {0}
    assert {name.split(".")[2]: depth for name, depth in depths.items() if "layers" in name} == {"0": 1, "1": 2, "2": 3}
    assert depths["body.final_norm.weight"] == 3


def test_waves() -> None:
    found = waves(3, 5, torch.device("cpu"))
    assert found.shape == (3, 5)
    step = 10_000 ** (-2 / 5)
    assert found[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert found[2].numpy() == pytest.approx(
        [np.sin(2), np.cos(2), np.sin(2 * step), np.cos(2 * step), np.sin(2 * step * step)], abs=1e-6
    )


def test_order_matters() -> None:
    for positions in ("learned", "sinusoidal"):
        encoder = lively(builder(positions=positions).load(lambda: TEXTS).encoder)
        ids, mask = batch(encoder, [6])
        turned = encoder(ids.flip(1), mask).flip(1)
        assert (encoder(ids, mask) - turned).abs().max() > 1e-3


def test_word_dropout_is_for_training_and_ordinary_pieces() -> None:
    encoder = builder(word_dropout=0.5).load(lambda: TEXTS).encoder
    table = encoder.body.embeddings
    table.positions.weight.data.zero_()
    ids = torch.cat([torch.arange(5), torch.full((2000,), 9)])[None, :]
    ids = ids[:, :32].repeat(200, 1)
    torch.manual_seed(0)
    states = table.train()(ids)
    unknown = table.norm(table.pieces.weight[UNK])
    dropped = (states - unknown).abs().amax(dim=2) < 1e-6
    assert dropped[:, 1].all()
    assert not dropped[:, [0, 2, 3, 4]].any()
    assert 0.45 < dropped[:, 5:].float().mean() < 0.55
    assert not ((table.eval()(ids) - unknown).abs().amax(dim=2) < 1e-6)[:, 5:].any()


@pytest.mark.parametrize("char_ngrams", [None, CharNGrams()])
def test_building_from_a_record_draws_nothing(char_ngrams: CharNGrams | None) -> None:
    record = builder(char_ngrams=char_ngrams).load(lambda: TEXTS).record
    before = torch.get_rng_state()
    build_encoder(record)
    assert torch.equal(before, torch.get_rng_state())


def test_records_of_earlier_versions_are_read() -> None:
    record = builder().load(lambda: TEXTS).record
    for field in ("char_ngrams", "norm_states", "zero_init_residual"):
        del record["config"][field]
    assert {name for name, _ in build_encoder(record).named_parameters()} >= {
        "body.embeddings.norm.weight", "body.final_norm.weight",
    }  # fmt: skip
