"""`spacy transfer augment`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ...text_output import echo, msg
from ..configs import CodeWithoutLetter, use_code, values_of
from ..group import transfer_cli


@transfer_cli.command(
    "augment", no_args_is_help=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def augment_cli(
    ctx: Context,
    config: Annotated[Path, Argument(help="Training config with an augmentation in a component")],
    n: Annotated[int, Option("--n", "-n", min=1, help="Number of samples")] = 10,
    component: Annotated[
        str | None,
        Option("--component", "-c", help="Name of the component. Default: the only one with an augmentation"),
    ] = None,
    code: CodeWithoutLetter = None,
    skip: Annotated[int, Option("--skip", "-s", min=0, help="Samples to skip, to see others")] = 0,
) -> None:
    """Show what training reads: clean texts and their augmented versions.

    Override config values as in `spacy train`: --paths.train corpus/train.spacy.
    """
    from ...corpora.noise.augment import augment

    use_code(code)
    overrides = values_of(ctx.args)
    samples = augment(config, n=n, component=component, skip=skip, overrides=overrides)
    for sample in samples:
        msg.divider(", ".join(sample.labels) or "no label")
        echo(f"clean      {sample.clean}")
        echo("           unchanged" if sample.is_clean else f"augmented  {sample.augmented}")
    n_clean = sum(sample.is_clean for sample in samples)
    echo()
    msg.info(f"{len(samples)} samples, {n_clean} unchanged")
