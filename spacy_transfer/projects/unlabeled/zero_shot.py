"""Makes a project of texts without labels, by what the labels mean; see `spacy transfer init --labels`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from spacy.language import Language
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config

from ...corpora.inspection.near_duplicates import group_near_duplicates
from ...corpora.inspection.repeats import normalize
from ...corpora.reading.raw_texts import find_text_column, read_raw_texts
from ...corpora.tables.column_choice import Columns
from ...corpora.tables.table_format import TableFormat
from ...errors import T688
from ...files import hold_place, new_folder, repair
from ...model.networks import networks_of
from ...pipeline.interface import Floats
from ...pipeline.textcat import TransferTextCategorizer
from ...quiet import silent
from ..encoder_facts import DEFAULT, EncoderFacts, look_at_encoder
from ..init import choose_language, refuse_place
from ..plan import Choice
from ..project_text import package_name
from .label_file import Phrases, read_label_file
from .pages import config_text, project_text, readme_text
from .prototypes import TEMPLATES, Linear, fit_prototypes, worth_annotating

_LEAST_TEXTS = 10
# Texts that the classifier is fitted to.
_MOST_TEXTS = 20_000
_NAME = "transfer_textcat"
_LONGEST_EXAMPLE = 200


@dataclass(frozen=True)
class Unlabeled:
    """A project of texts without labels.

    folder (Path): Where it is.
    labels (list[str]): All labels.
    n_texts (int): Different texts.
    n_chosen (int): Texts in the first batch to annotate.
    shares (dict[str, float]): Of the texts, how many each label gets.
    choices (list[Choice]): What was decided, and why.
    notes (list[str]): How the files were read.
    """

    folder: Path
    labels: list[str]
    n_texts: int
    n_chosen: int
    shares: dict[str, float]
    choices: list[Choice]
    notes: list[str]


def zero_shot(
    data: Path | Sequence[Path],
    labels: Path,
    folder: Path,
    *,
    encoder: str | Path = DEFAULT,
    lang: str | None = None,
    text_field: str | None = None,
    layout: TableFormat | None = None,
    n_annotate: int | None = None,
    seed: int = 0,
    gpu_id: int = -1,
    force: bool = False,
) -> Unlabeled:
    """Make a project with a classifier of texts without labels, and the first texts worth annotating.

    The classifier compares the encoder's vectors of texts and of what labels mean. It is a pipeline like any other.

    data (Path | Sequence[Path]): Texts: .txt (one a line), .spacy, tables and records, as `read_raw_texts` takes them.
    labels (Path): JSON with names or descriptions; see `read_label_file`.
    folder (Path): The project.
    encoder (str | Path): A sentence encoder that is on this machine: a folder, a pipeline, or a name on the hub.
    lang (str | None): Language of the tokenizer. None: guessed.
    text_field (str | None): Field of the text. None: found out.
    layout (TableFormat | None): How tables are written.
    n_annotate (int | None): Texts in the first batch. None: ten a label, 20 to 200.
    seed (int): Of the choice of texts.
    gpu_id (int): -1 for the CPU.
    force (bool): Replace a project that `init` has made.
    RETURNS (Unlabeled): What was made.
    RAISES (FileExistsError): T610, T611 for a folder that is there.
    RAISES (FileNotFoundError): T440, T050, T620.
    RAISES (ValueError): T613 for an unclear column, T686, T687 for the labels, T688 for fewer than ten different texts;
        and as `read_raw_texts`.
    """
    from ...training.device import use_device

    paths = [Path(data)] if isinstance(data, Path | str) else [Path(path) for path in data]
    refuse_place(folder, [*paths, labels], force=force)
    phrases = read_label_file(labels)
    texts, notes = _read(paths, text_field, layout or TableFormat())
    if len(texts) < _LEAST_TEXTS:
        raise ValueError(T688.format(n=len(texts), least=_LEAST_TEXTS))
    facts = look_at_encoder(str(encoder))
    code, why_language = choose_language(lang, texts)
    use_device(gpu_id)
    nlp = _pipeline(facts, list(phrases), code)
    linear, fitted = _fit(nlp, texts, phrases)
    scores, vectors = _scores(nlp, texts), _vectors(nlp, texts)
    n_wanted = min(200, max(20, 10 * len(phrases))) if n_annotate is None else n_annotate
    batch = worth_annotating(vectors, scores, group_near_duplicates(texts), n_wanted, seed=seed)
    best = scores.argmax(axis=1)
    shares = {label: float((best == i).mean()) for i, label in enumerate(phrases)}
    choices = [
        Choice("labels", f"{len(phrases)}, exactly one per text", f"from {labels.name}; no text has a label yet"),
        Choice("language", code, why_language),
        Choice("encoder", facts.name, _why_encoder(facts)),
        Choice("classifier", "by what labels mean", _why_classifier(linear, fitted)),
        Choice("to annotate", f"{len(batch)} texts", "uncertain ones that are far from each other, no near-duplicates"),
    ]
    made = Unlabeled(folder, list(phrases), len(texts), len(batch), shares, choices, notes)
    rows = [
        {"text": texts[i], "label": "", "suggestion": list(phrases)[best[i]], "score": round(float(scores[i].max()), 4)}
        for i in batch
    ]
    title = paths[0].resolve().stem
    project = project_text(title, facts, code, gpu_id)
    _write(folder, nlp, phrases, texts, rows, made, force=force, title=title, project=project)
    return made


# ---- texts -------------------------------------------------------------------------------------------------------


def _read(paths: Sequence[Path], text_field: str | None, layout: TableFormat) -> tuple[list[str], list[str]]:
    """Different texts, and how they were read."""
    found: dict[str, str] = {}
    notes: list[str] = []
    n_read = 0
    for path in paths:
        columns = find_text_column(path, layout) if text_field is None else Columns(text=text_field)
        notes += [f"{path}: {note}" for note in columns.notes]
        own = replace(layout, columns=columns.header) if columns.header else layout
        texts = read_raw_texts([path], field=columns.text, layout=own)
        n_read += len(texts)
        for text in texts:
            found.setdefault(normalize(text), text)
    if n_read > len(found):
        notes.append(f"{n_read - len(found):,} of {n_read:,} texts are there more than once; each is taken once")
    return list(found.values()), notes


# ---- the classifier ----------------------------------------------------------------------------------------------


def _pipeline(facts: EncoderFacts, labels: Sequence[str], lang: str) -> Language:
    config = Config().from_str(config_text(facts, lang))
    with silent():
        nlp = load_model_from_config(config, auto_fill=True)
        # A text for each label; nothing is learned from them.
        examples = [
            Example.from_dict(nlp.make_doc(label), {"cats": {other: float(other == label) for other in labels}})
            for label in labels
        ]
        nlp.get_pipe(_NAME).initialize(lambda: examples, nlp=nlp, labels=list(labels))
    return nlp


def _fit(nlp: Language, texts: Sequence[str], phrases: Phrases) -> tuple[Linear, int]:
    pipe = _component(nlp)
    some = texts[:: max(1, -(-len(texts) // _MOST_TEXTS))]
    owners = [i for i, own in enumerate(phrases.values()) for _ in own]
    every = [phrase for own in phrases.values() for phrase in own]
    views = [_vectors(nlp, [template.format(phrase) for phrase in every]) for template in TEMPLATES]
    linear = fit_prototypes(_vectors(nlp, some), views, owners)
    shim = networks_of(nlp)[pipe.name]
    with torch.no_grad():
        shim.network.head.output.weight.copy_(torch.from_numpy(linear.weight))
        shim.network.head.output.bias.copy_(torch.from_numpy(linear.bias))
    shim.forget_copies()
    return linear, len(some)


def _component(nlp: Language) -> TransferTextCategorizer:
    pipe: TransferTextCategorizer = nlp.get_pipe(_NAME)
    return pipe


def _vectors(nlp: Language, texts: Sequence[str]) -> Floats:
    return _component(nlp).vectors([nlp.make_doc(text) for text in texts])


def _scores(nlp: Language, texts: Sequence[str]) -> Floats:
    return _component(nlp).predict([nlp.make_doc(text) for text in texts])


def _why_encoder(facts: EncoderFacts) -> str:
    if facts.kind == "sentence encoder":
        return "a sentence encoder: texts that mean the same have vectors that are near"
    return f"a {facts.kind}, not trained for similarity: expect little, a sentence encoder is better here"


def _why_classifier(linear: Linear, n_texts: int) -> str:
    return (
        f"vectors of {len(TEMPLATES)} phrasings of each label, moved towards {n_texts:,} texts that are near them; "
        f"single phrasings agree on {linear.agreement:.0%} of the texts, and scores are that high on average. How many "
        "are right only annotated texts can tell"
    )


# ---- the folder --------------------------------------------------------------------------------------------------


def _write(
    folder: Path, nlp: Language, phrases: Phrases, texts: Sequence[str], rows: Sequence[dict[str, object]],
    made: Unlabeled, *, force: bool, title: str, project: str,
) -> None:  # fmt: skip
    place = folder.resolve()
    with hold_place(place):
        repair(place.parent)
        refuse_place(folder, [], force=force)
        with new_folder(place) as part:
            (part / "data").mkdir()
            nlp.meta["name"] = package_name(title)
            nlp.to_disk(part / "zero_shot")
            record = {key: value for key, value in asdict(made).items() if key != "folder"}
            for name, text in (
                ("data/texts.jsonl", _lines({"text": text} for text in texts)),
                ("data/to_annotate.jsonl", _lines(rows)),
                ("data/labels.json", json.dumps(phrases, ensure_ascii=False, indent=2) + "\n"),
                ("project.yml", project),
                (
                    "README.md",
                    readme_text(
                        title,
                        texts[0][:_LONGEST_EXAMPLE],
                        made.n_chosen,
                        shares=made.shares,
                        phrases=phrases,
                        choices=made.choices,
                        notes=made.notes,
                    ),
                ),
                ("init.json", json.dumps(record, ensure_ascii=False, indent=2) + "\n"),
            ):
                (part / name).write_text(text, encoding="utf-8")


def _lines(rows: Iterable[object]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
