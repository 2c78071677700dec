"""`spacy transfer detach` and `spacy transfer attach`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...errors import T211
from ...files import hold_place, new_folder, refuse_same
from ...text_output import msg
from ..configs import CodeWithoutLetter, use_code
from ..group import transfer_cli

if TYPE_CHECKING:
    from spacy.language import Language

_Pipeline = Annotated[str, Argument(help="Folder or package name of a trained pipeline")]
_Output = Annotated[Path, Argument(help="Folder for the new pipeline")]
_Component = Annotated[
    str | None, Option("--component", "-c", help="Name of the classifier. Default: the only one that fits")
]
_Force = Annotated[bool, Option("--force", "-F", help="Overwrite the folder")]


@transfer_cli.command("detach", no_args_is_help=True)
def detach_cli(
    pipeline: _Pipeline,
    output: _Output,
    component: _Component = None,
    force: _Force = False,
    code: CodeWithoutLetter = None,
) -> None:
    """Give a classifier that shares the encoder of a transformer component its own copy of that encoder.

    Removes the transformer from the pipeline if no other component listens to it. Scores do not change.
    """

    _require_free(pipeline, output, force)
    use_code(code)
    from ...model.shared.attach import detach
    from ...pipeline.loading import load_pipeline

    _write(detach(load_pipeline(pipeline), component), output)


@transfer_cli.command("attach", no_args_is_help=True)
def attach_cli(
    pipeline: _Pipeline,
    output: _Output,
    component: _Component = None,
    transformer: Annotated[
        str, Option("--transformer", "-t", help="Name of the new transformer component")
    ] = "transformer",
    force: _Force = False,
    code: CodeWithoutLetter = None,
) -> None:
    """Move the encoder of a classifier into a transformer component before it, for other components to share.

    The classifier then listens to that component. Scores do not change.
    """

    _require_free(pipeline, output, force)
    use_code(code)
    from ...model.shared.attach import attach
    from ...pipeline.loading import load_pipeline

    _write(attach(load_pipeline(pipeline), component, transformer=transformer), output)


def _require_free(pipeline: str, output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise ValueError(T211.format(folder=output))
    refuse_same([output], [Path(pipeline)])


def _write(nlp: "Language", output: Path) -> None:
    with hold_place(output), new_folder(output, sync=True) as folder:
        nlp.to_disk(folder)
    msg.good(f"{output}: {', '.join(nlp.pipe_names)}")
