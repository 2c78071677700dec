"""Labels of the estimator: they come back as they were, several of a text, matrices and tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from house_kit.texts import LABELS, TEXTS

pytest.importorskip("sklearn", minversion="1.6")

from scipy.sparse import csr_matrix
from sklearn.exceptions import DataConversionWarning

from spacy_transfer import TransferClassifier
from spacy_transfer.estimator.data import read_labels

Y = [LABELS[i % 3] for i in range(len(TEXTS))]
INDICATOR = np.array([[i % 2, i % 3 == 0, i % 5 == 0] for i in range(len(TEXTS))], dtype=int)
LISTS = [[LABELS[j] for j in range(3) if row[j]] for row in INDICATOR]


def test_labels_come_back_as_they_were(make: Callable[..., TransferClassifier], tmp_path: Path) -> None:
    labels = [i % 2 for i in range(24)]
    classifier = make().fit(TEXTS, labels)
    assert classifier.classes_.tolist() == [0, 1]
    assert classifier.classes_.dtype == np.asarray(labels).dtype
    assert set(classifier.predict(TEXTS).tolist()) <= set(labels)
    classifier.save(tmp_path / "saved")
    loaded = TransferClassifier.load(tmp_path / "saved")
    assert loaded.predict(TEXTS).dtype == np.asarray(labels).dtype
    for given in ([True, False], ["b", "a"], np.array(["b", "a"], dtype=object), [2.0, 1.0]):
        read = read_labels(given, 2)
        assert read.classes.tolist() == sorted(given)
        assert read.classes.dtype == np.asarray(given).dtype


def test_a_text_may_have_several_labels(make: Callable[..., TransferClassifier], tmp_path: Path) -> None:
    classifier = make(threshold=0.4, loss="Focal").fit(TEXTS, INDICATOR)
    scores, predicted = classifier.predict_proba(TEXTS), classifier.predict(TEXTS)
    np.testing.assert_array_equal(predicted, (scores >= 0.4).astype(int))
    assert classifier.score(TEXTS, INDICATOR) == (predicted == INDICATOR).all(axis=1).mean()
    assert classifier.nlp.pipe_names == ["transfer_textcat"]
    assert classifier.classes_.tolist() == [0, 1, 2]


def test_lists_of_labels_are_the_matrix_by_name(make: Callable[..., TransferClassifier]) -> None:
    by_list, by_matrix = make().fit(TEXTS, LISTS), make().fit(TEXTS, INDICATOR)
    np.testing.assert_array_equal(by_list.predict_proba(TEXTS), by_matrix.predict_proba(TEXTS))
    chosen = by_list.predict_proba(TEXTS) >= 0.5
    assert by_list.predict(TEXTS) == [[LABELS[j] for j in range(3) if row[j]] for row in chosen]
    assert by_list.score(TEXTS, by_list.predict(TEXTS)) == 1.0


def test_a_sparse_matrix_is_a_matrix() -> None:
    targets = read_labels(csr_matrix(INDICATOR), 24)
    assert targets.kind == "indicator"
    np.testing.assert_array_equal(targets.matrix, INDICATOR.astype(bool))


def test_a_table_of_one_column_is_a_label_for_each_text() -> None:
    with pytest.warns(DataConversionWarning):
        targets = read_labels(np.array([["x"], ["y"]]), 2)
    assert targets.kind == "exclusive"
    assert targets.names == ["x", "y"]


def test_columns_of_a_data_frame_are_labels() -> None:
    class Frame:
        shape = INDICATOR.shape
        columns = ("card", "login", "money")

        def __len__(self) -> int:
            return len(INDICATOR)

        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            return INDICATOR

    assert read_labels(Frame(), 24).names == ["card", "login", "money"]


@pytest.mark.parametrize(
    ("texts", "labels", "code"),
    [
        ("one text", ["a"], "T490"), ([], [], "T490"), (["a", None], ["x", "y"], "T490"),
        (np.array([["a"], ["b"]]), ["x", "y"], "T490"), (["a", "b"], ["x", "y", "x"], "T492"),
        (["a", "b"], None, "T491"),
        (["a", "b"], "xy", "T491"), (["a", "b"], ["x", None], "T491"), (["a", "b"], ["x", float("nan")], "T491"),
        (["a", "b"], [0.5, 0.25], "T491"), (["a", "b"], ["x", 1], "T491"), (["a", "b"], [["x"], "y"], "T491"),
        (["a", "b"], [[1, 0], [1]], "T491"), (["a", "b"], [[1, 0], [2, 0]], "T491"), (["a", "b"], [["x"], [1]], "T491"),
        (["a", "b"], np.zeros((2, 2, 2)), "T491"),
        (["a", "b"], ["x", "x"], "T503"),
    ],
)  # fmt: skip
def test_what_is_no_text_or_label_is_refused(
    make: Callable[..., TransferClassifier], texts: Any, labels: Any, code: str
) -> None:
    with pytest.raises(ValueError, match=code):
        make().fit(texts, labels)


def test_weights_of_texts_are_refused(make: Callable[..., TransferClassifier]) -> None:
    with pytest.raises(ValueError, match="T496"):
        make().fit(TEXTS, Y, sample_weight=np.ones(24))
