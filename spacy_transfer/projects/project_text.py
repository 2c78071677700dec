"""Writes the project.yml and the README of a project."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..corpora.dev_part import Part
from ..corpora.inspection.findings import Finding
from ..training.search.compare import Compared
from .budget import shown_seconds
from .plan import Choice

_PROJECT = """\
# Written by `python -m spacy transfer init`. Run all of it: python -m spacy project run all
title: {title}
description: "Trains a classifier with {n_labels} labels by spacy-transfer; README.md says why in this way."

vars:
  # -1 for the CPU.
  gpu_id: {gpu_id}
  # Name and version of the package.
  name: "{name}"
  version: "0.1.0"
  lang: "{lang}"
  seed: {seed}
  # Of the training; 0: no limit.
  max_seconds: {max_seconds}
  # What `apply` classifies: your own file without labels, for example.
  apply_to: "data/test.jsonl"

directories: ["data", "corpus", "training", "metrics", "predictions", "packages"]

workflows:
  all: [{all}]

commands:
  - name: "convert"
    help: "Convert the texts in data/ to spaCy's format, all splits with one label set"
    script:
      - >-
        python -m spacy transfer convert {texts} corpus
        --lang ${{vars.lang}} --force
    deps: [{text_list}]
    outputs: [{corpus_list}, "corpus/labels.json"]

  - name: "check"
    help: "Check for contradictions, duplicates, missing labels and texts in two splits; stops at errors"
    script:
      - >-
        python -m spacy transfer check {corpora}
        --{form} --json metrics/check.json
    deps: [{corpus_list}]
    outputs: ["metrics/check.json"]

  - name: "train"
    help: "Train config.cfg; {which} is training/{model}"
    script:
      - >-
        python -m spacy transfer train config.cfg --output training --force --gpu-id ${{vars.gpu_id}}
        --max-seconds ${{vars.max_seconds}} --training.seed ${{vars.seed}}
    deps: ["config.cfg", {learned_list}, "corpus/labels.json"]
    outputs: ["training/{model}"]

{choose}  - name: "evaluate"
    help: "Evaluate on the test texts, which nothing was chosen on"
    script:
      - >-
        python -m spacy transfer evaluate training/{model} corpus/test.spacy --output metrics/test.json
        --gpu-id ${{vars.gpu_id}}
    deps: ["training/{model}", "corpus/test.spacy"]
    outputs: ["metrics/test.json"]

{calibrate}  - name: "apply"
    help: "Classify a file: its rows come out with the columns predicted_label and predicted_score"
    script:
      - >-
        python -m spacy transfer apply training/{model} '${{vars.apply_to}}'
        --output predictions/predictions.jsonl --prefix predicted_{above} --force --gpu-id ${{vars.gpu_id}}
    deps: ["training/{model}", "${{vars.apply_to}}"]
    outputs: ["predictions/predictions.jsonl"]

  - name: "report"
    help: "Write report.html: how it was trained, scores by label, confusions, what a score is worth{report_help}"
    script:
      - >-
        python -m spacy transfer report {reported} --data corpus/test.spacy --output report.html
        --gpu-id ${{vars.gpu_id}}
    deps: ["training/{model}", "corpus/test.spacy"]
    outputs: ["report.html"]

  - name: "package"
    help: "{package_help}"
    script:
      - >-
        python -m spacy transfer card training/{model} --train corpus/train.spacy{dev}
        --test corpus/test.spacy --output training/with-card --force --gpu-id ${{vars.gpu_id}}
      - >-
        python -m spacy package training/with-card packages --name ${{vars.name}} --version ${{vars.version}}
        --build {build} --force
    deps: ["training/{model}", "corpus/test.spacy"]
    outputs_no_cache: ["packages/${{vars.lang}}_${{vars.name}}-${{vars.version}}"]
"""
# Not among the steps: `init` has done it.
_CHOOSE = """\
  - name: "choose"
    help: "Compare the configs in candidates/ again, on changed texts; one that is clearly better becomes config.cfg"
    script:
      - >-
        python -m spacy transfer choose candidates --train corpus/train.spacy --output config.cfg
        --budget {budget}s --seed ${{vars.seed}} --gpu-id ${{vars.gpu_id}}
    deps: ["corpus/train.spacy", "candidates"]
    outputs: ["config.cfg"]

