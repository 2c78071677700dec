"""`spacy transfer convert`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..group import transfer_cli
from .findings import print_findings
from .table_options import Columns, HeaderLine, MissingLabels, SkipBad, listed, table_format

if TYPE_CHECKING:
    from ...corpora.convert import Converted


@transfer_cli.command("convert", no_args_is_help=True)
def convert_cli(
    sources: Annotated[
        list[Path],
        Argument(
            help="Files: .csv, .tsv, .xlsx, .jsonl, .json or .parquet, or folders of text files by label; train.csv "
            "becomes train.spacy"
        ),
    ],
    target: Annotated[Path, Argument(help="Folder for the .spacy files and labels.json")],
    labels: Annotated[
        Path | None,
        Option(
            "--labels",
            help="Allow only the labels in this file (JSON list, or one label per line); created if it does not exist",
        ),
    ] = None,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    label_field: Annotated[
        str | None,
        Option("--label-field", help="Field of a single label. Default: label, unless another label field is given"),
    ] = None,
    labels_field: Annotated[
        str | None,
        Option("--labels-field", help="Field of a list of labels; labels not in the list are 0. Default: labels"),
    ] = None,
    cats_field: Annotated[
        str | None,
        Option(
            "--cats-field",
            help="Field of labels with values from 0 to 1; labels without a value are unknown. Default: cats",
        ),
    ] = None,
    label_columns: Annotated[
        str | None,
        Option("--label-columns", help="Columns with 0 or 1, one per label: rude,threat,spam"),
    ] = None,
    label_names: Annotated[
        str | None,
        Option(
            "--label-names",
            help="Names for numeric labels: neg,pos or 0=neg,4=pos, or a file with them. Parquet files of Hugging Face "
            "datasets contain their own",
        ),
    ] = None,
    missing_labels: MissingLabels = None,
    merge_labels: Annotated[
        bool,
        Option(
            "--merge-labels", help="Merge labels that look alike, such as Refund and REFUND, into the most frequent one"
        ),
    ] = False,
    separator: Annotated[
        str, Option("--separator", help="Separator of labels in one cell of a table; JSON lists work too")
    ] = "|",
    attribute_fields: Annotated[
        list[str] | None,
        Option(
            "--attribute-field",
            help="Another field of text or numbers to keep: title becomes doc._.title. May be repeated",
        ),
    ] = None,
    path_fields: Annotated[
        list[str] | None,
        Option(
            "--path-field",
            help="Another field, with the path of a picture or sound, relative to the file: image becomes doc._.image, "
            "relative to the .spacy file. May be repeated",
        ),
    ] = None,
    id_field: Annotated[str | None, Option("--id-field", help="Field that identifies a row in messages")] = None,
    delimiter: Annotated[
        str | None,
        Option("--delimiter", help="Delimiter of a table: , ; | or tab. Default: detected"),
    ] = None,
    encoding: Annotated[
        str | None,
        Option("--encoding", help="Encoding of text files: utf-8, cp1252, utf-16 ... Default: detected"),
    ] = None,
    quoting: Annotated[
        str,
        Option(
            "--quoting",
            help="csv: quoted cells may contain delimiters and line breaks. none: quotation marks are ordinary "
            "characters. auto: like csv, but cells that seem to contain whole rows are bad lines",
        ),
    ] = "auto",
    columns: Columns = None,
    header_line: HeaderLine = 0,
    names: Annotated[
        list[str] | None,
        Option(
            "--name",
            help="Name of the split, such as train, instead of the file name. Repeat for several files, in order",
        ),
    ] = None,
    lang: Annotated[
        str, Option("--lang", "-l", help="Language whose tokenizer splits the texts: en, de, xx ...")
    ] = "en",
    dev_share: Annotated[
        float, Option("--dev-share", min=0.0, max=0.99, help="Share of the first file that becomes dev.spacy")
    ] = 0.0,
    test_share: Annotated[
        float, Option("--test-share", min=0.0, max=0.99, help="Share of the first file that becomes test.spacy")
    ] = 0.0,
    skip_bad: SkipBad = False,
    force: Annotated[bool, Option("--force", "-F", help="Overwrite existing files")] = False,
) -> None:
    """Convert tables, JSON and exports of annotation tools to .spacy files with one label set.

    Writes all files or none. Bad lines are reported and counted; nothing is written unless --skip-bad leaves them out.
    Delimiter and encoding are detected and reported. Exports of Prodigy, doccano, Label Studio and Argilla are
    recognized; records rejected or skipped there are left out and counted.

    A record has a text and one of {"label": "a"}, {"labels": ["a", "b"]} and {"cats": {"a": 1, "b": 0.2}}.
    """
    from ...corpora.convert import convert

    converted = convert(
        sources,
        target,
        labels=labels,
        text_field=text_field,
        label_field=label_field,
        labels_field=labels_field,
        cats_field=cats_field,
        label_columns=listed(label_columns),
        label_names=label_names,
        missing_labels=listed(missing_labels),
        merge_labels=merge_labels,
        separator=separator,
        attribute_fields=attribute_fields or [],
        path_fields=path_fields or [],
        id_field=id_field,
        layout=table_format(delimiter, encoding, quoting, columns, header_line),
        names=names or [],
        lang=lang,
        dev_share=dev_share,
        test_share=test_share,
        skip_bad=skip_bad,
        force=force,
    )
    _print(converted)


def _print(converted: "Converted") -> None:
    for bad in converted.bad_lines:
        echo(str(bad))
    n_bad = sum(converted.n_bad.values())
    if n_bad:
        msg.warn(f"{n_bad} bad line(s) left out, {len(converted.bad_lines)} shown")
    for source, notes in converted.notes.items():
        msg.info(f"{source}: {'; '.join(notes)}")
    for source, skipped in converted.skipped.items():
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in skipped.items())
        msg.info(f"{source}: {sum(skipped.values()):,} record(s) left out, as marked in the annotation tool: {reasons}")
    for name, attribute in converted.attributes.items():
        if name != attribute:
            msg.info(f"The field '{name}' becomes doc._.{attribute}")
    if converted.merged:
        merged = ", ".join(f"{old!r} -> {new!r}" for old, new in converted.merged.items())
        msg.info(f"{len(converted.merged)} label(s) merged: {merged}")
    print_findings(converted.findings)
    for source, path in converted.files.items():
        msg.good(f"{source} -> {path}: {converted.n_written[path]} texts")
    for part in (converted.dev_file, converted.test_file):
        if part is not None:
            msg.good(f"{next(iter(converted.files))} -> {part}: {converted.n_written[part]} texts")
    msg.good(f"{len(converted.labels)} labels: {converted.labels_file}")
    if not {path.stem for path in converted.files.values()} & {"train", "dev", "test"}:
        msg.info("The shipped configs read train.spacy and dev.spacy: name a split with --name train")
