"""`spacy transfer doctor`"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code
from ..data.findings import print_findings
from ..group import transfer_cli
from .lines import one_line
from .vector_options import Classifier, EncoderName, Exclusive, VectorsOf, refuse_unread_encoder

if TYPE_CHECKING:
    from ...analysis.doctor.doctor import Diagnosis, Place, Twins

_N_SHOWN = 10


@transfer_cli.command("doctor", no_args_is_help=True)
def doctor_cli(
    paths: Annotated[
        list[Path],
        Argument(metavar="TRAIN [DEV TEST ...]", help="The .spacy files, or folders of them; training data first"),
    ],
    pipeline: VectorsOf = None,
    component: Classifier = None,
    encoder: EncoderName = None,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Write the texts to look at: .jsonl for Prodigy, .json for Label Studio"),
    ] = None,
    similarity: Annotated[
        float, Option("--similarity", min=0.5, max=1.0, help="Cosine from which on two texts are nearly the same")
    ] = 0.95,
    exclusive: Exclusive = None,
    show_all: Annotated[
        bool, Option("--all", "-a", help="Show everything instead of the first ten of each kind")
    ] = False,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: Code = None,
) -> None:
    """Find labels that are probably wrong, near-duplicates, labels that are hard to tell apart, and outliers.

    Includes all that `spacy transfer check` finds. A frozen encoder turns texts into vectors; linear probes that have
    not seen a text say what its label should be (confident learning).
    """
    from ...analysis.annotation_tasks import refuse_tasks_file, write_tasks
    from ...analysis.doctor.doctor import doctor
    from ...analysis.doctor.to_check import tasks_of
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    refuse_unread_encoder(pipeline, encoder)
    if output is not None:
        refuse_tasks_file(output, [*paths, *([Path(pipeline)] if pipeline else [])])
    use_code(code)
    use_device(gpu_id)
    nlp = None if pipeline is None else load_pipeline(pipeline)
    found = doctor(
        paths, pipeline=nlp, component=component, encoder=encoder, similarity=similarity, exclusive=exclusive
    )  # fmt: skip
    print_findings(found.checked.findings)
    most = None if show_all else _N_SHOWN
    _print_suspects(found, most)
    contradictions = [one for one in found.twins if one.contradict]
    leaks = [one for one in found.twins if one.leak and not one.contradict]
    _print_twins("Nearly the same text, other labels", contradictions, most)
    _print_twins("Nearly the same text in another split", leaks, most)
    n_rest = len(found.twins) - len(contradictions) - len(leaks)
    echo(f"{n_rest:,} more pairs are nearly the same, with the same labels, within a split")
    _print_confusable(found, most)
    _print_outliers(found.outliers, most)
    if output is not None:
        tasks = tasks_of(found)
        write_tasks(tasks, found.checked.labels, output)
        msg.good(f"{output}: {len(tasks):,} texts to look at")


def _print_suspects(found: "Diagnosis", most: int | None) -> None:
    likely = [one for one in found.suspects if one.is_likely]
    n_texts = len(found.suspects)
    msg.divider(f"{found.n_wrong:,} labels of {n_texts:,} texts are probably wrong")
    echo(f"Probes that had not seen a text gave its label in {found.accuracy:.1%} of the cases.")
    rows = [
        (one.place.split, one.place.index, one.label or "(not there)", one.suggested or "(not there)",
         f"{one.suspicion:.2f}", one_line(one.place.text))
        for one in likely[:most]
    ]  # fmt: skip
    _table(rows, ("file", "text", "label", "rather", "suspicion", ""), len(likely))


def _print_twins(title: str, pairs: "Sequence[Twins]", most: int | None) -> None:
    msg.divider(f"{title}: {len(pairs):,} pairs")
    rows = []
    for pair in pairs[:most]:
        for place, value in ((pair.first, f"{pair.similarity:.3f}"), (pair.second, "")):
            rows.append((value, place.split, place.index, ", ".join(place.labels), one_line(place.text)))
    _table(rows, ("cosine", "file", "text", "label", ""), 2 * len(pairs))


def _print_confusable(found: "Diagnosis", most: int | None) -> None:
    msg.divider(f"Labels that are hard to tell apart: {len(found.confusable):,} pairs")
    rows = [(one.first, one.second, one.n, f"{one.share:.0%}") for one in found.confusable[:most]]
    _table(rows, ("label", "label", "texts", "of the rarer"), len(found.confusable))


def _print_outliers(places: "Sequence[Place]", most: int | None) -> None:
    msg.divider(f"Unlike all other texts: {len(places):,}")
    rows = [(one.split, one.index, ", ".join(one.labels), one_line(one.text)) for one in places[:most]]
    _table(rows, ("file", "text", "label", ""), len(places))


def _table(rows: Sequence[Sequence[object]], header: Sequence[str], n: int) -> None:
    if rows:
        msg.table(rows, header=header, divider=True)
    if n > len(rows):
        echo(f"{n - len(rows):,} more with --all")