"""
# Where there is a dev part.
_CALIBRATE = """\
  - name: "calibrate"
    help: "Not part of all: turn the scores of training/{model} into probabilities on dev{calibrate_help}"
    script:
      - >-
        python -m spacy transfer calibrate training/{model} corpus/dev.spacy --output training/calibrated --force
        --gpu-id ${{vars.gpu_id}}
    deps: ["training/{model}", "corpus/dev.spacy"]
    outputs: ["training/calibrated"]

"""
_CALIBRATED = (
    "`python -m spacy project run calibrate` writes `training/calibrated`: scores are probabilities{thresholds}.\n"
)
_AGAIN = (
    "`python -m spacy project run choose` compares the recipes again, on changed texts;\n"
    "another one becomes `config.cfg` if it is better by more than the standard error.\n"
)
STEPS = ("convert", "check", "train", "evaluate", "apply", "report", "package")

_README = """\
# {title}

A text classifier with {labels}, made by `python -m spacy transfer init`. Train, evaluate, try and package it:

```bash
python -m spacy project run all
```

The pipeline is then `training/{model}`, its scores on test are `metrics/test.json`, the test texts with predictions
`predictions/predictions.jsonl`, and the report, with the extra `report`, is `report.html`.

```python
import spacy

nlp = spacy.load("training/{model}")
doc = nlp({example})
print(doc.cats)
```

## Why it is made in this way

| choice | is | since |
|---|---|---|
{choices}

{splits}
{compared}{notes}{findings}
## What to change

