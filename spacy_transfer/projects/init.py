"""Makes a project of a file of texts; see `spacy transfer init --help`."""

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ..corpora.convert import blank_language
from ..corpora.dev_part import Part, check_shares
from ..corpora.excerpt import excerpt
from ..corpora.inspection.check import Report, check_splits
from ..corpora.inspection.findings import Finding
from ..corpora.inspection.language_guess import guess_language
from ..corpora.inspection.near_duplicates import group_near_duplicates
from ..corpora.tables.numbered_labels import LabelNames
from ..corpora.tables.records import BadLine, Record
from ..corpora.tables.table_format import TableFormat
from ..errors import T610, T611, T611_DATA, T611_OTHERS, T615, T618, T622
from ..files import hold_place, new_folder, repair
from .budget import parse_seconds
from .dividing import divide
from .encoder_facts import DEFAULT, EncoderFacts, look_at_encoder, other_language
from .few.candidates import Texts, read_label_texts
from .given_data import GivenData, Reading, as_row, as_split, rarest_labels, read_data
from .plan import Choice, Task, make_plan, named_recipe
from .project_text import Told, label_counts, package_name, write_project, write_readme

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..training.search.compare import Compared

MARK = "init.json"
# What a project holds once it ran; a folder with anything else is not replaced.
_OWN = {
    MARK, "data", "config.cfg", "candidates", "project.yml", "README.md", "project.lock", ".gitignore", "corpus",
    "training", "metrics", "predictions", "packages", "report.html", "report.json",
    "zero_shot", "trained",
}  # fmt: skip
_LONGEST_EXAMPLE = 200
_DEV_SHARE = 0.1
# Texts a label from which a tenth of them is enough to choose on; with fewer all of them are trained on.
_SPARES_DEV = 20


@dataclass(frozen=True)
class Initialized:
    """A project that was made.

    folder (Path): Where it is.
    recipe (str): What is trained.
    n_epochs (int): Passes over the training texts; 0 where the head is solved instead.
    reads_label_texts (bool): Whether names or descriptions of the labels are learned from.
    labels (list[str]): All labels.
    exclusive (bool): Whether each text has exactly one.
    n_texts (dict[str, int]): Texts in train, dev (not with very few texts) and test.
    choices (list[Choice]): What was decided, and why.
    notes (list[str]): How the files were read.
    findings (list[Finding]): What is odd about the texts.
    compared (list[Compared]): Recipes that were compared, the best first.
    bad_lines (list[BadLine]): The first of the lines that were left out.
    n_bad (int): How many were.
    """

    folder: Path
    recipe: str
    n_epochs: int
    reads_label_texts: bool
    labels: list[str]
    exclusive: bool
    n_texts: dict[Part, int]
    choices: list[Choice]
    notes: list[str]
    findings: list[Finding]
    compared: "list[Compared]"
    bad_lines: list[BadLine]
    n_bad: int


