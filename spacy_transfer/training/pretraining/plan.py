"""Steps, rows and rate of a pretraining. Imports nothing heavy: the command takes its defaults from here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...errors import T005

Objective = Literal["masked_lm", "tsdae"]
Aim = Literal["auto", "masked_lm", "tsdae"]
# Of the words, what each hides or leaves out when an encoder is adapted.
SHARES: Mapping[Objective, float] = {"masked_lm": 0.15, "tsdae": 0.6}


@dataclass(frozen=True)
class Pretraining:
    """How an encoder is warmed up.

    steps (int): Steps of the optimizer.
    rows (int): Rows (windows of texts) in a step.
    rate (float): Highest learning rate, after a tenth of the steps; it falls to 0 in a line.
    weight_decay (float): Of AdamW.
    share (float): Of the pieces that is chosen for prediction, or left out by "tsdae".
    seed (int): Of everything drawn.
    accumulate (int): Parts in which the rows of a step are learned one after the other; changes memory, not the result.
    objective (str): "masked_lm" predicts hidden pieces; "tsdae" the whole text from the vector of what is left of it.
    whole_words (bool): The pieces of a word are chosen together.
    """

    steps: int = 2000
    rows: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.01
    share: float = 0.15
    seed: int = 0
    accumulate: int = 1
    objective: Objective = "masked_lm"
    whole_words: bool = False

    def __post_init__(self) -> None:
        for field, good, want in (
            ("steps", self.steps >= 1, "steps >= 1"),
            ("rows", self.rows >= 1, "rows >= 1"),
            ("rate", self.rate > 0.0, "rate > 0"),
            ("weight_decay", 0.0 <= self.weight_decay <= 1.0, "0 to 1"),
            ("share", 0.0 < self.share < 1.0, "0 < share < 1"),
            ("seed", 0 <= self.seed < 2**32, "0 <= seed < 2 ** 32"),
            ("accumulate", self.accumulate >= 1, "accumulate >= 1"),
        ):
            if not good:
                raise ValueError(T005.format(block="pretrain", field=field, value=getattr(self, field), want=want))


# For an encoder that is trained already.
ADAPTING = Pretraining(rate=5e-5)
