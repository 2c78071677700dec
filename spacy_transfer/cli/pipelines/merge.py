"""`spacy transfer merge`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli


@transfer_cli.command("merge", no_args_is_help=True)
def merge_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a pipeline trained with adapters")],
    output: Annotated[Path, Argument(help="Folder for the merged pipeline")],
    force: Annotated[bool, Option("--force", "-F", help="Replace the output folder")] = False,
    code: Code = None,
) -> None:
    """Merge LoRA and other adapters into plain weights: same scores, full speed, no peft needed."""
    from ...serving.merge import merge

    use_code(code)
    done = merge(pipeline, output, force=force)
    for name, n_weights in done.items():
        msg.good(f"{name}: {n_weights:,} adapter weights merged")
    msg.info(f"Saved to {output}")
