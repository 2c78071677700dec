"""What a user of spaCy expects: settings in the config, logging that is the application's, attributes, vectors."""

import io
import logging
import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span

from house_kit.encoders import WIDTH
from house_kit.pipelines import add_classifier, network_of, pipeline, read_json, scores_of, shim_of
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer import log
from spacy_transfer.evaluation.scorer import score_cats
from spacy_transfer.pipeline.textcat import NonFiniteLoss
from spacy_transfer.training.adamw import AdamW

NAME, MULTI = "transfer_textcat", "transfer_textcat_multilabel"

# ---- settings ----------------------------------------------------------------------------------------------------


def test_settings_given_at_load_count(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, multilabel=True, settings={"threshold": 0.5})
    examples = multilabel_examples(nlp, 8)
    nlp.to_disk(tmp_path)
    assert set(read_json(tmp_path / MULTI / "cfg")) == {"labels", "positive_label", "format", "written_by", "network"}
    overrides = {f"components.{MULTI}.threshold": 0.0, f"components.{MULTI}.score_prefix": "x_"}
    other = spacy.load(tmp_path, config=overrides)
    assert other.evaluate(examples)["x_cats_macro_r"] == 1.0
    # A value edited in config.cfg counts too.
    config = (tmp_path / "config.cfg").read_text("utf-8")
    assert "threshold = 0.5" in config
    (tmp_path / "config.cfg").write_text(config.replace("threshold = 0.5", "threshold = 1.0"), "utf-8")
    assert spacy.load(tmp_path).evaluate(examples)["cats_macro_r"] == 0.0
    message = nlp.to_bytes()
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    fresh.get_pipe(MULTI).cfg["threshold"] = 0.25
    assert fresh.from_bytes(message).get_pipe(MULTI).cfg["threshold"] == 0.25
    assert fresh.get_pipe(MULTI).labels == nlp.get_pipe(MULTI).labels


def test_class_weights_given_at_load_count(bert: Path, tmp_path: Path) -> None:
    pipeline(bert, loss={"class_weights": [["card", 2.0]]}).to_disk(tmp_path / "pairs")
    pipeline(bert, loss={"class_weights": "balanced"}).to_disk(tmp_path / "balanced")
    key = f"components.{NAME}.model.loss.class_weights"
    for folder, given, wanted in (
        ("pairs", None, [2.0, 1.0, 1.0]), ("pairs", [["money", 3.0]], [1.0, 1.0, 3.0]), ("pairs", "none", [1.0] * 3),
        ("balanced", None, [1.0] * 3), ("balanced", [["login", 0.5]], [1.0, 0.5, 1.0]),
    ):  # fmt: skip
        shim = shim_of(spacy.load(tmp_path / folder, config={} if given is None else {key: given}))
        assert shim.label_weights == wanted
        assert shim.loss.weights.tolist() == wanted
    with pytest.warns(UserWarning, match="T355"):
        spacy.load(tmp_path / "pairs", config={key: "balanced"})
    with pytest.raises(ValueError, match=r"T034.*\['nobody'\]"):
        spacy.load(tmp_path / "pairs", config={key: [["nobody", 2.0]]})


# ---- attributes --------------------------------------------------------------------------------------------------


def test_a_loaded_component_registers_what_it_reads(bert: Path, tmp_path: Path) -> None:
    Doc.set_extension("title", default=None)
    Span.set_extension("summary", default=None)
    nlp = spacy.blank("xx")
    sources = ["_.title", "spans:parts._.summary", "text"]
    add_classifier(nlp, bert, text={"sources": sources, "missing": "skip"})
    nlp.initialize(lambda: exclusive_examples(nlp, 6))
    nlp.to_disk(tmp_path)
    Doc.remove_extension("title")
    Span.remove_extension("summary")
    other = spacy.load(tmp_path)
    assert Doc.get_extension("title") == (None, None, None, None)
    assert Span.has_extension("summary")
    assert torch.equal(scores_of(other, TEXTS), scores_of(nlp, TEXTS))
    # What is registered already stays as it is.
    Doc.set_extension("title", default="mine", force=True)
    spacy.load(tmp_path)
    assert Doc.get_extension("title")[0] == "mine"


# ---- labels of two components ------------------------------------------------------------------------------------


def test_two_components_with_a_label_in_common(bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="one")
    add_classifier(nlp, bert, name="two")
    with pytest.warns(UserWarning, match=r"T346.*'two'.*'one'.*'card'"):
        nlp.initialize(lambda: exclusive_examples(nlp, 6))
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    with pytest.warns(UserWarning, match="T346"):
        loaded("card")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Shown once.
        nlp("card")
        loaded("card")


def test_labels_of_their_own_are_no_reason_to_warn(bert: Path, recwarn: pytest.WarningsRecorder) -> None:
    nlp = spacy.blank("xx")
    one = add_classifier(nlp, bert, name="one")
    two = add_classifier(nlp, bert, name="two")
    examples = examples_of(nlp, TEXTS[:6], [{**one_hot(LABELS[i % 3]), f"x{i % 2}": 1.0} for i in range(6)])
    one.initialize(lambda: examples, nlp=nlp, labels=LABELS)
    two.initialize(lambda: examples, nlp=nlp, labels=["x0", "x1"])
    nlp("card")
    assert not [warning for warning in recwarn if "T346" in str(warning.message)]


# ---- a loss that is no number ------------------------------------------------------------------------------------