def init(
    data: Path | Sequence[Path],
    folder: Path,
    *,
    encoder: str | Path = DEFAULT,
    recipe: str = "auto",
    budget: str | float | None = None,
    compare: bool = True,
    exclusive: bool | None = None,
    lang: str | None = None,
    label_texts: Texts | Path | None = None,
    dev_share: float | None = None,
    test_share: float = 0.1,
    text_field: str | None = None,
    label_field: str | None = None,
    labels_field: str | None = None,
    cats_field: str | None = None,
    label_columns: Sequence[str] = (),
    label_names: LabelNames | None = None,
    missing_labels: Sequence[str] = (),
    merge_labels: bool = False,
    separator: str | None = None,
    layout: TableFormat | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    gpu_id: int = -1,
    force: bool = False,
) -> Initialized:
    """Make a project that trains a classifier on texts as people have them.

    The folder gets data/ (the texts as JSONL, in three splits), config.cfg, project.yml and README.md with the reason
    for each choice; it is whole or not there. The network is not asked.

    data (Path | Sequence[Path]): A .csv, .tsv, .jsonl, .json, .parquet or .xlsx file, several of them, or a folder.
        Files whose names say train, dev (or valid) and test are the splits; what is missing is split off train.
    folder (Path): The project.
    encoder (str | Path): A folder, the folder or package of a pipeline, or a name on the hub that is on this machine.
    recipe (str): "auto", or one of `spacy_transfer.projects.recipes.RECIPES`.
    budget (str | float | None): Time for a comparison and the training on this machine: "10m", or seconds. None: none.
    compare (bool): On few texts, whether recipes may be compared by cross-validation on the training texts.
    exclusive (bool | None): Exactly one label per text, or any number. None: exactly one if every text has one.
    lang (str | None): Language of the tokenizer, as in `spacy.blank`. None: guessed.
    label_texts (Texts | Path | None): For labels one or more texts that say what they are about, or a JSON file with
        an object of them. On few texts it is compared whether learning from them, or from the names of labels that are
        words, helps; with a recipe that is named they are learned from.
    dev_share (float | None): Share of train that becomes dev, if there is none; 0: no dev. None: a tenth; with the
        recipe "auto" nothing where labels have fewer than 20 texts (median), what becomes test left out.
    test_share (float): Share of train that becomes test, if there is none.
    text_field (str | None): Field of the text. None: found out, as everything else about the files.
    label_field (str | None): Field of the one label of a text.
    labels_field (str | None): Field of a list of labels.
    cats_field (str | None): Field of labels and their values from 0 to 1.
    label_columns (Sequence[str]): Fields that each stand for a label and hold 0 or 1.
    label_names (LabelNames | None): Names of labels that are numbers; as in `convert`.
    missing_labels (Sequence[str]): Labels that mean that there is none, "nan" for instance.
    merge_labels (bool): Make one label of those that look alike.
    separator (str | None): Between the labels in a cell of a table.
    layout (TableFormat | None): How tables are written.
    skip_bad (bool): Leave bad lines out instead of refusing everything.
    seed (int): Of the splits, the folds and the training.
    gpu_id (int): -1 for the CPU.
    force (bool): Replace a project that this function has made, its training included.
    RETURNS (Initialized): What was made and why.
    RAISES (FileExistsError): T610, T611 for a folder that is there.
    RAISES (FileNotFoundError): T440, T880 for the data, T050, T620 for an encoder that is not on this machine.
    RAISES (ValueError): T612, T613, T614, T619 for data that cannot be told, T615 for too few texts, T622 without any
        for test, T616, T617 for recipe and budget, T618 for what the check calls an error; and as `convert`.
    """
    paths = [data] if isinstance(data, Path | str) else list(data)
    paths = [Path(path) for path in paths]
    reading = Reading(
        text_field, label_field, labels_field, cats_field, tuple(label_columns), label_names, tuple(missing_labels),
        merge_labels, separator, layout or TableFormat(), skip_bad,
    )  # fmt: skip
    seconds = parse_seconds(budget)
    refuse_place(folder, paths, force=force)
    check_shares(_DEV_SHARE if dev_share is None else dev_share, test_share)
    given = read_data(paths, reading, exclusive=exclusive)
    if not test_share and "test" not in given.records:
        raise ValueError(T622)
    if recipe != "auto":
        named_recipe(recipe, exclusive=given.exclusive)
    texts_of_labels = read_label_texts(label_texts, given.labels)
    why_no_dev = "as asked for"
    if dev_share is None:
        spares = recipe != "auto" or _per_label(given, test_share) >= _SPARES_DEV
        dev_share = _DEV_SHARE if spares else 0.0
        why_no_dev = f"of fewer than {_SPARES_DEV} texts a label (median) each is worth more in train"
    parts, split_choice = _split(given, dev_share, test_share, seed, why_no_dev)
    facts = look_at_encoder(str(encoder))
    report = check_splits(
        [as_split(part, records, given.labels) for part, records in parts.items()], encoder=facts.folder,
        window=facts.window, exclusive=given.exclusive,
    )  # fmt: skip
    _refuse_errors(report)
    code, why_language = choose_language(lang, [record.text for record in parts["train"]])
    task = Task(
        _docs(parts["train"], given.labels, code), rarest_labels(parts["train"]), report.splits[0].label_counts,
        given.exclusive, code, facts, seed, gpu_id, texts_of_labels, "dev" in parts,
    )  # fmt: skip
    plan = make_plan(task, name=recipe, budget=seconds, compare=compare)
    by_name = {split.name: split.label_counts for split in report.splits}
    choices = [
        _labels_choice(given, report, asked=exclusive is not None),
        split_choice,
        Choice("language", code, why_language),
        _encoder_choice(facts, code, is_default=str(encoder) == DEFAULT),
        _window_choice(facts, report),
        *plan.choices,
    ]  # fmt: skip
    if plan.max_seconds:
        why = "what is left of the budget; the training stops then, with its rate fallen to 0"
        choices.append(Choice("limit", f"{plan.max_seconds:.0f} s", why))
    told = Told(
        title=_title(paths), name=package_name(_title(paths)), lang=code, labels=given.labels,
        exclusive=given.exclusive, counts={part: len(records) for part, records in parts.items()},
        label_counts=label_counts({part: by_name[part] for part in parts}, given.labels),
        choices=choices, notes=given.notes, findings=report.findings, compared=plan.compared,
        example=parts["train"][0].text[:_LONGEST_EXAMPLE], seed=seed, gpu_id=gpu_id, max_seconds=plan.max_seconds,
        seconds_to_choose=plan.seconds_to_choose, builds_wheel=_has("build"),
        draws_report=_has("matplotlib") and _has("jinja2"),
    )  # fmt: skip
    made = Initialized(
        folder, plan.recipe.name, plan.n_epochs, plan.reads_names, given.labels, given.exclusive, told.counts,
        choices, given.notes, report.findings, plan.compared, given.bad_lines, given.n_bad,
    )  # fmt: skip
    candidates = {f"candidates/{name}": text for name, text in plan.candidates.items()}
    config = task.config_text(plan.recipe, plan.n_epochs, reads_names=plan.reads_names)
    _write(folder, given, parts, {"config.cfg": config, **candidates}, told, made, force=force)
    return made


