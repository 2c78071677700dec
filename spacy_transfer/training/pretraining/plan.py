"""Steps, rows and rate of a pretraining. Imports nothing heavy: the command takes its defaults from here."""

from dataclasses import dataclass

from ...errors import T005


@dataclass(frozen=True)
class Pretraining:
    """How an encoder is warmed up.

    steps (int): Steps of the optimizer.
    rows (int): Rows (windows of texts) in a step.
    rate (float): Highest learning rate, after a tenth of the steps; it falls to 0 in a line.
    weight_decay (float): Of AdamW.
    share (float): Of the pieces that is chosen for prediction.
    seed (int): Of everything drawn.
    accumulate (int): Parts in which the rows of a step are learned one after the other; changes memory, not the result.
    """

    steps: int = 2000
    rows: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.01
    share: float = 0.15
    seed: int = 0
    accumulate: int = 1

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
