"""`spacy transfer card`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli


@transfer_cli.command("card", no_args_is_help=True)
def card_cli(
    pipeline: Annotated[str, Argument(help="Folder of a trained pipeline; with --output also a package name")],
    test: Annotated[
        Path | None,
        Option("--test", "-t", help="Annotated documents to score it on: a .spacy file or a folder of them"),
    ] = None,
    train: Annotated[
        Path | None, Option("--train", help="Training data, to count it. Default: that of the config, if it is there")
    ] = None,
    dev: Annotated[
        Path | None, Option("--dev", help="Development data, to count it. Default: that of the config, if it is there")
    ] = None,
    license_name: Annotated[
        str | None, Option("--license", help="License of the pipeline itself. Default: what meta.json says")
    ] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="Folder for a copy with the card. Default: the pipeline gets it")
    ] = None,
    force: Annotated[bool, Option("--force", "-F", help="Replace the output folder")] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: Code = None,
) -> None:
    """Write a model card: labels, test scores, sizes of the data, encoder, and the text of its license.

    It goes into the pipeline's meta.json, and `spacy package` then prints it as the README of the package.
    """
    from ...serving.model_card import card
    from ...training.device import use_device

    use_code(code)
    use_device(gpu_id)
    made = card(
        pipeline, test=test, train=train, dev=dev, license_name=license_name, output=output, force=force
    )  # fmt: skip
    n_docs = ", ".join(f"{split} {n:,}" for split, n in made.n_docs.items()) or "no data found"
    msg.good(f"{made.folder}: model card written (documents: {n_docs})")
    if test is None:
        msg.info("Its scores are those of training, on dev data. Add --test FILE for scores on unseen texts.")
    for warning in made.warnings:
        msg.warn(warning)
