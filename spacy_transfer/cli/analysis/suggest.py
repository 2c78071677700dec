"""`spacy transfer suggest`"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code
from ..group import transfer_cli
from ..training_options import Show, ShowProgress
from .lines import one_line
from .vector_options import Classifier

if TYPE_CHECKING:
    from ...analysis.suggest.suggest import Suggestions

_N_SHOWN = 20


class Strategy(StrEnum):
    """What makes a text worth annotating."""

    margin = "margin"
    entropy = "entropy"
    coverage = "coverage"
    both = "both"


@transfer_cli.command("suggest", no_args_is_help=True)
def suggest_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    sources: Annotated[
        list[str],
        Argument(
            metavar="RAW...",
            help="Unlabeled texts: files (.csv, .tsv, .jsonl, .json, .txt, .parquet, .xlsx, .spacy; also .gz or .zst), "
            "folders or patterns of them, or - for standard input",
        ),
    ],
    n: Annotated[int, Option("--n", "-n", min=1, help="How many texts to suggest")] = 50,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Write them as annotation tasks: .jsonl for Prodigy, .json for Label Studio"),
    ] = None,
    by: Annotated[
        Strategy,
        Option(
            "--by",
            help="margin, entropy: what the pipeline knows least about; coverage: typical texts of what has no "
            "annotated text; both: uncertain texts that differ from each other",
        ),
    ] = Strategy.both,
    labeled: Annotated[
        list[Path] | None,
        Option("--labeled", "-l", help="Annotated texts (.spacy) to leave out. May be given several times"),
    ] = None,
    component: Classifier = None,
    text_field: Annotated[
        str | None, Option("--text-field", "-t", help="Column of the text. Default: text, or the only one possible")
    ] = None,
    input_format: Annotated[
        str | None, Option("--input-format", help="Of standard input, and of files without a known suffix")
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of coverage and both")] = 0,
    show_all: Annotated[bool, Option("--all", "-a", help="Show all suggestions instead of the first 20")] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    show: ShowProgress = Show.auto,
    code: Code = None,
) -> None:
    """Suggest which unlabeled texts to annotate next: those whose labels would teach the pipeline most.

    Files of any size are read once, block by block. Near-duplicates are suggested once.
    """
    from ...analysis.annotation_tasks import refuse_tasks_file, write_tasks
    from ...analysis.suggest.suggest import suggest
    from ...training.device import use_device

    if output is not None:
        refuse_tasks_file(output, [Path(pipeline), *(labeled or ()), *(Path(one) for one in sources if one != "-")])
    use_code(code)
    use_device(gpu_id)
    found = suggest(
        pipeline, sources, n=n, strategy=by.value, labeled=labeled or (), component=component, text_field=text_field,
        input_format=input_format, seed=seed, show=show.value,
    )  # fmt: skip
    _print_suggestions(found, None if show_all else _N_SHOWN)
    if output is not None:
        write_tasks(found.tasks(), found.labels, output)
        msg.good(f"{output}: {len(found.texts):,} texts to annotate")


def _print_suggestions(found: "Suggestions", most: int | None) -> None:
    left_out = f", {found.n_annotated:,} of them annotated already" if found.n_annotated else ""
    msg.divider(f"{len(found.texts):,} of {found.n_texts:,} texts{left_out}")
    if found.n_bad:
        msg.warn(f"{found.n_bad:,} rows could not be used", "\n".join(found.bad))
    shown = found.texts[:most]
    rows = [
        (f"{one.uncertainty:.2f}", ", ".join(one.labels) or "(none)", f"{one.score:.2f}", one_line(one.text))
        for one in shown
    ]
    msg.table(rows, header=("unsure", "label", "score", "text"), divider=True)
    if len(found.texts) > len(shown):
        echo(f"{len(found.texts) - len(shown):,} more with --all")