# ---- the folder --------------------------------------------------------------------------------------------------


def refuse_place(folder: Path, data: Sequence[Path], *, force: bool) -> None:
    """Refuse to make a project over what is no project, or over its own data.

    folder (Path): Where it is to be.
    data (Sequence[Path]): What it is made of.
    force (bool): Replace a project that was made before.
    RAISES (FileExistsError): T610, T611.
    """
    if not folder.exists():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not force:
        raise FileExistsError(T610.format(path=folder))
    if not folder.is_dir() or not (folder / MARK).is_file():
        raise FileExistsError(T611.format(path=folder, problem=T611_OTHERS.format(names=f"no {MARK}")))
    others = sorted(path.name for path in folder.iterdir() if path.name not in _OWN)
    if others:
        raise FileExistsError(T611.format(path=folder, problem=T611_OTHERS.format(names=", ".join(others[:5]))))
    place = folder.resolve()
    inside = [path for path in data if path.resolve().is_relative_to(place)]
    if inside or Path.cwd().is_relative_to(place):
        raise FileExistsError(T611.format(path=folder, problem=T611_DATA))


def _write(
    folder: Path, given: GivenData, parts: Mapping[Part, Sequence[Record]], configs: Mapping[str, str], told: Told,
    made: Initialized, *, force: bool,
) -> None:  # fmt: skip
    place = folder.resolve()
    with hold_place(place):
        repair(place.parent)
        # Somebody else may have made it while recipes were compared.
        refuse_place(folder, [], force=force)
        with new_folder(place) as part_folder:
            (part_folder / "data").mkdir()
            for part, records in parts.items():
                rows = (as_row(record, given.labels, exclusive=given.exclusive) for record in records)
                lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
                (part_folder / "data" / f"{part}.jsonl").write_text(lines, encoding="utf-8")
            record = {
                **{key: value for key, value in asdict(made).items() if key not in ("folder", "bad_lines")},
                "files": {part: [str(path) for path in paths] for part, paths in given.files.items()},
            }
            for name, text in (
                *configs.items(), ("project.yml", write_project(told)), ("README.md", write_readme(told)),
                (MARK, json.dumps(record, ensure_ascii=False, indent=2) + "\n"),
            ):  # fmt: skip
                (part_folder / name).parent.mkdir(exist_ok=True)
                (part_folder / name).write_text(text, encoding="utf-8")


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _title(paths: Sequence[Path]) -> str:
    first = paths[0].resolve()
    return first.name if first.is_dir() else first.parent.name if len(paths) > 1 else first.stem


# ---- the parts ---------------------------------------------------------------------------------------------------


