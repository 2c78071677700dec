"""Writes config, project.yml and README of a project of texts without labels."""

import json
from collections.abc import Mapping, Sequence

from ..encoder_facts import EncoderFacts
from ..plan import Choice
from ..project_text import line

_CONFIG = """\
[paths]
encoder = {encoder}

[nlp]
lang = {lang}
pipeline = ["transfer_textcat"]

[components]

[components.transfer_textcat]
factory = "transfer_textcat"

[components.transfer_textcat.model]

[components.transfer_textcat.model.encoder]
name = ${{paths.encoder}}

[components.transfer_textcat.model.windows]
length = {window}
stride = "auto"

[components.transfer_textcat.model.pooling]
@layers = "spacy-transfer.AutoPooling.v1"
"""

_PROJECT = """\
# Written by `python -m spacy transfer init --labels`. Run all of it: python -m spacy project run all
title: {title}
description: "A classifier of texts without labels, by what the labels mean; README.md says what to do next."

vars:
  # -1 for the CPU.
  gpu_id: {gpu_id}
  # What `apply` classifies.
  apply_to: "data/texts.jsonl"
  # What `train` goes on with.
  encoder: {encoder}
  lang: {lang}

directories: ["data", "zero_shot", "predictions"]

workflows:
  all: ["apply"]

commands:
  - name: "apply"
    help: "Classify a file: its rows come out with the columns predicted_label and predicted_score"
    script:
      - >-
        python -m spacy transfer apply zero_shot '${{vars.apply_to}}' --output predictions/predictions.jsonl
        --prefix predicted_ --force --gpu-id ${{vars.gpu_id}}
    deps: ["zero_shot", "${{vars.apply_to}}"]
    outputs: ["predictions/predictions.jsonl"]

  - name: "train"
    help: "Once data/to_annotate.jsonl has labels: make a project next to this one that trains on them"
    script:
      - >-
        python -m spacy transfer init data/to_annotate.jsonl trained --label-field label --skip-bad --force
        --encoder '${{vars.encoder}}' --lang ${{vars.lang}} --gpu-id ${{vars.gpu_id}}
    deps: ["data/to_annotate.jsonl"]
"""

_README = """\
# {title}

A text classifier with {n_labels} labels for texts that have none yet, made by `python -m spacy transfer init --labels`.
It compares what the encoder says of a text with what it says of the labels in `data/labels.json`. How often it is
right is not known: no text has a label.

```python
import spacy

nlp = spacy.load("zero_shot")
print(nlp({example}).cats)
```

`python -m spacy project run all` classifies all texts into `predictions/predictions.jsonl`.

## What to do next

1. Open `data/to_annotate.jsonl`: {n_chosen} texts that say most once they have a label. Each has a `suggestion`; write
   the right label into `label`. Leave it empty where none fits, or you do not know.
2. `python -m spacy project run train` makes a project `trained` of those with a label; `cd trained` and
   `python -m spacy project run all` trains a classifier. It needs at least five texts per label.
3. Compare both on texts that you have annotated: `python -m spacy transfer evaluate`.

If a label gets far too many texts below, or too few, describe it in a few words in the file of labels, such as
`{{"NUM": ["a number", "a date"]}}`, and call `init` again with `--force`. Do so before you
annotate: the folder is replaced.

## Why it is made in this way

| choice | is | since |
|---|---|---|
{choices}

| label | share of the texts | in words |
|---|---|---|
{shares}
{notes}"""


def config_text(encoder: EncoderFacts, lang: str) -> str:
    """Write the config of the classifier.

    encoder (EncoderFacts): The encoder.
    lang (str): Language of the tokenizer.
    RETURNS (str): A config.
    """
    name = json.dumps(encoder.name, ensure_ascii=False).replace("$", "$$")
    return _CONFIG.format(encoder=name, lang=json.dumps(lang), window=encoder.window)


def project_text(title: str, encoder: EncoderFacts, lang: str, gpu_id: int) -> str:
    """Write project.yml.

    title (str): Name of the data.
    encoder (EncoderFacts): The encoder.
    lang (str): Language of the tokenizer.
    gpu_id (int): -1 for the CPU.
    RETURNS (str): YAML.
    """
    return _PROJECT.format(
        title=json.dumps(title, ensure_ascii=False), encoder=json.dumps(encoder.name, ensure_ascii=False),
        lang=json.dumps(lang), gpu_id=gpu_id,
    )  # fmt: skip


def readme_text(
    title: str,
    example: str,
    n_chosen: int,
    *,
    shares: Mapping[str, float],
    phrases: Mapping[str, Sequence[str]],
    choices: Sequence[Choice],
    notes: Sequence[str],
) -> str:
    """Write README.md.

    title (str): Name of the data.
    example (str): A text.
    n_chosen (int): Texts in the first batch to annotate.
    shares (Mapping[str, float]): Share of the texts that each label gets.
    phrases (Mapping[str, Sequence[str]]): What each label means.
    choices (Sequence[Choice]): What was decided, and why.
    notes (Sequence[str]): How the files were read.
    RETURNS (str): Markdown.
    """
    rows = [[choice.what, choice.value, choice.reason] for choice in choices]
    table = [[label, f"{share:.1%}", "; ".join(phrases[label])] for label, share in shares.items()]
    read = "\n## How the data were read\n\n" + "".join(f"- {line(note)}\n" for note in notes) if notes else ""
    return _README.format(
        title=title, n_labels=len(shares), n_chosen=n_chosen, example=json.dumps(example, ensure_ascii=False),
        choices=_rows(rows), shares=_rows(table), notes=read,
    )  # fmt: skip


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
