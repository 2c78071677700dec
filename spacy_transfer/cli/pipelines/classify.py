"""`spacy transfer classify`"""

from typing import Annotated

from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code
from ..group import transfer_cli


@transfer_cli.command("classify", no_args_is_help=True)
def classify_cli(
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline")],
    texts: Annotated[list[str], Argument(help="Texts to classify, each in quotation marks")],
    top: Annotated[int, Option("--top", "-n", min=1, help="Labels to show per text, best first")] = 3,
    code: Code = None,
) -> None:
    """Classify a few texts, to try a trained pipeline.

    For many documents, use `nlp.pipe` in Python or `spacy apply`.
    """
    from ...serving.classify import classify

    use_code(code)
    for text, labels in zip(texts, classify(pipeline, texts, top=top), strict=True):
        echo(text)
        for label, score in labels:
            echo(f"  {score:.3f}  {label}")
    msg.good(f"The pipeline is in {pipeline}. In Python: nlp = spacy.load({pipeline!r})")
