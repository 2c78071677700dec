"""`spacy transfer import`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ..group import transfer_cli


class Problem(StrEnum):
    """How many labels a text has."""

    single_label = "single-label"
    multi_label = "multi-label"


@transfer_cli.command("import", no_args_is_help=True)
def import_cli(
    source: Annotated[
        str,
        Argument(
            metavar="FOLDER",
            help="Folder of a sequence classifier of transformers, of a SetFit model or of an export, or a hub name",
        ),
    ],
    output: Annotated[Path, Argument(metavar="PIPELINE", help="Folder for the pipeline")],
    labels: Annotated[
        str | None, Option("--labels", "-l", help="Names for the labels, in the order of the logits: billing,delivery")
    ] = None,
    problem: Annotated[
        Problem | None,
        Option("--problem", help="Exactly one label per text, or any number. Default: as the folder says"),
    ] = None,
    lang: Annotated[str, Option("--lang", help="Language of the pipeline, or xx for several")] = "en",
    revision: Annotated[str | None, Option("--revision", "-r", help="Branch, tag or commit on the hub")] = None,
    force: Annotated[bool, Option("--force", "-F", help="Replace the folder")] = False,
) -> None:
    """Import a classifier that transformers or SetFit has trained: same head, same labels, same scores.

    Train it further by naming the pipeline as the source of a component. Nothing is unpickled: a head in a pickle is
    refused, and the message says how to convert it.
    """
    from ...serving.importing.import_classifier import import_classifier

    made = import_classifier(
        source, output, labels=labels.split(",") if labels is not None else None,
        problem=None if problem is None else problem.value, lang=lang, revision=revision, force=force,
    )  # fmt: skip
    number = "exactly one" if made.exclusive else "any number"
    msg.good(f"{made.folder}: {made.component}, {len(made.labels)} labels, {number} per text")
    msg.info(f"Texts longer than {made.length} pieces are read in windows; transformers would cut them off.")
