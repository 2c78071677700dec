"""`spacy transfer show`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context

from ...text_output import echo
from ..configs import Code, use_code, values_of
from ..group import transfer_cli


@transfer_cli.command(
    "show",
    no_args_is_help=True,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def show_cli(
    ctx: Context,
    path: Annotated[Path, Argument(help="A config file, or the folder of a trained pipeline")],
    code: Code = None,
) -> None:
    """Draw the network that a config builds: pieces, depth by depth, frozen or trainable, pooling, head, loss.

    Initializes a config as for training. Override config values as in `spacy train`:
    --paths.train corpus/train.spacy
    """
    from ...config.reading import read_config
    from ...corpora.reading.config_corpora import naming_damaged_corpora
    from ...model.show import draw_all, initialized, show

    use_code(code)
    values = values_of(ctx.args)
    if path.is_dir():
        echo(show(path, values))
        return
    config = read_config(path, values)
    with naming_damaged_corpora(config):
        echo(draw_all(initialized(config), path))
