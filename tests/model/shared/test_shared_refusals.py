"""What a shared encoder cannot do is refused."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language

from house_kit.shared import (
    NAME,
    add_shared,
    add_transformer,
    shared_pipeline,
)
from house_kit.texts import exclusive_examples

pytest.importorskip("spacy_transformers")


from spacy_transfer.nn.encoders.shared_encoder import SharedEncoder


def test_order_and_upstream(quiet_bert: Path) -> None:
    def start(nlp: Language) -> None:
        nlp.initialize(lambda: exclusive_examples(nlp))

    nlp = spacy.blank("xx")
    add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.*no transformer component named '\*'"):
        start(nlp)
    add_transformer(nlp, quiet_bert, last=True)
    with pytest.raises(ValueError, match=r"T201.*\['transfer_textcat', 'transformer'\]"):
        start(nlp)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    add_shared(nlp, encoder={"upstream": "other"})
    with pytest.raises(ValueError, match=r"T201.*named 'other'"):
        start(nlp)
    add_transformer(nlp, quiet_bert, name="other", first=True)
    start(nlp)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    add_transformer(nlp, quiet_bert, name="other")
    add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.* \['transformer', 'other'\]"):
        start(nlp)
    with pytest.raises(ValueError, match=r"T201.*call nlp.initialize"):
        nlp.get_pipe(NAME).initialize(lambda: exclusive_examples(nlp))
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    pipe = add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.*'transformer' has no weights yet"):
        pipe.initialize(lambda: exclusive_examples(nlp), nlp=nlp)


@pytest.mark.parametrize(
    "blocks",
    [
        {"tuning": {"lr_decay": 0.9}},
        {"tuning": {"embeddings_lr_factor": 2.0}},
        {"gradient_checkpointing": True},
        {"precision": "bf16"},
        {"text": {"sources": ["_.title"]}},
        {"augmentation": {"@misc": "spacy-transfer.Augmentation.v1"}},
        {"tuning": {"adapter": {"@misc": "spacy-transfer.LoRA.v1"}}},
        {"head": {"@layers": "spacy-transfer.LabelQueryHead.v1", "init": "names", "heads": 2}},
    ],
)
def test_what_a_shared_encoder_cannot_follow(blocks: Any) -> None:
    with pytest.raises(ValueError, match="T205"):
        add_shared(spacy.blank("xx"), **blocks)


def test_a_brick_out_of_range_and_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"T005.*grad_factor"):
        SharedEncoder(grad_factor=-1)
    assert SharedEncoder(grad_factor="0.5").grad_factor == 0.5
    for call in (SharedEncoder().load, lambda: SharedEncoder().rebuild({})):
        with pytest.raises(ValueError, match="T200"):
            call()


def test_too_many_frozen_layers(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T061.*'the transformer' has 3"):
        shared_pipeline(quiet_bert, tuning={"frozen_depth": 4})


def test_prediction_without_states(trained: Language) -> None:
    with trained.select_pipes(disable=["transformer"]), pytest.raises(ValueError, match=r"T202.*'my card is lost'"):
        trained("my card is lost")


def test_another_batch_and_another_order(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert)
    examples = exclusive_examples(nlp, 4)
    transformer, pipe = nlp.get_pipe("transformer"), nlp.get_pipe(NAME)
    transformer.update(examples)
    with pytest.raises(ValueError, match=r"T203.*another batch"):
        pipe.update(examples[:2])
    transformer.update(examples)
    with pytest.raises(ValueError, match=r"T203.*tokens"):
        pipe.update(sorted(examples, key=lambda example: len(example.predicted)))


def test_another_width(trained: Language, encoder_folder: Any, tmp_path: Path) -> None:
    from house_kit.encoders import write_encoder

    wide = shared_pipeline(write_encoder(tmp_path / "wide", "bert", hidden_size=24, num_attention_heads=2))
    nlp = spacy.blank("xx")
    nlp.add_pipe("transformer", source=wide)
    nlp.add_pipe(NAME, source=trained)
    with pytest.raises(ValueError, match=r"T204.*width 24.*width 16"):
        nlp("my card is lost")
    with pytest.raises(ValueError, match="T204"):
        nlp.update(exclusive_examples(nlp), sgd=False)
