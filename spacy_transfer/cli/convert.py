"""`spacy transfer convert`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..text_output import echo, msg
from .group import plain_errors, transfer_cli


@transfer_cli.command("convert", no_args_is_help=True)
def convert_cli(
    sources: Annotated[
        list[Path], Argument(help="Files: .jsonl, .csv, .tsv or .parquet; train.jsonl becomes train.spacy")
    ],
    target: Annotated[Path, Argument(help="Folder for the .spacy files and labels.json")],
    labels: Annotated[
        Path | None,
        Option(
            "--labels", help="Label set that is held to, JSON list or one label in a line; written if not there yet"
        ),
    ] = None,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    label_field: Annotated[
        str | None,
        Option("--label-field", help="Field of the one label. Default: label, unless another of the three is named"),
    ] = None,
    labels_field: Annotated[
        str | None,
        Option("--labels-field", help="Field of the list of labels that hold, the others being 0. Default: labels"),
    ] = None,
    cats_field: Annotated[
        str | None,
        Option("--cats-field", help="Field of labels with values from 0 to 1; others are missing. Default: cats"),
    ] = None,
    separator: Annotated[str, Option("--separator", help="Between the labels in one cell of a CSV or TSV file")] = "|",
    attribute_fields: Annotated[
        list[str] | None,
        Option(
            "--attribute-field",
            help="Further field of text or numbers that is kept, title as doc._.title; may be repeated",
        ),
    ] = None,
    lang: Annotated[
        str, Option("--lang", "-l", help="Language whose tokenizer splits the texts: en, de, xx ...")
    ] = "en",
    dev_share: Annotated[
        float, Option("--dev-share", min=0.0, max=0.99, help="Share of the first file that becomes dev.spacy instead")
    ] = 0.0,
    skip_bad: Annotated[bool, Option("--skip-bad", help="Leave bad lines out instead of refusing everything")] = False,
    force: Annotated[bool, Option("--force", "-F", help="Write over files that are there")] = False,
) -> None:
    """Convert JSONL, CSV, TSV or Parquet files to .spacy files, with one label set.

    Either all files appear or none. Bad lines are named and counted, and refuse everything unless they are skipped.

    A record has a text and one of {"label": "a"}, {"labels": ["a", "b"]} and {"cats": {"a": 1, "b": 0.2}}.
    """
    from ..corpora.convert import convert

    with plain_errors():
        converted = convert(
            sources,
            target,
            labels=labels,
            text_field=text_field,
            label_field=label_field,
            labels_field=labels_field,
            cats_field=cats_field,
            separator=separator,
            attribute_fields=attribute_fields or [],
            lang=lang,
            dev_share=dev_share,
            skip_bad=skip_bad,
            force=force,
        )
    for bad in converted.bad_lines:
        echo(str(bad))
    n_bad = sum(converted.n_bad.values())
    if n_bad:
        msg.warn(f"{n_bad} bad line(s) left out, {len(converted.bad_lines)} shown")
    for source, path in converted.files.items():
        msg.good(f"{source} -> {path}: {converted.n_texts[source]} texts")
    if converted.dev_file is not None:
        msg.good(f"{dev_share:.0%} of the first went to {converted.dev_file}")
    msg.good(f"{len(converted.labels)} labels: {converted.labels_file}")
