"""`spacy transfer robustness`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code
from ..group import transfer_cli

if TYPE_CHECKING:
    from ...analysis.robustness.robustness import Robustness
    from ...evaluation.measures import Interval

_LONGEST = 100


@transfer_cli.command("robustness", no_args_is_help=True)
def robustness_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    data: Annotated[Path, Argument(help="Annotated documents: a .spacy file or a folder of them")],
    output: Annotated[Path | None, Option("--output", "-o", help="Write all numbers to this JSON file")] = None,
    train: Annotated[
        Path | None,
        Option("--train", "-t", help="Write the config that trains this pipeline against what hurts it most"),
    ] = None,
    component: Annotated[str | None, Option("--component", help="Classifier to look at. Default: the only one")] = None,
    limit: Annotated[int | None, Option("--limit", min=1, help="Most texts, drawn at random. Default: all")] = None,
    attacked: Annotated[int, Option("--attacked", min=0, help="Texts to attack; 0 leaves the attack out")] = 100,
    queries: Annotated[int, Option("--queries", min=2, help="Most texts the attack may score per text")] = 60,
    seed: Annotated[int, Option("--seed", help="Another seed, other changes")] = 0,
    examples: Annotated[int, Option("--examples", "-e", min=0, help="Texts to show per kind of noise")] = 1,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    batch_size: Annotated[int, Option("--batch-size", "-b", min=1, help="Documents per batch")] = 256,
    code: Code = None,
) -> None:
    """Measure how far accuracy falls where texts are noisy.

    A fifth of the words gets a typing error, a look-alike letter or loses the space after it; or the whole text another
    case, an emoji, one more sentence, other names. The attack replaces single words by variants that look like them
    until the label changes or its queries are used up.
    """
    import json

    from ...analysis.robustness.defense import defense
    from ...analysis.robustness.robustness import robustness
    from ...evaluation.summary import without_nan
    from ...files import refuse_others_file, refuse_same, write_text
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    outputs = [path for path in (output, train) if path is not None]
    refuse_same(outputs, [data, Path(pipeline)])
    if output is not None:
        refuse_others_file(output, what="a file of robustness", keys=["component", "accuracy", "drops"])
    use_code(code)
    use_device(gpu_id)
    nlp = load_pipeline(pipeline)
    found = robustness(
        nlp, data, component=component, limit=limit, n_attacked=attacked, n_queries=queries, seed=seed,
        batch_size=batch_size,
    )  # fmt: skip
    _print(found, examples)
    if output is not None:
        write_text(output, json.dumps(without_nan(found.to_json()), ensure_ascii=False, indent=1))
    if train is not None:
        config, against = defense(nlp, found)
        if config is None:
            msg.info("Nothing that training could be shown hurts clearly: no config written")
        else:
            write_text(train, config.to_str())
            msg.good(
                f"{train}: trains against {', '.join(against)}. Next: spacy transfer train {train} --output FOLDER"
            )


def _print(found: "Robustness", n_examples: int) -> None:
    echo(f"{found.n_texts:,} texts, accuracy {_percent(found.accuracy)} as they are")
    rows = []
    for one in found.drops:
        value, low, high = (100 * end for end in (one.difference.value, one.difference.low, one.difference.high))
        changed = f"{one.n_changed:,} of {one.n_texts:,}"
        rows.append((one.noise, changed, _percent(one.accuracy), f"{value:+.1f}", f"{low:+.1f} to {high:+.1f}"))
    header = ("noise", "texts changed", "accuracy", "difference", "95 % interval")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    for one in found.drops:
        for turned in one.examples[:n_examples]:
            echo(f"{one.noise}: {', '.join(turned.labels) or 'no label'} -> {', '.join(turned.given) or 'no label'}")
            echo(f"  {_cut(turned.before)}")
            echo(f"  {_cut(turned.after)}")


def _percent(interval: "Interval") -> str:
    return f"{100 * interval.value:.1f} %"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
