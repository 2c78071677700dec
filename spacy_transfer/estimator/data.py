"""Checks texts and labels in scikit-learn's formats and converts them for a spaCy pipeline."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning

from ..errors import T490, T491, T492, T503

# How labels are given, and given back: one for each text, a 0/1 matrix, or a list of labels for each text.
Kind = Literal["exclusive", "indicator", "lists"]
Array = NDArray[np.generic]
# What users give as labels: an array, a list, a column or a table; or a list or set of labels for each text.
Labels = ArrayLike | Iterable[Iterable[str]]


class _Sparse(Protocol):
    """A sparse matrix of scipy."""

    def toarray(self) -> Array:
        """Make an array."""


def _is_sparse(labels: object) -> TypeGuard[_Sparse]:
    return hasattr(labels, "toarray")


def check_texts(texts: object) -> list[str]:
    """Check the texts of a call.

    texts (object): A list, a column of a data frame or a one-dimensional array of str.
    RETURNS (list[str]): The texts.
    RAISES (ValueError): T490 for a single str, for anything of two dimensions, and for a value that is not a str.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise ValueError(T490.format(problem=f"one {type(texts).__name__}"))
    shape = getattr(texts, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(T490.format(problem=f"a table or array of shape {tuple(shape)}"))
    listed = list(texts)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise ValueError(T490.format(problem=f"{text!r} ({type(text).__name__}) in row {i}"))
    # numpy's own str would not go through every tokenizer.
    return [str(text) for text in listed]


@dataclass(frozen=True)
class Targets:
    """Labels of some texts.

    kind (str): How they were given.
    classes (Array): The labels, (n_labels,), in the order of the scores.
    matrix (Array): 0/1, (n_texts, n_labels).
    """

    kind: Kind
    classes: Array
    matrix: NDArray[np.bool_]

    @property
    def names(self) -> list[str]:
        """Labels as a pipeline knows them."""
        return label_names(self.classes)

    def cats(self, rows: Sequence[int] | None = None) -> list[dict[str, float]]:
        """Annotations for spaCy.

        rows (Sequence[int] | None): Which texts; None is all.
        RETURNS (list[dict[str, float]]): Every label of every text.
        """
        chosen = self.matrix if rows is None else self.matrix[list(rows)]
        return [dict(zip(self.names, row, strict=True)) for row in chosen.astype(float).tolist()]


def label_names(classes: Array) -> list[str]:
    """Name labels, which may be numbers, as a pipeline does.

    classes (Array): (n_labels,).
    RETURNS (list[str]): In the same order.
    """
    return [str(label) for label in classes.tolist()]


def read_labels(
    labels: Labels | None, n_texts: int, *, classes: ArrayLike | None = None, kind: Kind | None = None
) -> Targets:
    """Read labels in any of the forms that scikit-learn's users give.

    labels (Labels | None): A label for each text; a 0/1 matrix, whose columns are labels (of a data frame by name); or
        a list of str for each text.
    n_texts (int): Number of texts.
    classes (ArrayLike | None): All labels, where more may come later; None takes those that occur.
    kind (Kind | None): The form that earlier labels had; None accepts any.
    RETURNS (Targets): Labels sorted, or in the order of the columns or of `classes`.
    RAISES (ValueError): T491 for labels that cannot be read, T492 for another number of them than of texts, T503 for a
        single label.
    """
    if labels is None:
        raise ValueError(T491.format(problem="none: fit requires y to be passed, but the target y is None"))
    if hasattr(labels, "__array__") and not hasattr(labels, "__len__"):
        labels = np.asarray(labels)
    if getattr(labels, "shape", ())[1:] == (1,):
        # As scikit-learn takes it: one label for each text, in a table of one column.
        warnings.warn("A column-vector y was passed when a 1d array was expected", DataConversionWarning, stacklevel=3)
        labels = _dense(labels).ravel()
    if not _is_listed(labels):
        raise ValueError(T491.format(problem=type(labels).__name__))
    given = _kind_of(labels)
    if kind is not None and given != kind:
        raise ValueError(T491.format(problem=f"{_SAY[given]}, but the first call had {_SAY[kind]}"))
    known = None if classes is None else np.asarray(classes)
    if given == "exclusive":
        targets = _exclusive(labels, known)
    elif given == "indicator":
        targets = _indicator(labels, known)
    else:
        targets = _lists(label_lists(labels), known)
    if len(targets.matrix) != n_texts:
        raise ValueError(T492.format(n_labels=len(targets.matrix), n_texts=n_texts))
    return targets


def _dense(labels: object) -> Array:
    return labels.toarray() if _is_sparse(labels) else np.asarray(labels)


_SAY = {"exclusive": "one label for each text", "indicator": "a 0/1 matrix", "lists": "a list for each text"}


def _is_listed(labels: object) -> TypeGuard[Collection[object]]:
    return hasattr(labels, "__len__") and not isinstance(labels, str | bytes)


def label_lists(labels: object) -> list[list[object]]:
    """The labels of each text, where a text has a list of them.

    labels (object): A list, a set or an array for each text.
    RETURNS (list[list[object]]): In the same order.
    RAISES (ValueError): T491 for anything else.
    """
    if not isinstance(labels, Iterable):
        raise ValueError(T491.format(problem=type(labels).__name__))
    found = []
    for i, one in enumerate(labels):
        if not isinstance(one, Iterable):
            raise ValueError(T491.format(problem=f"no list for a text (row {i})"))
        found.append(list(one))
    return found


def _kind_of(labels: Collection[object]) -> Kind:
    shape = getattr(labels, "shape", None)
    if shape is not None and len(shape) == 2:
        return "indicator"
    if shape is not None and len(shape) != 1:
        raise ValueError(T491.format(problem=f"an array of shape {tuple(shape)}"))
    listed = list(labels)
    nested = [isinstance(one, list | tuple | set | frozenset | np.ndarray) for one in listed]
    if not any(nested):
        return "exclusive"
    if not all(nested):
        row = nested.index(not nested[0])
        raise ValueError(T491.format(problem=f"lists for some texts and single labels for others (row {row})"))
    numbers = [isinstance(label, int | float | np.number | np.bool_) for one in label_lists(listed) for label in one]
    return "indicator" if numbers and all(numbers) else "lists"


def _exclusive(labels: Collection[object], classes: Array | None) -> Targets:
    listed = list(labels)
    for i, label in enumerate(listed):
        # NaN is the one value that differs from itself.
        if label is None or label != label:
            raise ValueError(T491.format(problem=f"a missing label in row {i}"))
    given = np.asarray(labels)
    if given.dtype.kind not in "OUbiuf":
        raise ValueError(T491.format(problem=f"labels of type {given.dtype}"))
    # A target of a regression would give a label for each number.
    if given.dtype.kind == "f" and not np.array_equal(given, given.round()):
        raise ValueError(T491.format(problem="continuous numbers"))
    # As they came: numpy makes str of numbers that stand beside words.
    kinds = {type(label.item() if isinstance(label, np.generic) else label).__name__ for label in listed}
    if len(kinds) > 1 or not kinds <= {"str", "int", "float", "bool"}:
        raise ValueError(T491.format(problem=f"labels of the types {', '.join(sorted(kinds))}"))
    known = np.unique(given) if classes is None else classes
    if len(known) < 2:
        raise ValueError(T503.format(label=known.tolist()))
    if unknown := sorted(set(given.tolist()) - set(known.tolist()), key=str):
        raise ValueError(T491.format(problem=f"{unknown}, which are not among the labels {known.tolist()}"))
    return Targets("exclusive", known, given[:, None] == known[None, :])


def _indicator(labels: Collection[object], classes: Array | None) -> Targets:
    columns = getattr(labels, "columns", None)
    try:
        matrix = _dense(labels)
    except ValueError as error:
        raise ValueError(T491.format(problem="rows of numbers that differ in length")) from error
    if matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ValueError(T491.format(problem="rows of numbers other than 0 and 1"))
    if classes is None:
        classes = np.arange(matrix.shape[1]) if columns is None else np.asarray([str(name) for name in columns])
    if len(classes) != matrix.shape[1] or len(set(label_names(classes))) < len(classes):
        problem = f"a matrix of {matrix.shape[1]} columns for the labels {classes.tolist()}"
        raise ValueError(T491.format(problem=problem))
    return Targets("indicator", classes, matrix.astype(bool))


def _lists(listed: list[list[object]], classes: Array | None) -> Targets:
    for i, one in enumerate(listed):
        if strange := [label for label in one if not isinstance(label, str)]:
            raise ValueError(T491.format(problem=f"{strange[0]!r} in the list of row {i}, which is not a str"))
    found = sorted({str(label) for one in listed for label in one})
    known = found if classes is None else [str(label) for label in classes.tolist()]
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(T491.format(problem=f"{unknown}, which are not among the labels {known}"))
    matrix = np.zeros((len(listed), len(known)), dtype=bool)
    places = {label: i for i, label in enumerate(known)}
    for row, one in zip(matrix, listed, strict=True):
        row[[places[str(label)] for label in one]] = True
    return Targets("lists", np.asarray(known), matrix)


def give_back(kind: Kind, classes: Array, chosen: NDArray[np.bool_]) -> Array | list[list[str]]:
    """Give predictions in the form in which labels came.

    kind (Kind): The form.
    classes (Array): The labels, (n_labels,).
    chosen (NDArray[np.bool_]): (n_texts, n_labels).
    RETURNS (Array | list[list[str]]): Labels (n_texts,), a 0/1 matrix (n_texts, n_labels), or a list of lists of str.
    """
    if kind == "exclusive":
        return classes[chosen.argmax(axis=1)]
    if kind == "indicator":
        return chosen.astype(int)
    return [classes[row].tolist() for row in chosen]
