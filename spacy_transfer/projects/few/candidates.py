"""What is compared on few texts: recipes, with and without texts of the labels, and how long that takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...errors import T664
from ...files.strangers import read_object
from ...model.learning.label_texts import LabelTexts, says_something
from ...model.shims.label_names import words_of
from ...model.text.tokenizer import PieceTokenizer
from ...training.search.compare import Compared
from ..budget import n_epochs_for, n_updates
from ..recipes import RECIPES, Recipe

Texts: TypeAlias = Mapping[str, str | list[str]]
# What is taken where nothing can be compared comes first, and is kept where no other one is clearly better: it was the
# best one or near it on held-out training texts (benchmarks/accuracy.md). Of others that are equal the earlier one.
_ORDER = (
    ("few_contrastive", True), ("few_contrastive", False), ("probe_then_tune", False), ("linear_probe", True),
    ("linear_probe", False),
)  # fmt: skip
# Seconds that a training takes before its first update, and twice that in a comparison, which tests as well.
_START = 4.0
# Letters a piece: names of TREC's labels have 1.9, those of Banking77, AG News and SST-2 4 and more.
_LETTERS_OF_WORDS = 2.25


@dataclass(frozen=True)
class Candidate:
    """A recipe that may be chosen.

    recipe (Recipe): What is trained.
    reads_names (bool): Whether it learns from texts of the labels too.
    """

    recipe: Recipe
    reads_names: bool = False

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.recipe.name} + label texts" if self.reads_names else self.recipe.name

    @property
    def file(self) -> str:
        """Name of its config."""
        return f"{self.recipe.name}{'_label_texts' * self.reads_names}.cfg"

    def seconds(self, update: float, n_texts: int, n_folds: int) -> float:
        """Estimate how long a comparison takes with it.

        update (float): Seconds of an update of `probe_then_tune`.
        n_texts (int): Training texts.
        n_folds (int): Folds.
        RETURNS (float): Seconds.
        """
        n_steps = n_epochs_for(self.recipe, n_texts) * n_updates(self.recipe, n_texts * (n_folds - 1) // n_folds)
        return n_folds * (_START + n_steps * update * self.recipe.cost)


def candidates(labels: Sequence[str], texts: Texts, *, tokenizer: str = "") -> list[Candidate]:
    """Name what may be chosen on few texts.

    labels (Sequence[str]): All labels.
    texts (Texts): Those that the user has given for some of them.
    tokenizer (str): Of the encoder, as JSON; empty if names need not be words that it knows.
    RETURNS (list[Candidate]): First what is taken by rule; with texts of labels only if each label has one, or a word
        in its name, and the names are no abbreviations.
    """
    named = [label for label in labels if label not in texts]
    can_read = all(map(says_something, named)) and not (tokenizer and are_abbreviations(named, tokenizer))
    return [Candidate(RECIPES[name], reads) for name, reads in _ORDER if can_read or not reads]


def are_abbreviations(labels: Sequence[str], tokenizer: str) -> bool:
    """Whether names of labels fall into such short pieces that an encoder cannot know them as words.

    labels (Sequence[str]): "ABBR", "ENTY", "NUM", for instance.
    tokenizer (str): Of the encoder, as JSON.
    RETURNS (bool): True below 2.25 letters a piece. Only in scripts that have capitals: in others a letter is a word.
    """
    names = [words_of(label) for label in labels]
    n_letters = sum(letter.lower() != letter.upper() for name in names for letter in name)
    n_pieces = sum(map(len, PieceTokenizer(tokenizer).encode(names)))
    return 0 < n_letters < _LETTERS_OF_WORDS * n_pieces


def clearly_best(compared: Sequence[Compared], default: str) -> Compared:
    """Choose from a comparison on few texts, where chance moves a score by several points.

    compared (Sequence[Compared]): The best first.
    default (str): Name of what is taken by rule.
    RETURNS (Compared): The default, unless it was not compared, or the best one has a score that is higher by more than
        the standard error.
    """
    best = compared[0]
    by_rule = next((one for one in compared if one.name == default), best)
    return best if best.score - by_rule.score > by_rule.standard_error else by_rule


def read_label_texts(given: Texts | Path | None, labels: Sequence[str]) -> Texts:
    """Read texts of labels.

    given (Texts | Path | None): A JSON object, or a file with one: for each label a text, or a list of them.
    labels (Sequence[str]): All labels.
    RETURNS (Texts): Empty if nothing is given.
    RAISES (ValueError): T005 for a text that is none, T660 for a label that does not exist, T661 for one without a text
        and without a word in its name, T664 for a file of another form.
    """
    if given is None:
        return {}
    found = _of_file(given) if isinstance(given, Path) else dict(given)
    LabelTexts(found).of(labels)
    return found


def _of_file(path: Path) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for label, its in read_object(path).items():
        if isinstance(its, str):
            found[label] = its
        elif isinstance(its, list) and all(isinstance(one, str) for one in its):
            found[label] = [str(one) for one in its]
        else:
            raise ValueError(T664.format(path=path, label=label))
    return found
