"""`nlp.rehearse`: a pipeline that learns something new keeps the scores that it had."""

import math
import warnings
from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from house_kit.pipelines import moved, pipeline, scores_of, weights_of
from house_kit.shared import shared_pipeline
from house_kit.texts import TEXTS, examples_of, exclusive_examples, multilabel_examples
from spacy_transfer.training.adamw import AdamW

NEW = ["when can you help", "how and when please", "can it be when", "when is this and that"]
LABEL = "question"


@pytest.fixture(scope="module", params=[False, True], ids=["exclusive", "multilabel"])
def folder(request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows its texts."""
    nlp = pipeline(bert, multilabel=request.param)
    examples = (multilabel_examples if request.param else exclusive_examples)(nlp)
    sgd = AdamW(learn_rate=3e-3)
    for _ in range(12):
        nlp.update(examples, sgd=sgd)
    path = tmp_path_factory.mktemp("known")
    nlp.to_disk(path)
    return path


def raw(nlp: Language, texts: list[str]) -> list[Example]:
    return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]


def taught(folder: Path, *, rehearses: bool) -> tuple[Language, float]:
    """A pipeline that has learned a new label, and how far the scores of old labels moved."""
    nlp = spacy.load(folder)
    (pipe,) = (pipe for _, pipe in nlp.pipeline)
    before = scores_of(nlp, TEXTS)
    pipe.add_label(LABEL)
    optimizer = nlp.resume_training(sgd=AdamW(learn_rate=3e-3))
    cats = [{label: float(label == LABEL) for label in pipe.labels} for _ in NEW]
    for step in range(40):
        nlp.update(examples_of(nlp, NEW, cats), sgd=optimizer)
        if rehearses:
            nlp.rehearse(raw(nlp, TEXTS), sgd=optimizer if step % 2 else None)
    return nlp, float((scores_of(nlp, TEXTS)[:, : before.shape[1]] - before).abs().mean())


@pytest.mark.slow
def test_rehearsing_keeps_old_scores_while_a_label_is_learned(folder: Path) -> None:
    _, forgot = taught(folder, rehearses=False)
    nlp, kept = taught(folder, rehearses=True)
    # Measured: 0.01 and 0.06 against 0.33.
    assert kept < forgot / 2
    assert min(doc.cats[LABEL] for doc in nlp.pipe(NEW)) > 0.5


def test_each_rehearsal_is_a_step_of_the_optimizer(folder: Path) -> None:
    nlp = spacy.load(folder)
    nlp.resume_training()
    before, losses = weights_of(nlp), {}
    name = nlp.pipe_names[0]
    nlp.rehearse(raw(nlp, TEXTS), losses=losses)
    assert math.isfinite(losses[name])
    assert losses[name] > 0
    assert moved(before, weights_of(nlp))
    # What was learned from is done with: the next step is of its own texts alone.
    before = weights_of(nlp)
    nlp.get_pipe(name).finish_update(nlp.resume_training())
    assert not moved(before, weights_of(nlp))


def test_without_earlier_scores_it_says_so_and_learns_nothing(folder: Path) -> None:
    nlp = spacy.load(folder)
    before = weights_of(nlp)
    with pytest.warns(UserWarning, match=r"T730.*resume_training"):
        nlp.rehearse(raw(nlp, TEXTS), sgd=AdamW(learn_rate=1e-2))
    assert not moved(before, weights_of(nlp))
    nlp.resume_training()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nlp.rehearse([]) == {}
        nlp.rehearse(raw(nlp, TEXTS))


def test_a_shared_encoder_cannot_be_held_back(bert: Path) -> None:
    pytest.importorskip("spacy_transformers")
    nlp = shared_pipeline(bert)
    nlp.resume_training()
    before = weights_of(nlp, "transfer_textcat")
    with pytest.warns(UserWarning, match=r"T731.*detach"):
        nlp.rehearse(exclusive_examples(nlp), exclude=["transformer"])
    assert not moved(before, weights_of(nlp, "transfer_textcat"))


def test_sentences_are_rehearsed_one_by_one(folder: Path) -> None:
    name = spacy.load(folder).pipe_names[0]
    nlp = spacy.load(folder, config={f"components.{name}.target": "sents"})
    nlp.resume_training()
    doc = Doc(nlp.vocab, words=["my", "card", "login", "please"], sent_starts=[True, False, True, False])
    losses: dict[str, float] = {}
    nlp.get_pipe(name).rehearse([Example(doc, doc.copy())], losses=losses)
    both = losses[name]
    alone = 0.0
    for words in (["my", "card"], ["login", "please"]):
        one = Doc(nlp.vocab, words=words, sent_starts=[True, False])
        alone += nlp.get_pipe(name).rehearse([Example(one, one.copy())])[name]
    # Dropout aside.
    assert both == pytest.approx(alone, rel=0.3)


def test_the_scores_that_are_kept_are_not_saved(folder: Path, tmp_path: Path) -> None:
    nlp = spacy.load(folder)
    size = len(nlp.to_bytes())
    nlp.resume_training()
    assert len(nlp.to_bytes()) == size
    before = scores_of(nlp, TEXTS)
    nlp.to_disk(tmp_path)
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), before)
