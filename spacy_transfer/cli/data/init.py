"""`spacy transfer init`"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...errors import T689, T690
from ...text_output import echo, msg
from ..group import transfer_cli
from ..training.choose import print_compared
from .findings import print_findings
from .table_options import Columns, HeaderLine, MissingLabels, SkipBad, listed, table_format

if TYPE_CHECKING:
    from ...projects.init import Initialized
    from ...projects.plan import Choice
    from ...projects.unlabeled.zero_shot import Unlabeled

_DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
_TEST_SHARE = 0.1
_MOST_SHOWN = 20


@transfer_cli.command("init", no_args_is_help=True)
def init_cli(
    data: Annotated[
        list[Path],
        Argument(
            help="Texts and labels: a .csv, .tsv, .xlsx, .jsonl, .json or .parquet file; or several of them, or a "
            "folder, with train, dev or test in their names; or a folder of text files by label"
        ),
    ],
    folder: Annotated[Path, Argument(help="Folder of the new project")],
    labels: Annotated[
        Path | None,
        Option(
            "--labels",
            help="For texts without labels: JSON with names or descriptions of labels, for a zero-shot classifier",
        ),
    ] = None,
    annotate: Annotated[
        int | None,
        Option(
            "--annotate",
            min=1,
            help="With --labels: texts in the first batch to annotate. Default: ten per label, 20 to 200",
        ),
    ] = None,
    encoder: Annotated[
        str,
        Option("--encoder", "-e", help="Folder, pipeline, or hub name of an encoder that is on this machine"),
    ] = _DEFAULT,
    recipe: Annotated[
        str,
        Option(
            "--recipe",
            help="auto, half_frozen, full, frozen, linear_probe, probe_then_tune, few_contrastive, lora, contrastive "
            "or multilabel",
        ),
    ] = "auto",
    budget: Annotated[
        str | None,
        Option("--budget", "-b", help="Time for comparing recipes and for training on this machine: 90s, 10m, 2h"),
    ] = None,
    compare: Annotated[
        bool,
        Option(
            "--compare/--no-compare", help="With few texts: compare recipes by cross-validation on the training texts"
        ),
    ] = True,
    exclusive: Annotated[
        bool | None,
        Option("--exclusive/--multilabel", help="Exactly one label per text, or any number. Default: detected"),
    ] = None,
    lang: Annotated[str | None, Option("--lang", "-l", help="Language, such as en or de. Default: guessed")] = None,
    label_texts: Annotated[
        Path | None,
        Option(
            "--label-texts",
            help="JSON file with one or more texts for each label that say what it is about: an object of labels and "
            "texts. With few texts, or with --recipe, they may be learned from",
        ),
    ] = None,
    dev_share: Annotated[
        float | None,
        Option(
            "--dev-share",
            min=0.01,
            max=0.5,
            help="Share of train that becomes dev if there is none. Default: 0.1, but none with --recipe auto and "
            "fewer than 20 texts per label (median, without those for test)",
        ),
    ] = None,
    test_share: Annotated[
        float | None,
        Option(
            "--test-share", min=0.01, max=0.5, help="Share of train that becomes test if there is none. Default: 0.1"
        ),
    ] = None,
    text_field: Annotated[
        str | None, Option("--text-field", help="Field or column of the text. Default: detected")
    ] = None,
    label_field: Annotated[
        str | None, Option("--label-field", help="Field of a single label. Default: detected")
    ] = None,
    labels_field: Annotated[
        str | None, Option("--labels-field", help="Field of a list of labels. Default: detected")
    ] = None,
    cats_field: Annotated[
        str | None, Option("--cats-field", help="Field of labels with values from 0 to 1. Default: detected")
    ] = None,
    label_columns: Annotated[
        str | None,
        Option("--label-columns", help="Columns with 0 or 1, one per label: rude,threat,spam. Default: detected"),
    ] = None,
    label_names: Annotated[
        str | None,
        Option("--label-names", help="Names for numeric labels: neg,pos or 0=neg,4=pos, or a file with them"),
    ] = None,
    missing_labels: MissingLabels = None,
    merge_labels: Annotated[
        bool, Option("--merge-labels", help="Merge labels that look alike, such as Refund and REFUND")
    ] = False,
    separator: Annotated[
        str | None, Option("--separator", help="Separator of labels in one cell of a table. Default: detected")
    ] = None,
    delimiter: Annotated[
        str | None, Option("--delimiter", help="Delimiter of a table: , ; | or tab. Default: detected")
    ] = None,
    encoding: Annotated[
        str | None, Option("--encoding", help="Encoding of text files: utf-8, cp1252 ... Default: detected")
    ] = None,
    quoting: Annotated[
        str, Option("--quoting", help="auto, csv, or none (quotation marks are ordinary characters)")
    ] = "auto",
    columns: Columns = None,
    header_line: HeaderLine = 0,
    skip_bad: SkipBad = False,
    seed: Annotated[int, Option("--seed", help="Seed of the splits and the training")] = 0,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    force: Annotated[
        bool, Option("--force", "-F", help="Replace a project that this command made, training included")
    ] = False,
) -> None:
    """Make a project that trains a classifier on your texts.

    Detects how the files are written and which columns hold texts and labels, splits off dev and test texts where there
    are none, chooses what to train, and writes data, config.cfg, project.yml and a README.md with the reason for each
    choice. Nothing is downloaded. Then run: python -m spacy project run all FOLDER

    With --labels, DATA are texts without labels. A classifier is made from what the labels mean, and the texts that are
    worth annotating first are written to data/to_annotate.jsonl.
    """
    if labels is not None:
        refused = {
            "--recipe": recipe != "auto", "--budget": budget is not None, "--no-compare": not compare,
            "--exclusive": exclusive is True, "--multilabel": exclusive is False, "--label-field": label_field,
            "--labels-field": labels_field, "--cats-field": cats_field, "--label-columns": label_columns,
            "--label-names": label_names, "--missing-labels": missing_labels, "--merge-labels": merge_labels,
            "--separator": separator, "--skip-bad": skip_bad, "--label-texts": label_texts,
            "--dev-share": dev_share, "--test-share": test_share,
        }  # fmt: skip
        for option, is_given in refused.items():
            if is_given:
                raise ValueError(T689.format(option=option))
        from ...projects.unlabeled.zero_shot import zero_shot

        _print_unlabeled(
            zero_shot(
                data, labels, folder, encoder=encoder, lang=lang, text_field=text_field,
                layout=table_format(delimiter, encoding, quoting, columns, header_line), n_annotate=annotate, seed=seed,
                gpu_id=gpu_id, force=force,
            )
        )  # fmt: skip
        return
    if annotate is not None:
        raise ValueError(T690)
    from ...projects.init import init

    made = init(
        data, folder, encoder=encoder, recipe=recipe, budget=budget, compare=compare, exclusive=exclusive,
        lang=lang, label_texts=label_texts, dev_share=dev_share,
        test_share=_TEST_SHARE if test_share is None else test_share, text_field=text_field, label_field=label_field,
        labels_field=labels_field, cats_field=cats_field, label_columns=listed(label_columns),
        label_names=label_names, missing_labels=listed(missing_labels), merge_labels=merge_labels,
        separator=separator,
        layout=table_format(delimiter, encoding, quoting, columns, header_line),
        skip_bad=skip_bad, seed=seed, gpu_id=gpu_id, force=force,
    )  # fmt: skip
    _print(made)


def _print(made: "Initialized") -> None:
    for bad in made.bad_lines:
        echo(str(bad))
    if made.n_bad:
        msg.warn(f"{made.n_bad} bad line(s) left out, {len(made.bad_lines)} shown")
    for note in made.notes:
        msg.info(note)
    print_findings(made.findings)
    _print_choices(made.choices)
    if made.compared:
        print_compared(made.compared)
    msg.good(f"{made.folder}: a project with data, config.cfg, project.yml and README.md")
    echo(f"Train, evaluate and package the classifier with:\npython -m spacy project run all {made.folder}")


def _print_choices(choices: "Sequence[Choice]") -> None:
    for choice in choices:
        echo(f"{choice.what}: {choice.value}")
        echo(f"    {choice.reason}")


def _print_unlabeled(made: "Unlabeled") -> None:
    for note in made.notes:
        msg.info(note)
    _print_choices(made.choices)
    rows = [[label, f"{share:.1%}"] for label, share in sorted(made.shares.items(), key=lambda pair: -pair[1])]
    msg.table(rows[:_MOST_SHOWN], header=["label", "share of the texts"], divider=True, aligns=("l", "r"))
    if len(rows) > _MOST_SHOWN:
        echo(f"and {len(rows) - _MOST_SHOWN} labels more, see README.md")
    msg.good(
        f"{made.folder}: a project with the pipeline zero_shot, and {made.n_chosen} texts in data/to_annotate.jsonl"
    )
    echo(f"Classify all texts with:\npython -m spacy project run all {made.folder}")
    echo(f"Then annotate {made.folder}/data/to_annotate.jsonl, and train on it; README.md in the folder says how.")