`config.cfg` says at each value what it is. {choose}For another recipe, call `spacy transfer init` again with
`--recipe NAME --force`; for several seeds,
`python -m spacy transfer train config.cfg --output training/seeds --seeds 0,1,2`.
{calibrated}`data/` holds the texts as JSONL: correct them there and run the project again, which repeats what depends
on them.
"""


@dataclass(frozen=True)
class Told:
    """What the pages of a project say.

    title (str): Name of the data.
    name (str): Of the package.
    lang (str): Language.
    labels (list[str]): All labels.
    exclusive (bool): Whether each text has exactly one label.
    counts (dict[Part, int]): Texts in each split.
    label_counts (dict[str, dict[Part, int]]): The same by label.
    choices (list[Choice]): The choices and their reasons.
    notes (list[str]): How the files were read.
    findings (list[Finding]): What is odd about the texts.
    compared (list[Compared]): Recipes that were compared.
    example (str): A text.
    seed (int): Of the training.
    gpu_id (int): -1 for the CPU.
    max_seconds (float): Limit of the training; 0 for none.
    builds_wheel (bool): Whether what builds a wheel is installed.
    draws_report (bool): Whether what a report is drawn with is installed.
    seconds_to_choose (float): For a comparison of the candidates; 0 where there is nothing to choose from.
    """

    title: str
    name: str
    lang: str
    labels: list[str]
    exclusive: bool
    counts: dict[Part, int]
    label_counts: dict[str, dict[Part, int]]
    choices: list[Choice]
    notes: list[str]
    findings: list[Finding]
    compared: list[Compared]
    example: str
    seed: int
    gpu_id: int
    max_seconds: float
    builds_wheel: bool
    draws_report: bool
    seconds_to_choose: float

    @property
    def has_dev(self) -> bool:
        """Whether there are dev texts."""
        return "dev" in self.counts

    @property
    def model(self) -> str:
        """The folder of the pipeline that is used."""
        return "model-best" if self.has_dev else "model-last"


def package_name(stem: str) -> str:
    """Make a name for a package of that of a file.

    stem (str): Such as "Mails 2024".
    RETURNS (str): Such as "mails_2024".
    """
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii").lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"texts_{name}".rstrip("_")


def write_project(told: Told) -> str:
    """Write project.yml.

    told (Told): What there is to say.
    RETURNS (str): YAML.
    """
    wheel = "Build an installable wheel with a model card, encoder and its license included"
    folder = "Make a package with a model card; a wheel needs the extra package: pip install 'spacy-transfer[package]'"
    corpora = [f"corpus/{part}.spacy" for part in told.counts]
    thresholds = "" if told.exclusive else ", and find a threshold for each label"
    return _PROJECT.format(
        texts=" ".join(f"data/{part}.jsonl" for part in told.counts), corpora=" ".join(corpora),
        text_list=_list(f"data/{part}.jsonl" for part in told.counts), corpus_list=_list(corpora),
        learned_list=_list(one for one in corpora if "test" not in one), model=told.model,
        which="the best pipeline on dev" if told.has_dev else "the pipeline at the end",
        dev=" --dev corpus/dev.spacy" if told.has_dev else "",
        reported="training" if told.has_dev else f"training/{told.model}",
        choose=_CHOOSE.format(budget=round(told.seconds_to_choose)) if told.seconds_to_choose else "",
        title=json.dumps(told.title, ensure_ascii=False), n_labels=len(told.labels), gpu_id=told.gpu_id,
        name=told.name, lang=told.lang, seed=told.seed, max_seconds=round(told.max_seconds),
        all=", ".join(step for step in STEPS if step != "report" or told.draws_report),
        report_help="" if told.draws_report else "; needs the extra report: pip install 'spacy-transfer[report]'",
        calibrate=_CALIBRATE.format(model=told.model, calibrate_help=thresholds) if told.has_dev else "",
        above="" if told.exclusive else " --above 0.5",
        form="exclusive" if told.exclusive else "multilabel", package_help=wheel if told.builds_wheel else folder,
        build="wheel" if told.builds_wheel else "none",
    )  # fmt: skip


def _list(names: Iterable[str]) -> str:
    return ", ".join(json.dumps(name) for name in names)


def write_readme(told: Told) -> str:
    """Write README.md.

    told (Told): What there is to say.
    RETURNS (str): Markdown.
    """
    kind = "exactly one per text" if told.exclusive else "any number of them per text"
    rows = [f"| {_cell(one.what)} | {_cell(one.value)} | {_cell(one.reason)} |" for one in told.choices]
    example = json.dumps(told.example, ensure_ascii=False)
    thresholds = "" if told.exclusive else ", and each label has a threshold"
    return _README.format(
        choose=_AGAIN if told.seconds_to_choose else "",
        title=told.title, calibrated=_CALIBRATED.format(thresholds=thresholds) if told.has_dev else "",
        model=told.model, labels=f"{len(told.labels)} labels, {kind}", example=example,
        choices="\n".join(rows), splits=_splits(told), compared=_compared(told.compared, exclusive=told.exclusive),
        notes=_listed("How the data were read", told.notes),
        findings=_listed("What to look at", [_finding(one) for one in told.findings]),
    )  # fmt: skip


def _splits(told: Told) -> str:
    head = ["label", *told.counts]
    body = [
        [label, *(str(told.label_counts[label].get(part, 0)) for part in told.counts)]
        for label in told.labels
    ]  # fmt: skip
    total = ["all texts", *(str(n) for n in told.counts.values())]
    return _table(head, [*body[:_MOST_LABELS], total])


# Rows of the table of labels.
_MOST_LABELS = 100


def _compared(compared: Sequence[Compared], *, exclusive: bool) -> str:
    if not compared:
        return ""
    measure = "entirely right" if exclusive else "micro F"
    rows = [
        [one.name, f"{one.score:.1%}", ", ".join(f"{score:.1%}" for score in one.by_fold), shown_seconds(one.seconds)]
        for one in compared
    ]
    head = ["recipe", f"{measure}, held-out training texts", "by fold", "training"]
    return f"\n## What was compared\n\n{_table(head, rows)}\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines)


def _listed(title: str, lines: Sequence[str]) -> str:
    return f"\n## {title}\n\n" + "".join(f"- {line(one)}\n" for one in lines) if lines else ""


def _finding(found: Finding) -> str:
    return f"{found.code}: {found.message}" + (f" ({found.examples[0]})" if found.examples else "")


def _cell(text: str) -> str:
    return line(text).replace("|", "\\|")


def line(text: str) -> str:
    """Write text as one line of Markdown; what would be taken as HTML is not.

    text (str): Any.
    RETURNS (str): Without line breaks.
    """
    return " ".join(text.split()).replace("<", "&lt;")


def label_counts(parts: Mapping[Part, Mapping[str, int]], labels: Sequence[str]) -> dict[str, dict[Part, int]]:
    """Turn counts by split into counts by label.

    parts (Mapping[Part, Mapping[str, int]]): For each split the texts of each label.
    labels (Sequence[str]): All labels.
    RETURNS (dict[str, dict[Part, int]]): For each label the texts in each split.
    """
    return {label: {part: counts.get(label, 0) for part, counts in parts.items()} for label in labels}
