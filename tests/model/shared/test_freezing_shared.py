"""Depths of a shared encoder that are frozen for all of its components."""

from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp

from house_kit.pipelines import moved, scores_of, weights_of
from house_kit.shared import (
    add_shared,
    add_transformer,
    body_of,
    body_weights,
    depth_of,
    shared_pipeline,
    tagged,
    train,
)
from house_kit.texts import TEXTS, exclusive_examples

pytest.importorskip("spacy_transformers")


from spacy_transfer.training.adamw import AdamW


@pytest.mark.parametrize("tagger", ["", "after"])
@pytest.mark.parametrize("frozen", [0, 2, "all"])
def test_frozen_depths_do_not_move(frozen: Any, tagger: str, bert: Path) -> None:
    nlp = shared_pipeline(bert, tagger=tagger, tuning={"frozen_depth": frozen})
    before, head = body_weights(nlp), weights_of(nlp)
    train(nlp)
    limit = 3 if frozen == "all" else frozen
    found = {depth_of(nlp, name) for name in moved(before, body_weights(nlp))}
    assert found == set(range(limit + 1, 4))
    assert moved(head, weights_of(nlp)) == set(head)


def test_frozen_after_loading_too(bert: Path, tmp_path: Path) -> None:
    train(shared_pipeline(bert, tuning={"frozen_depth": 2})).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    before = body_weights(nlp)
    train(nlp)
    assert {depth_of(nlp, name) for name in moved(before, body_weights(nlp))} == {3}


def test_biases_and_norms_alone(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"trainable": "bias_and_norm"})
    before = body_weights(nlp)
    train(nlp)
    found = moved(before, body_weights(nlp))
    assert found
    assert all(before[name].ndim == 1 for name in found)


def test_unfreezing_counts_our_steps_and_moments_do_not_move_what_is_frozen(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"frozen_depth": "all", "unfreeze_every": 2, "unfreeze_down_to": 1})
    sgd, seen = AdamW(learn_rate=1e-2), []
    for _ in range(6):
        before = body_weights(nlp)
        nlp.update(tagged(nlp), sgd=sgd)
        seen.append(min((depth_of(nlp, name) for name in moved(before, body_weights(nlp))), default=4))
    # nlp.update steps the transformer before the classifier's gradients arrive: a step late, as for every listener.
    assert seen == [4, 4, 4, 3, 3, 2]


def test_frozen_depths_run_without_dropout_and_frozen_wholly_the_transformer_is_as_in_prediction(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"frozen_depth": "all"})
    docs = [nlp.make_doc(text) for text in TEXTS[:4]]
    model = nlp.get_pipe("transformer").model
    learned, _ = model.begin_update(docs)
    predicted = model.predict(docs)
    a, b = (out.model_output.last_hidden_state for out in (learned, predicted))
    assert torch.allclose(a, b, atol=1e-6)
    half = shared_pipeline(bert, tuning={"frozen_depth": 2})
    half.get_pipe("transformer").model.begin_update(docs)
    layers = body_of(half).encoder.layer
    assert [layer.output.dropout.training for layer in layers] == [False, False, True]


def test_a_frozen_transformer_has_to_annotate(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert)
    before, head = body_weights(nlp), weights_of(nlp)
    with pytest.raises(ValueError, match=r"T202.*annotating_components"):
        nlp.update(tagged(nlp), exclude=["transformer"])
    sgd = AdamW(learn_rate=1e-2)
    nlp.update(tagged(nlp), exclude=["transformer"], annotates=["transformer"], sgd=sgd)
    assert not moved(before, body_weights(nlp))
    assert moved(head, weights_of(nlp)) == set(head)


@pytest.mark.parametrize("annotating", [True, False])
def test_frozen_components_in_the_config(annotating: bool, quiet_bert: Path, tmp_path: Path) -> None:
    source = spacy.blank("xx")
    add_transformer(source, quiet_bert)
    source.initialize()
    source.to_disk(tmp_path / "source")
    nlp = spacy.blank("xx")
    nlp.add_pipe("transformer", source=spacy.load(tmp_path / "source"))
    add_shared(nlp)
    docs = DocBin(docs=[example.reference for example in exclusive_examples(nlp)])
    docs.to_disk(tmp_path / "train.spacy")
    config = nlp.config.copy()
    config["components"]["transformer"] = {"source": str(tmp_path / "source")}
    config["corpora"] = {"train": {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "train.spacy")}}
    config["corpora"]["dev"] = config["corpora"]["train"]
    config["training"]["frozen_components"] = ["transformer"]
    config["training"]["annotating_components"] = ["transformer"] if annotating else []
    if not annotating:
        with pytest.raises(ValueError, match=r"T202.*'transformer' is frozen.*annotating_components"):
            init_nlp(config)
        return
    out = init_nlp(config)
    out.to_disk(tmp_path / "out")
    assert scores_of(out, TEXTS).shape == (len(TEXTS), 3)
