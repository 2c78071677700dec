"""Families that nobody has tried before: they work as the others do, or they are refused with a code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
import transformers

from house_kit.encoders import TOKENIZERS, WIDTH
from house_kit.pipelines import moved, network_of, pipeline, scores_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.encoders.trial import try_encoder
from spacy_transfer.training.adamw import AdamW

_BODY = {
    "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 24, "num_hidden_layers": 3, "pad_token_id": 0,
    "max_position_embeddings": 64,
}  # fmt: skip
LONG: dict[str, dict[str, Any]] = {
    # Windows of two sizes: rows are filled up to 12 pieces.
    "longformer": {**_BODY, "attention_window": [4, 6, 4], "pad_token_id": 0},
    "big_bird": {**_BODY, "block_size": 4, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "led": {
        "d_model": WIDTH, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "attention_window": 8,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "pad_token_id": 0,
        "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64,
    },
}  # fmt: skip


def write(folder: Path, family: str, values: dict[str, Any]) -> Path:
    tokenizer = TOKENIZERS["bert"]()
    config = transformers.AutoConfig.for_model(family, **values, vocab_size=tokenizer.get_vocab_size())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.4)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")
    return folder


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = write(tmp_path_factory.mktemp(family), family, LONG[family])
        return made[family]

    return folder


@pytest.mark.parametrize("family", LONG)
def test_long_families_stop_and_go_on(family: str, long_folder: Callable[[str], Path]) -> None:
    encoder = PretrainedEncoder(str(long_folder(family))).load().encoder.eval()
    assert encoder.n_layers == 3
    assert encoder.max_pieces == (63 if family == "longformer" else 64)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    for depth in range(-1, 4):
        assert try_encoder(encoder, family, depth) < 1e-4
    # Longer than any window, and what was read before changes nothing.
    ids = torch.arange(100).reshape(2, 50) % 90 + 5
    mask = torch.ones_like(ids)
    with torch.no_grad():
        states = encoder(ids, mask)
        encoder(ids[:, :3], mask[:, :3])
        assert torch.equal(encoder(ids, mask), states)
        for depth in range(4):
            before = encoder.prefix(ids, mask, depth)
            assert before.shape == states.shape
            assert torch.equal(encoder.resume(ids, mask, before, depth), states)


@pytest.mark.parametrize("family", LONG)
@pytest.mark.parametrize("depth", mostly_slow([-1, 1, 2], but=[1]))
def test_long_families_train(family: str, depth: int, long_folder: Callable[[str], Path], tmp_path: Path) -> None:
    nlp = pipeline(long_folder(family), tuning={"frozen_depth": depth})
    network, before = network_of(nlp), weights_of(nlp)
    optimizer = AdamW(learn_rate=1e-2)
    # Twice: the second time frozen states come out of the cache.
    for _ in range(2):
        nlp.update(exclusive_examples(nlp, 6), sgd=optimizer)
    assert min(network.depth_of(name) for name in moved(before, weights_of(nlp))) == depth + 1
    texts = [*TEXTS[:5], "", "card " * 60]
    together = scores_of(nlp, texts)
    torch.testing.assert_close(torch.cat([scores_of(nlp, [text]) for text in texts]), together, atol=1e-5, rtol=0.0)
    nlp.to_disk(tmp_path)
    torch.testing.assert_close(scores_of(spacy.load(tmp_path), texts), together, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("fnet", {}, r"T473.*'fnet'"),
        ("convbert", {"embedding_size": WIDTH, "conv_kernel_size": 3}, r"T473.*'convbert'"),
        ("xlm", {"emb_dim": WIDTH, "n_layers": 2, "n_heads": 2}, r"T475.*'xlm'"),
    ],
)
def test_what_cannot_be_relied_on_is_refused(family: str, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    body = {} if family == "xlm" else _BODY
    folder = write(tmp_path, family, {**body, **values})
    with pytest.raises(ValueError, match=message):
        pipeline(folder, windows={"length": 16, "stride": 8})


def test_a_trial_leaves_no_trace(long_folder: Callable[[str], Path]) -> None:
    encoder = PretrainedEncoder(str(long_folder("longformer"))).load().encoder.train()
    next(encoder.body.children()).eval()
    modes, random = [module.training for module in encoder.modules()], torch.get_rng_state()
    try_encoder(encoder, "longformer", 1)
    assert [module.training for module in encoder.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
