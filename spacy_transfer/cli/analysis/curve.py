"""`spacy transfer curve`"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code
from ..group import transfer_cli
from .vector_options import Classifier, EncoderName, Exclusive, VectorsOf, refuse_unread_encoder

if TYPE_CHECKING:
    from ...analysis.curve.curve import LearningCurve
    from ...evaluation.measures import Interval

# Characters of a bar.
_WIDTH = 30


@transfer_cli.command("curve", no_args_is_help=True)
def curve_cli(
    paths: Annotated[list[Path], Argument(metavar="TRAIN...", help="Training data: .spacy files, or folders of them")],
    dev: Annotated[
        Path | None,
        Option("--dev", "-d", help="Texts to score. Default: a fifth of the training texts, five times another one"),
    ] = None,
    pipeline: VectorsOf = None,
    component: Classifier = None,
    encoder: EncoderName = None,
    output: Annotated[Path | None, Option("--json", "-j", help="Also write everything to this file")] = None,
    exclusive: Exclusive = None,
    steps: Annotated[int, Option("--steps", help="Parts of the texts: 10 trains on 10, 20, ... 100 %")] = 10,
    seed: Annotated[int, Option("--seed", help="Of the order of the texts")] = 0,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: Code = None,
) -> None:
    """Estimate what more annotated texts would bring: train on 10, 20, ... 100 % of them, and extrapolate.

    A frozen encoder turns texts into vectors once, and linear probes are trained on them, five for each part. A power
    law fitted to their errors says what twice as many texts would bring, with a 95 % interval.
    """
    from ...analysis.curve.curve import curve
    from ...files import refuse_others_file, refuse_same, write_text
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    refuse_unread_encoder(pipeline, encoder)
    if output is not None:
        refuse_same([output], [*paths, *([dev] if dev else []), *([Path(pipeline)] if pipeline else [])])
        refuse_others_file(output, what="a learning curve", keys=["made_by", "points", "forecasts"])
    use_code(code)
    use_device(gpu_id)
    nlp = None if pipeline is None else load_pipeline(pipeline)
    found = curve(
        paths, dev=dev, pipeline=nlp, component=component, encoder=encoder, exclusive=exclusive, steps=steps, seed=seed
    )  # fmt: skip
    _print_curve(found)
    if output is not None:
        write_text(output, json.dumps(found.to_json(), indent=1) + "\n")
        msg.good(f"{output}")


def _print_curve(found: "LearningCurve") -> None:
    msg.divider(f"{found.n_texts:,} texts, {found.n_labels:,} labels")
    low = min(one.score.low for one in found.points)
    high = max(one.score.high for one in found.points)
    rows = []
    for point in found.points:
        filled = round(_WIDTH * (point.score.value - low) / max(high - low, 1e-9))
        rows.append(
            (f"{point.share:.0%}", f"{point.n:,}", _percent(point.score.value), _span(point.score), "#" * filled)
        )
    msg.table(rows, header=("part", "texts", found.measure, "95 % interval", ""), divider=True)
    msg.divider("What more texts would bring")
    rows = [
        (f"{name}", f"{one.n:,}", _percent(one.score.value), _span(one.score), gain)
        for name, one, gain in (
            ("all", found.now, ""),
            *((f"{one.n // found.n_texts} times as many", one, _gain(one.gain)) for one in found.forecasts),
        )
    ]  # fmt: skip
    msg.table(rows, header=("texts", "", found.measure, "95 % interval", "points more"), divider=True)
    law = found.law
    echo(f"error = {law.floor:.3f} + {law.factor:.3g} * texts ^ -{law.exponent:.2f}")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _span(interval: "Interval") -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _gain(interval: "Interval") -> str:
    return f"{100 * interval.value:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
