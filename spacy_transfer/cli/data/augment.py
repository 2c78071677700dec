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
    config: Annotated[Path, Argument(help="A training config whose component has an augmentation")],
    n: Annotated[int, Option("--n", "-n", min=1, help="How many samples")] = 10,
    component: Annotated[
        str | None, Option("--component", "-c", help="Which component. Default: the one that has an augmentation")
    ] = None,
    code: CodeWithoutLetter = None,
    skip: Annotated[int, Option("--skip", "-s", min=0, help="Draws to skip, to see other samples")] = 0,
) -> None:
    """Show what training reads: clean texts and what augmentation makes of them.

    Settings of the config may be given as for `spacy train`: --paths.train corpus/train.spacy.
    """
    from ...corpora.augment import augment

    use_code(code)
    overrides = values_of(ctx.args)
    samples = augment(config, n=n, component=component, skip=skip, overrides=overrides)
    for sample in samples:
        msg.divider(", ".join(sample.labels) or "no label")
        echo(f"clean      {sample.clean}")
        echo("           as it is" if sample.is_clean else f"augmented  {sample.augmented}")
    n_clean = sum(sample.is_clean for sample in samples)
    echo()
    msg.info(f"{len(samples)} samples, {n_clean} as they are")
