"""`spacy transfer explain`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import echo, echo_colored, msg
from ..configs import Code, use_code
from ..group import transfer_cli


class Methods(StrEnum):
    """How scores are explained."""

    auto = "auto"
    gradients = "gradients"
    occlusion = "occlusion"


@transfer_cli.command("explain", no_args_is_help=True)
def explain_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    texts: Annotated[
        list[str] | None, Argument(metavar="TEXT...", help="Texts to explain, each in quotation marks")
    ] = None,
    file: Annotated[Path | None, Option("--file", "-f", help="Explain the text in this file, as a whole")] = None,
    labels: Annotated[
        list[str] | None,
        Option("--label", "-l", help="Label to explain. May be given several times. Default: the predicted ones"),
    ] = None,
    method: Annotated[
        Methods,
        Option(
            "--method",
            "-m",
            help="gradients: what each word adds to the logit. occlusion: by how much the score falls without it; also "
            "for exported pipelines and components of other packages. auto: gradients where there are any",
        ),
    ] = Methods.auto,
    component: Annotated[
        str | None, Option("--component", help="Component whose scores are explained. Default: the only classifier")
    ] = None,
    like: Annotated[
        Path | None,
        Option("--like", help="Annotated texts (.spacy, .jsonl, .csv, ...): show those that are most like each text"),
    ] = None,
    n_like: Annotated[int, Option("--n-like", "-k", min=1, help="How many similar texts to show")] = 5,
    n: Annotated[int, Option("--n", "-n", min=1, help="Words in the list of the strongest ones")] = 10,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Write a page (.html), all numbers (.json) or documents with spans (.spacy)"),
    ] = None,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    code: Code = None,
) -> None:
    """Explain scores: which words speak for a label and which against it, and which training texts are similar.

    Words in blue, or between plus signs where there is no color, speak for the label; words in orange, or between minus
    signs, against it.
    """
    from ...analysis.explain.explain import explain
    from ...analysis.explain.lines import lines_of
    from ...analysis.explain.page import refuse_explanations, write_explanations
    from ...files.strangers import read_string
    from ...pipeline.loading import load_pipeline
    from ...training.device import use_device

    given = [*(texts or []), *([] if file is None else [read_string(file)])]
    inputs = [Path(pipeline), *(path for path in (file, like) if path is not None)]
    if output is not None:
        refuse_explanations(output, inputs)
    use_code(code)
    use_device(gpu_id)
    found = explain(
        load_pipeline(pipeline), given or [""], component=component, labels=labels or None, method=method.value,
        like=like, n_like=n_like,
    )  # fmt: skip
    for number, one in enumerate(found):
        if number:
            echo()
        for line in lines_of(one, n_words=n, color=msg.show_color):
            echo_colored(line)
    if output is not None:
        write_explanations(found, output, inputs)
        msg.good(f"{output}: {len(found):,} texts explained")
