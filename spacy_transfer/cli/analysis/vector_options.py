"""Options shared by the commands that look at data through the vectors of an encoder or a pipeline."""

from typing import Annotated

from typer import Option

from ...errors import T691

VectorsOf = Annotated[
    str | None,
    Option("--pipeline", "-p", help="Take the vectors of this trained pipeline. Default: an untrained encoder"),
]
Classifier = Annotated[str | None, Option("--component", help="Classifier of the pipeline. Default: the only one")]
EncoderName = Annotated[
    str | None,
    Option("--encoder", "-e", help="Folder or name of the encoder. Default: that of the shipped configs"),
]
Exclusive = Annotated[
    bool | None,
    Option("--exclusive/--multilabel", help="Exactly one label per text, or any number. Default: detected"),
]


def refuse_unread_encoder(pipeline: str | None, encoder: str | None) -> None:
    """Refuse an encoder that nothing would read.

    pipeline (str | None): As given.
    encoder (str | None): As given.
    RAISES (ValueError): T691 for both.
    """
    if pipeline is not None and encoder is not None:
        raise ValueError(T691)