def _split(
    given: GivenData, dev_share: float, test_share: float, seed: int, why_no_dev: str
) -> tuple[dict[Part, list[Record]], Choice]:
    """Train, dev and test; what is missing is split off train."""
    train = given.records["train"]
    shares: dict[Part, float] = {"dev": dev_share, "test": test_share}
    missing = {part: share for part, share in shares.items() if part not in given.records and share}
    sizes = ", ".join(f"{part} {len(records):,}" for part, records in given.records.items())
    if not missing:
        reason = "as the files are named"
        if "dev" not in given.records:
            reason += f"; no dev: {why_no_dev}"
        return dict(given.records), Choice("splits", sizes, reason)
    groups = group_near_duplicates([record.text for record in train])
    strata = rarest_labels(train)
    own = divide(strata, groups, missing, seed=seed)
    parts = dict(given.records) | {
        part: [record for record, its in zip(train, own, strict=True) if its == part] for part in ("train", *missing)
    }
    parts = {part: parts[part] for part in ("train", "dev", "test") if part in parts}
    counts = Counter(strata)
    empty = [part for part in missing if not parts[part]]
    if empty:
        shown = ", ".join(f"{excerpt(label)} {n}" for label, n in counts.most_common(5))
        raise ValueError(T615.format(part=" and ".join(empty), n_texts=len(train), labels=shown))
    n_alike = len(train) - len(set(groups))
    left_out = sum(1 for label, n in counts.items() if n < 5)
    taken = " and ".join(f"{share:.0%} as {part}" for part, share in missing.items())
    reason = (
        f"{taken} of {len(train):,} texts, the same share of each label, seed {seed}; {n_alike:,} text(s) nearly the "
        f"same as an earlier one stay on its side"
    )
    if "dev" not in parts:
        reason += f"; no dev: {why_no_dev}"
    reason += f"; {left_out} label(s) with fewer than 5 texts stay in train" if left_out else ""
    n_test = len(parts["test"])
    reason += f"; one text of test is {1 / n_test:.1%}, so a smaller difference says nothing" if n_test < 200 else ""
    value = ", ".join(f"{part} {len(records):,}" for part, records in parts.items())
    return parts, Choice("splits", value, reason)


def _per_label(given: GivenData, test_share: float) -> float:
    """Texts a label in train, the median; what becomes test left out."""
    counts = Counter(rarest_labels(given.records["train"]))
    return median(counts.values()) * (1.0 if "test" in given.records else 1.0 - test_share) if counts else 0.0


def _refuse_errors(report: Report) -> None:
    wrong = [found for found in report.findings if found.level == "error"]
    if wrong:
        lines = [f"  {found.message}" + (f": {', '.join(found.examples)}" if found.examples else "") for found in wrong]
        raise ValueError(T618.format(lines="\n".join(lines)))


# ---- choices -----------------------------------------------------------------------------------------------------


def _labels_choice(given: GivenData, report: Report, *, asked: bool) -> Choice:
    counts = {label: sum(split.label_counts[label] for split in report.splits) for label in given.labels}
    most, least = max(counts.values(), default=0), min(counts.values(), default=0)
    kind = "exactly one per text" if given.exclusive else "any number per text"
    found = "every text has exactly one" if given.exclusive else "not every text has exactly one"
    why = "as asked for" if asked else found
    return Choice("labels", f"{len(counts)}, {kind}", f"{why}; between {least:,} and {most:,} texts each")


def _encoder_choice(facts: EncoderFacts, lang: str, *, is_default: bool) -> Choice:
    size = f"{facts.n_layers} layers of width {facts.width}, {facts.n_weights / 1e6:.1f} million weights"
    why = f"{'the default' if is_default else 'as asked for'}; {facts.kind}, {size}{other_language(facts, lang)}"
    return Choice("encoder", facts.name, why)


def _window_choice(facts: EncoderFacts, report: Report) -> Choice:
    lengths = report.splits[0].lengths
    why = facts.why_window
    if lengths:
        why += f"; texts have {lengths.median:g} pieces (median), {lengths.share_above_window:.1%} are longer"
    return Choice("window", f"{facts.window} pieces", why)


def choose_language(given: str | None, texts: Sequence[str]) -> tuple[str, str]:
    """Choose the language of the tokenizer.

    given (str | None): As the user says it.
    texts (Sequence[str]): From which it is guessed otherwise.
    RETURNS (tuple[str, str]): Its code, and why.
    RAISES (ValueError): As `blank_language` for one that spaCy does not have.
    """
    if given is not None:
        blank_language(given)
        return given, "as asked for"
    guess = guess_language(texts)
    try:
        blank_language(guess.code)
    except ValueError:
        return "xx", f"any language; a guess says '{guess.code}' ({guess.reason}), whose tokenizer needs more packages"
    what = "any language" if guess.code == "xx" else "a guess"
    return guess.code, f"{what}: {guess.reason} (--lang if not); it only decides how spaCy cuts texts into words"


def _docs(records: Sequence[Record], labels: list[str], lang: str) -> "list[Doc]":
    nlp = blank_language(lang)
    docs = []
    for record in records:
        doc = nlp.make_doc(record.text)
        doc.cats = record.cats(labels)
        docs.append(doc)
    return docs