def test_a_loss_of_nan_is_an_error_with_its_texts(bert: Path) -> None:
    """Under `spacy train` it used to end in a meta.json that could not be written."""
    nlp = pipeline(bert)
    before = network_of(nlp).head.output.weight.detach().clone()
    with torch.no_grad():
        network_of(nlp).head.output.bias[0] = torch.nan
    losses: dict[str, float] = {}
    with pytest.raises(NonFiniteLoss, match=r"T347.*'transfer_textcat'.*nan.*my card is lost.* and 1 more"):
        nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2), losses=losses)
    assert math.isnan(losses[NAME])
    assert torch.equal(network_of(nlp).head.output.weight, before)
    assert all(weight.grad is None for weight in network_of(nlp).parameters())


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_loss_of_a_batch_is_that_of_the_batch_twice(multilabel: bool, trained: dict[bool, Language]) -> None:
    nlp = trained[multilabel]
    pipe = nlp.get_pipe(nlp.pipe_names[0])
    examples = exclusive_examples(nlp, 6)
    logits = pipe.model.predict([example.predicted for example in examples])
    once, gradient = pipe.get_loss(examples, logits)
    twice, half = pipe.get_loss(examples * 2, np.tile(logits, (2, 1)))
    assert twice == pytest.approx(once)
    np.testing.assert_allclose(half[:6] * 2, gradient, atol=1e-6)


# ---- annotations -------------------------------------------------------------------------------------------------

BAD: dict[str, Any] = {
    "a huge int": 10**400, "an int that cannot be written out": 10**5000, "a str": "1", "None": None, "a list": [1.0],
    "a complex number": 1j, "NaN": math.nan, "an array": np.zeros(2), "negative": -(10**400),
}  # fmt: skip


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("multilabel", [False, True])
def test_annotations_that_are_no_scores(value: Any, multilabel: bool, trained: dict[bool, Language]) -> None:
    nlp = trained[multilabel]
    (example,) = examples_of(nlp, ["my card"], [one_hot("card")])
    example.reference.cats["login"] = value
    with pytest.raises(ValueError, match=r"T033.*'login'.*my card"):
        nlp.update([example], sgd=False)
    with pytest.raises(ValueError, match=r"T033.*'login'.*my card"):
        score_cats([example], labels=LABELS, exclusive=not multilabel)
    # Of a label that is somebody else's, nothing is read.
    example.reference.cats = {**one_hot("card"), "elsewhere": value}
    is_told = "elsewhere" in nlp.get_pipe(nlp.pipe_names[0])._left_out
    with nullcontext() if is_told else pytest.warns(UserWarning, match="T038"):
        nlp.update([example], sgd=False)


@pytest.fixture(scope="module")
def trained(bert: Path) -> dict[bool, Language]:
    return {multilabel: pipeline(bert, multilabel=multilabel) for multilabel in (False, True)}


def test_messages_name_the_way_out(trained: dict[bool, Language]) -> None:
    nlp = trained[False]
    (example,) = examples_of(nlp, ["my card"], [{"card": 1.0, "login": 1.0}])
    with pytest.raises(
        ValueError, match=r"T032.*transfer_textcat_multilabel.*\[initialize.components.transfer_textcat\]"
    ):
        nlp.update([example], sgd=False)


# ---- vectors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [{}, {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}])
def test_vectors_come_in_order(bert: Path, head: dict[str, Any]) -> None:
    nlp = pipeline(bert, head=head)
    texts = [TEXTS[0], "", "the card " * 40, *TEXTS]
    pipe = nlp.get_pipe(NAME)
    found = pipe.vectors(nlp.make_doc(text) for text in texts)
    assert (found.shape, found.dtype) == ((len(texts), WIDTH), np.float32)
    assert np.isfinite(found).all()
    for i, text in enumerate(texts):
        np.testing.assert_allclose(found[i], pipe.vectors([nlp.make_doc(text)])[0], atol=1e-5)
    assert pipe.vectors([]).shape == (0, WIDTH)
    if not head:
        logits = torch.from_numpy(found) @ network_of(nlp).head.output.weight.T + network_of(nlp).head.output.bias
        torch.testing.assert_close(logits.softmax(dim=1).detach(), scores_of(nlp, texts), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="T006"):
        add_classifier(spacy.blank("xx"), bert).vectors([])


# ---- logging -----------------------------------------------------------------------------------------------------

SCRIPT = """
import logging, sys, warnings
import spacy, spacy.util
import spacy_transfer.pipeline.factories, spacy_transfer.log
logger = logging.getLogger("spacy_transfer")
assert not logger.handlers and logger.level == logging.NOTSET and logger.propagate
"""


def test_importing_sets_up_no_logging() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def plain_script() -> Iterator[io.StringIO]:
    """Within: neither the root logger nor ours has a handler or a level. GIVES: What goes to standard error."""
    root, own = logging.root, log.logger
    handlers, levels, stream = root.handlers[:], (root.level, own.level), sys.stderr
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    own.setLevel(logging.NOTSET)
    sys.stderr = written = io.StringIO()
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        sys.stderr = stream


def test_the_table_reaches_whoever_has_set_up_nothing() -> None:
    with plain_script() as written:
        log.announce("the table")
        log.logger.setLevel("WARNING")
        log.announce("again")
    assert written.getvalue() == "the table\n"


def test_an_application_gets_it_once() -> None:
    mine = io.StringIO()
    with plain_script() as written:
        logging.basicConfig(level=logging.INFO, stream=mine, format="%(name)s %(message)s")
        log.announce("the table")
        with log.shown():
            log.announce("in a command")
    assert mine.getvalue() == "spacy_transfer the table\nspacy_transfer in a command\n"
    assert written.getvalue() == ""


def test_commands_show_it_while_they_run() -> None:
    with plain_script() as written:
        with log.shown():
            log.announce("in a command")
            log.logger.info("more of it")
            log.logger.warning("and a warning")
        assert not log.logger.handlers
        assert log.logger.level == logging.NOTSET
    assert written.getvalue() == "in a command\nmore of it\nand a warning\n"
