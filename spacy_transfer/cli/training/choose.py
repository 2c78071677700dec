"""`spacy transfer choose`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code
from ..group import transfer_cli

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...training.search.compare import Compared


@transfer_cli.command("choose", no_args_is_help=True)
def choose_cli(
    configs: Annotated[
        list[Path], Argument(help="Training configs, or a folder with them; the first is the default, see below")
    ],
    texts: Annotated[Path, Option("--train", "-t", help="Training texts: a .spacy file or a folder of them")],
    output: Annotated[Path, Option("--output", "-o", help="File that becomes a copy of the chosen config")],
    budget: Annotated[
        str | None, Option("--budget", "-b", help="Time after which nothing more is begun: 90s, 10m, 2h")
    ] = None,
    folds: Annotated[int, Option("--folds", min=2, help="Parts that the texts are dealt into")] = 3,
    seed: Annotated[int, Option("--seed", help="Seed of the folds")] = 0,
    code: Code = None,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Choose among configs by cross-validation on the training texts.

    Each config is trained on all parts of the texts but one and scored on that one, part by part. Dev and test texts
    are not used. Made for few texts, where a training takes seconds.

    One config is the default: the one that --output holds already, or else the first. As chance moves a score on few
    texts by several points, it is kept unless another one is better by more than the standard error.
    """
    from ...projects.few.choose import choose

    use_code(code)
    given = configs[0] if len(configs) == 1 else configs
    chosen = choose(given, texts, output, budget=budget, n_folds=folds, seed=seed, gpu_id=gpu_id)
    print_compared(chosen.compared)
    best = chosen.compared[0]
    if chosen.name != chosen.default:
        why = f"better than {chosen.default} by more than the standard error"
    elif chosen.name == best.name:
        why = "the best one"
    else:
        why = f"the default; {best.name} is not better by more than the standard error"
    msg.good(f"{output}: {chosen.name}, {why}")


def print_compared(compared: "Sequence[Compared]") -> None:
    """Print what was compared as a table.

    compared (Sequence[Compared]): The best first.
    """
    rows = [
        [one.name, f"{one.score:.1%}", ", ".join(f"{score:.1%}" for score in one.by_fold), f"{one.seconds:.0f} s"]
        for one in compared
    ]
    msg.table(rows, header=["recipe", "held out", "by fold", "training"], divider=True)
