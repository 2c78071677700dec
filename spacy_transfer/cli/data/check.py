"""`spacy transfer check`"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from ...text_output import msg
from ..group import transfer_cli
from .findings import print_findings

if TYPE_CHECKING:
    from ...corpora.inspection.check import Lengths, Report


@transfer_cli.command("check", no_args_is_help=True)
def check_cli(
    paths: Annotated[
        list[Path],
        Argument(metavar="TRAIN [DEV TEST ...]", help="The .spacy files, or folders of them; training data first"),
    ],
    encoder: Annotated[
        Path | None, Option("--encoder", "-e", help="Folder of the encoder, to measure texts in its pieces")
    ] = None,
    window: Annotated[int, Option("--window", "-w", min=1, help="Longest window of the model, in pieces")] = 256,
    exclusive: Annotated[
        bool | None,
        Option("--exclusive/--multilabel", help="Exactly one label per text, or any number. Default: detected"),
    ] = None,
    json_file: Annotated[
        Path | None, Option("--json", "-j", help="Also write the report to this file; an old report is overwritten")
    ] = None,
) -> None:
    """Check data before training.

    Checks labels and their names, values, duplicates, contradictions, overlap between splits, and text lengths. Every
    finding has a code and is an error, a warning or an info. With errors, the exit status is 1.
    """
    from ...corpora.inspection.check import check
    from ...files import refuse_others_file, refuse_same, write_text

    if json_file is not None:
        refuse_same([json_file], [*paths, *([encoder] if encoder else [])])
        refuse_others_file(json_file, what="a report of this command", keys=["splits", "findings"])
    report = check(paths, encoder=encoder, window=window, exclusive=exclusive)
    if json_file is not None:
        write_text(json_file, json.dumps(asdict(report), ensure_ascii=False, indent=2) + "\n")
    _print_splits(report)
    _print_labels(report)
    print_findings(report.findings)
    if not report.findings:
        msg.good("No problems found")
    if report.n_errors:
        raise Exit(1)


def _print_splits(report: "Report") -> None:
    kind = "exactly one label per text" if report.exclusive else "any number of labels per text"
    msg.divider(f"{len(report.labels)} labels, {kind}")
    rows = [[split.name, f"{split.n_texts:,}", *_length_cells(split.lengths)] for split in report.splits]
    header = ["split", "texts", "pieces, median", "95 %", "longest", "above the window"]
    if not any(split.lengths for split in report.splits):
        rows, header = [row[:2] for row in rows], header[:2]
    msg.table(rows, header=header, divider=True, aligns=["l"] + ["r"] * (len(header) - 1))


def _length_cells(lengths: "Lengths | None") -> list[str]:
    if lengths is None:
        return ["", "", "", ""]
    share = f"{lengths.share_above_window:.1%}"
    return [f"{lengths.median:g}", str(lengths.percentile_95), str(lengths.longest), share]


def _print_labels(report: "Report") -> None:
    names = [split.name for split in report.splits]
    rows = [[label, *(f"{split.label_counts[label]:,}" for split in report.splits)] for label in report.labels]
    if rows:
        msg.table(rows, header=["label", *names], divider=True, aligns=["l"] + ["r"] * len(names), max_col=60)
