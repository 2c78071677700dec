"""The estimator: scikit-learn's conventions, over the same component and loop."""

import csv
import inspect
import json
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from house_kit.runs import config_of, run, write_corpus
from house_kit.texts import LABELS, TEXTS

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from spacy_transfer import CrossEntropy, Focal, LoRA, MaxPooling, RDrop, TransferClassifier
from spacy_transfer.estimator.config import training_config
from spacy_transfer.estimator.data import read_labels

Y = [LABELS[i % 3] for i in range(len(TEXTS))]


@pytest.fixture(scope="module")
def fitted(make: Callable[..., TransferClassifier]) -> TransferClassifier:
    """Trained on labels in words."""
    return make(n_epochs=2).fit(TEXTS, Y)


def config_for(classifier: TransferClassifier, targets: Any) -> dict[str, Any]:
    """The config that a fit would train with."""
    exclusive = targets.kind == "exclusive"
    return training_config(
        classifier._checked(), targets.names, exclusive=exclusive, data=Path("data"), n_texts=24, source=None
    )


def fields_of(lines: str) -> list[str]:
    return [line.partition(" (")[0].strip() for line in lines.splitlines()]


# ---- conventions -------------------------------------------------------------------------------------------------


class Rows(TransferClassifier):
    """Reads rows of numbers as texts, so that scikit-learn's checks, which know nothing else, can be run."""

    def _texts(self, X: Any, *, reset: bool = False) -> list[str]:
        rows = np.asarray(validate_data(self, X, reset=reset))
        return [" ".join(f"{value:.1f}" for value in row) for row in rows]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Rows":
        return super().fit(self._texts(X, reset=True), y, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "Rows":
        texts = self._texts(X, reset=not hasattr(self, "nlp_"))
        return super().partial_fit(texts, y, classes, sample_weight)

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self, "nlp_")
        return super().predict_proba(self._texts(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


# Of scikit-learn's checks.
EXPECTED_FAILURES = {
    **dict.fromkeys(
        [
            "check_sample_weights_not_an_array", "check_sample_weights_list", "check_sample_weights_shape",
            "check_sample_weights_not_overwritten", "check_sample_weight_equivalence_on_dense_data",
            "check_all_zero_sample_weights_error", "check_classifiers_one_label_sample_weights",
            "check_sample_weights_pandas_series",
        ],
        "the component cannot weigh texts: sample_weight is refused (T496)",
    ),
    "check_classifiers_train": "one epoch of a tiny random encoder does not learn clusters from numbers as texts",
}  # fmt: skip


@pytest.mark.slow
def test_check_estimator(bert: Path) -> None:
    classifier = Rows(
        str(bert), n_epochs=1, learn_rate=3e-3, window_length=32, window_stride=20, frozen_depth="all", device="cpu",
        config={"model.precision": "fp32"},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(classifier, expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None)
    assert len(results) > 40
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed


def test_the_checks_of_scikit_learn_that_need_no_data() -> None:
    """`check_estimator` stops before tables, since texts are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(TransferClassifier())


def test_every_parameter_is_documented() -> None:
    text = inspect.getdoc(TransferClassifier)
    assert text is not None
    stated = [
        line.partition(" (")[0] for line in text.splitlines() if " (" in line and line.partition(" (")[0].isidentifier()
    ]
    parameters = list(inspect.signature(TransferClassifier).parameters)
    assert [name for name in stated if name in parameters] == parameters


def test_a_fit_gives_what_scikit_learn_expects(fitted: TransferClassifier) -> None:
    scores = fitted.predict_proba(TEXTS)
    assert scores.shape == (24, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-5)
    assert fitted.classes_.tolist() == sorted(LABELS)
    predicted = fitted.predict(TEXTS)
    assert predicted.tolist() == fitted.classes_[scores.argmax(axis=1)].tolist()
    assert fitted.score(TEXTS, Y) == pytest.approx(np.mean(predicted == np.asarray(Y)))
    assert fitted.predict_proba([]).shape == (0, 3)
    assert fitted.predict(np.asarray(TEXTS[:2], dtype=object)).tolist() == predicted[:2].tolist()
    assert fitted.n_steps_ == 6


def test_it_is_the_pipeline_that_predicts(fitted: TransferClassifier) -> None:
    docs = list(fitted.nlp.pipe(TEXTS))
    expected = [[doc.cats[label] for label in fitted.classes_] for doc in docs]
    np.testing.assert_array_equal(fitted.predict_proba(TEXTS), np.asarray(expected, dtype=np.float32))


def test_the_same_seed_gives_the_same_weights_and_leaves_random_numbers_alone(
    make: Callable[..., TransferClassifier],
) -> None:
    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.random(), torch.rand(1).item()
    np.random.seed(5)
    torch.manual_seed(5)
    first = make(seed=1).fit(TEXTS, Y).predict_proba(TEXTS)
    assert (np.random.random(), torch.rand(1).item()) == expected
    np.testing.assert_array_equal(first, make(seed=1).fit(TEXTS, Y).predict_proba(TEXTS))
    assert not np.array_equal(first, make(seed=2).fit(TEXTS, Y).predict_proba(TEXTS))


def test_before_fit_nothing_is_predicted(make: Callable[..., TransferClassifier]) -> None:
    for call in (lambda c: c.predict(TEXTS), lambda c: c.nlp, lambda c: c.save("folder")):
        with pytest.raises(NotFittedError):
            call(make())


def test_clone_copies_parameters_and_nothing_learned(fitted: TransferClassifier) -> None:
    fitted = clone(fitted.set_params(adapter=None))
    copy = clone(fitted.set_params(adapter=LoRA(rank=4), loss=RDrop(loss=CrossEntropy())))
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "nlp_")


def test_pickles_and_copies_predict_the_same(fitted: TransferClassifier, tmp_path: Path) -> None:
    import joblib

    expected = fitted.predict_proba(TEXTS[:4])
    joblib.dump(fitted, tmp_path / "classifier.joblib")
    for copied in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "classifier.joblib")):
        np.testing.assert_array_equal(copied.predict_proba(TEXTS[:4]), expected)
        assert copied.get_params() == fitted.get_params()


def test_cross_validation_pipelines_and_grid_search(make: Callable[..., TransferClassifier]) -> None:
    scores = cross_val_score(make(), TEXTS, Y, cv=2, error_score="raise")
    assert scores.shape == (2,)
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    search = GridSearchCV(
        make_pipeline(lower, make()), {"transferclassifier__frozen_depth": [2, "all"]}, cv=2, error_score="raise",
        scoring="neg_log_loss",
    )  # fmt: skip
    search.fit(TEXTS, Y)
    assert search.predict(TEXTS[:2]).shape == (2,)


# ---- parameters --------------------------------------------------------------------------------------------------


def test_parameters_become_blocks(make: Callable[..., TransferClassifier]) -> None:
    classifier = make(
        adapter=LoRA(rank=4), pooling=MaxPooling(), loss=RDrop(loss=Focal(exclusive=True)), hidden=[7],
        class_weight={"card": 2}, learn_rate=None, revision=None, frozen_depth="all",
        config={"model.piece_budget": 512, "training.optimizer.weight_decay": 0.2, "nlp.batch_size": 3},
    )  # fmt: skip
    config = config_for(classifier, read_labels(Y, 24))
    model = config["components"]["transfer_textcat"]["model"]
    assert model["tuning"]["adapter"]["@misc"] == "spacy-transfer.LoRA.v1"
    assert model["tuning"]["adapter"]["rank"] == 4
    assert model["pooling"] == {"@layers": "spacy-transfer.MaxPooling.v1"}
    assert model["loss"]["@losses"] == "spacy-transfer.RDrop.v1"
    assert model["loss"]["loss"]["class_weights"] == [["card", 2.0]]
    assert model["head"]["hidden"] == [7]
    assert model["piece_budget"] == 512
    assert config["training"]["optimizer"]["weight_decay"] == 0.2
    assert config["training"]["optimizer"]["learn_rate"]["peak"] == 3e-4
    assert config["nlp"]["batch_size"] == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"pooling": "NoPooling"}, "T493"), ({"adapter": object()}, "T493"), ({"loss": {"gamma": 2.0}}, "T493"),
        ({"batch_size": 0}, "T494"), ({"n_epochs": None}, "T494"), ({"n_epochs": 0}, "T494"),
        ({"device": "tpu"}, "T494"),
        ({"max_seconds": -1}, "T494"), ({"class_weight": "even"}, "T494"), ({"validation_fraction": 1.0}, "T494"),
        ({"n_iter_no_change": 0}, "T494"), ({"loss": Focal(exclusive=True), "label_smoothing": 0.1}, "T495"),
        ({"config": {"modle.piece_budget": 1}}, "T497"), ({"config": {"training.max_epohcs": 1}}, "T330"),
        ({"lr_decay": 2.0}, "T005"), ({"frozen_depth": 9}, "T061"),
    ],
)  # fmt: skip
def test_values_that_are_not_possible_are_refused(
    make: Callable[..., TransferClassifier], changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        make(**changes).fit(TEXTS, Y)


def test_frozen_depths_keep_their_weights(make: Callable[..., TransferClassifier], bert: Path) -> None:
    from safetensors.torch import load_file

    before = load_file(bert / "model.safetensors")
    after = make(frozen_depth=1).fit(TEXTS, Y).nlp.get_pipe("transfer_textcat").model.shims[0]._model.state_dict()
    name = "encoder.layer.{}.output.dense.weight"
    found = {depth: next(v for k, v in after.items() if k.endswith(name.format(depth))) for depth in (0, 1)}
    assert torch.equal(found[0], before[name.format(0)])
    assert not torch.equal(found[1], before[name.format(1)])


def test_only_the_head_is_fitted_in_no_epoch(make: Callable[..., TransferClassifier]) -> None:
    classifier = make(n_epochs=0, frozen_depth="all", head_init="LinearProbe").fit(TEXTS, Y)
    assert classifier.n_steps_ == 1
    assert classifier.score(TEXTS, Y) > 0.6


# ---- the length of a training ------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_weights_on_held_out_texts(make: Callable[..., TransferClassifier]) -> None:
    # The rate is so low that no evaluation is better than the first: patience ends it.
    classifier = make(
        early_stopping=True, validation_fraction=0.25, n_iter_no_change=2, n_epochs=50, learn_rate=1e-9
    ).fit(TEXTS, Y)
    assert classifier.n_steps_ < 50 * 3
    assert classifier.validation_score_ is not None
    assert 0.0 <= classifier.validation_score_ <= 1.0
    assert make().fit(TEXTS, Y).validation_score_ is None


def test_time_ends_a_training(make: Callable[..., TransferClassifier]) -> None:
    classifier = make(n_epochs=None, max_seconds=0.2).fit(TEXTS, Y)
    assert classifier.n_steps_ >= 1
    assert classifier.predict(TEXTS).shape == (24,)
    assert make(n_epochs=10_000, max_seconds=0.2, early_stopping=True, validation_fraction=0.3).fit(
        TEXTS, Y
    ).validation_score_ is not None  # fmt: skip


def test_partial_fit_goes_on(make: Callable[..., TransferClassifier]) -> None:
    classifier = make().partial_fit(TEXTS[:12], Y[:12], classes=["card", "login", "money"])
    before = classifier.predict_proba(TEXTS)
    classifier.partial_fit(TEXTS[12:], Y[12:])
    after = classifier.predict_proba(TEXTS)
    assert not np.array_equal(before, after)
    assert np.abs(before - after).max() < 0.5
    # No learning at all: on from where the weights are, and not from the beginning.
    still = classifier.set_params(learn_rate=1e-12).partial_fit(TEXTS, Y).predict_proba(TEXTS)
    np.testing.assert_allclose(still, after, atol=1e-5)
    with pytest.raises(ValueError, match=r"T491.*other"):
        classifier.partial_fit(["a text"], ["other"])
    with pytest.raises(ValueError, match="T491"):
        classifier.partial_fit(["a text"], [["card"]])


def test_partial_fit_of_a_pipeline_with_other_components_is_refused(fitted: TransferClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "saved")
    loaded = TransferClassifier.load(tmp_path / "saved")
    loaded.nlp.add_pipe("sentencizer", first=True)
    with pytest.raises(ValueError, match=r"T500.*sentencizer"):
        loaded.partial_fit(TEXTS, Y)


# ---- files and noise ---------------------------------------------------------------------------------------------


def test_what_is_saved_is_a_pipeline_and_loads(fitted: TransferClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    fitted.save(folder)
    fitted.save(folder)
    loaded = TransferClassifier.load(folder)
    expected = fitted.predict_proba(TEXTS)
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), expected)
    assert loaded.get_params() == fitted.get_params()
    assert spacy.load(folder)(TEXTS[0]).cats == fitted.nlp(TEXTS[0]).cats
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    assert "spacy-transfer-" not in (folder / "config.cfg").read_text("utf-8")


def test_another_folder_is_not_replaced(fitted: TransferClassifier, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="T499"):
        fitted.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="T498"):
        TransferClassifier.load(tmp_path)
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match=r"T498.*0 spacy-transfer"):
        TransferClassifier.load(tmp_path / "blank")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_damaged_file_is_refused(fitted: TransferClassifier, tmp_path: Path, content: str) -> None:
    fitted.save(tmp_path / "saved")
    (tmp_path / "saved" / "estimator.json").write_text(content)
    with pytest.raises(ValueError, match="T498"):
        TransferClassifier.load(tmp_path / "saved")


def test_a_pipeline_trained_by_the_loop_loads(bert: Path, tmp_path: Path) -> None:
    run(config_of(bert, write_corpus(tmp_path), steps=2), tmp_path / "output")
    classifier = TransferClassifier.load(tmp_path / "output" / "model-last")
    assert classifier.predict(TEXTS[:2]).shape == (2,)
    assert set(classifier.classes_) == set(LABELS)


def test_no_word_is_printed_that_nobody_asked_for(
    make: Callable[..., TransferClassifier], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # This suite asks for INFO, of spaCy too.
    monkeypatch.setattr(logging.getLogger("spacy"), "level", logging.WARNING)
    logging.getLogger("spacy").manager._clear_cache()
    make().fit(TEXTS, Y).predict(TEXTS)
    assert capfd.readouterr() == ("", "")
    make(progress=True).fit(TEXTS, Y)
    out, err = capfd.readouterr()
    assert not out
    assert "24/24" in err


@pytest.mark.slow
def test_in_a_process_of_its_own_nothing_is_printed_and_no_file_is_left(bert: Path, tmp_path: Path) -> None:
    """No handler of pytest's is there, and no file is left in the folder for temporary ones."""
    code = f"""
from spacy_transfer import TransferClassifier
texts, labels = ["my card is lost", "the login is broken"] * 8, ["card", "login"] * 8
TransferClassifier({str(bert)!r}, window_length=32, window_stride=20, n_epochs=1).fit(texts, labels).predict(texts)
"""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.glob("spacy-transfer-*"))


def test_the_example_in_the_docstring_runs(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = inspect.getdoc(TransferClassifier)
    assert text is not None
    code = textwrap.dedent(text.partition("EXAMPLE:")[2].partition("\n\n")[2])
    assert code.count("\n") <= 25
    with (tmp_path / "support.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(TEXTS, Y, strict=True)])
    monkeypatch.chdir(tmp_path)
    small = code.replace(
        "TransferClassifier(", f"TransferClassifier({str(bert)!r}, window_length=32, window_stride=20, ", 1
    )
    assert small != code
    exec(compile(small, "example", "exec"), {})
    assert "precision" in capsys.readouterr().out
    assert json.loads((tmp_path / "support_model" / "estimator.json").read_text("utf-8"))["classes"] == sorted(LABELS)
