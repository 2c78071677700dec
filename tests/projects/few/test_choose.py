"""The best of some configs, by cross-validation on the training texts."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, DocBin

import spacy_transfer.cli  # noqa: F401  (adds the commands)
from house_kit.commands import run
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.projects.config_text import write_config
from spacy_transfer.projects.encoder_facts import look_at_encoder
from spacy_transfer.projects.few import choose as module
from spacy_transfer.projects.few.choose import choose
from spacy_transfer.projects.recipes import RECIPES
from spacy_transfer.training.search.compare import Compared


@pytest.fixture(scope="module")
def docs() -> list[Doc]:
    made = list(spacy.blank("en").pipe(TEXTS))
    for n, doc in enumerate(made):
        doc.cats = one_hot(LABELS[n % 3])
    return made


@pytest.fixture(scope="module")
def texts(docs: list[Doc], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "train.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def configs(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe, and the same with a name of a label that is the text of another one."""
    folder, facts = tmp_path_factory.mktemp("candidates"), look_at_encoder(str(bert))
    for name, label_texts in (("plain", None), ("names", {})):
        text = write_config(
            RECIPES["linear_probe"], exclusive=True, lang="en", encoder=facts, n_texts=len(TEXTS), n_epochs=0, seed=0,
            label_texts=label_texts,
        )  # fmt: skip
        (folder / f"{name}.cfg").write_text(text, "utf-8")
    return folder


def test_the_best_becomes_the_config_and_the_command_shows_the_table(
    configs: Path, texts: Path, tmp_path: Path
) -> None:
    chosen = choose(configs, texts, tmp_path / "config.cfg", n_folds=2)
    found = chosen.compared
    assert {one.name for one in found} == {"plain", "names"}
    assert found[0].score >= found[1].score
    assert chosen.config == configs / f"{chosen.name}.cfg"
    assert (tmp_path / "config.cfg").read_bytes() == chosen.config.read_bytes()
    shown = run("transfer", "choose", configs, "--train", texts, "--output", tmp_path / "b.cfg", "--folds", "2")
    assert (tmp_path / "b.cfg").read_bytes() == (tmp_path / "config.cfg").read_bytes()
    assert f"{found[0].score:.1%}" in shown
    assert f"b.cfg: {chosen.name}, " in " ".join(shown.split())


@pytest.mark.parametrize(("gain", "is_clear"), [(0.0, False), (0.05, False), (0.4, True)])
def test_the_default_is_kept_unless_another_is_better_by_more_than_chance(
    gain: float, is_clear: bool, configs: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `init` does: the default is what is there, whatever its length, or else the first one. The standard error of
    half of 24 texts is 10 %."""
    tried: list[list[str]] = []

    def compared(given: dict[str, Any], docs: list[Doc], folds: list[int], **_: Any) -> list[Compared]:
        tried.append(list(given))
        default, other = given
        return [Compared(other, 0.5 + gain, [0.5], 24, 1.0), Compared(default, 0.5, [0.5], 24, 1.0)]

    monkeypatch.setattr(module, "compare_recipes", compared)
    output = tmp_path / "config.cfg"
    paths = [configs / "plain.cfg", configs / "names.cfg"]
    assert choose(paths, texts, output).name == ("names" if is_clear else "plain")
    there = (configs / "names.cfg").read_text("utf-8").replace("max_steps = 1", "max_steps = 2")
    output.write_text(there, "utf-8")
    chosen = choose(paths, texts, output)
    assert (chosen.name, chosen.default) == ("plain" if is_clear else "names", "names")
    # What is there keeps its own length if it is chosen.
    assert (output.read_text("utf-8") == there) is not is_clear
    # The default is tried whatever the time allows.
    assert tried == [["plain", "names"], ["names", "plain"]]
    shown = run("transfer", "choose", *paths, "--train", texts, "--output", tmp_path / "new.cfg")
    why = "better than plain by more" if is_clear else "the default; names is not better by more"
    assert f"{why} than the standard error" in " ".join(shown.split())


def test_without_time_the_first_is_taken(configs: Path, texts: Path, tmp_path: Path) -> None:
    paths = [configs / "plain.cfg", configs / "names.cfg"]
    found = choose(paths, texts, tmp_path / "config.cfg", budget=0.001).compared
    assert [one.name for one in found] == ["plain"]
    assert len(found[0].by_fold) == 1


def test_what_cannot_be_compared_is_refused(configs: Path, docs: list[Doc], texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "config.cfg"
    with pytest.raises(ValueError, match=r"T665.*plain\.cfg"):
        choose(configs / "plain.cfg", texts, output)
    with pytest.raises(ValueError, match="T665"):
        choose(tmp_path, texts, output)
    with pytest.raises(ValueError, match=r"T617.*soon"):
        choose(configs, texts, output, budget="soon")
    DocBin(docs=docs[:3]).to_disk(tmp_path / "one.spacy")
    with pytest.raises(ValueError, match=r"T666.*3 texts with 3 labels"):
        choose(configs, tmp_path / "one.spacy", output)
    with pytest.raises(FileNotFoundError, match="T440"):
        choose(configs, tmp_path / "none.spacy", output)
    assert not output.exists()
