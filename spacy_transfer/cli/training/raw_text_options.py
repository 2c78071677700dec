"""Options shared by the commands that train an encoder on raw texts."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

RawTexts = Annotated[
    list[Path],
    Argument(help="Raw texts: .txt (one per line), tables, .jsonl, .parquet, .spacy or folders of .spacy files"),
]
EncoderFolder = Annotated[Path, Argument(help="Folder for the encoder; set encoder.name to it to train a classifier")]
TextField = Annotated[str, Option("--text-field", help="Field or column of the text")]
Steps = Annotated[int, Option("--steps", "-n", help="Optimizer steps")]
Rows = Annotated[int, Option("--rows", help="Rows (windows of texts) per step")]
Seed = Annotated[int, Option("--seed", help="Random seed")]
Accumulate = Annotated[
    int, Option("--accumulate", help="Split the rows of a step into this many parts: less memory, the same result")
]
GpuId = Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")]
Resume = Annotated[
    bool, Option("--resume", "-R", help="Resume from the last checkpoint in --work, with exactly the same result")
]
Force = Annotated[
    bool,
    Option(
        "--force",
        "-F",
        help="Replace the folder and discard what is in --work. With --resume: continue even if the run changed",
    ),
]
Work = Annotated[
    Path | None,
    Option("--work", help="Folder for checkpoints, kept at the end. Default: FOLDER.work, removed at the end"),
]
NRanks = Annotated[
    int,
    Option("--ranks", min=1, help="Processes that train together, each on its own GPU or share of the CPU cores"),
]
