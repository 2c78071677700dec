"""What a distillation is made of. Imports nothing heavy: the command takes its defaults from here."""

from dataclasses import dataclass

from ...checks import check_least, check_number


@dataclass(frozen=True)
class Distillation:
    """How a student learns from a teacher.

    temperature (float | None): Logits of teacher and student are divided by it, so that small scores count more; None
        is 2 for a spacy-transfer student and 1 for one of spaCy's, which knows no other.
    gold_weight (float): Share of the annotation in the target of a labeled text; the rest is the teacher's.
    match_epochs (int): Passes over the texts in which the student's encoder first learns the teacher's vectors (state
        matching); 0 for none.
    variants (int): Changed copies of each text (words dropped, swapped, masked) that the teacher scores too.
    dev_share (float): Of the texts, kept apart with the teacher's best labels where there is no labeled dev data; at
        least one.
    seed (int): Of the copies.
    batch_size (int): Texts that the teacher scores together; after each batch their scores are on the disk.
    """

    temperature: float | None = None
    gold_weight: float = 0.5
    match_epochs: int = 0
    variants: int = 0
    dev_share: float = 0.1
    seed: int = 0
    batch_size: int = 256

    def __post_init__(self) -> None:
        block = "distill"
        if self.temperature is not None:
            check_number(block, self, "temperature", "temperature > 0", lambda value: 0.0 < value < float("inf"))
        check_number(block, self, "gold_weight", "0 <= gold_weight <= 1", lambda value: 0.0 <= value <= 1.0)
        check_number(block, self, "dev_share", "0 < dev_share < 1", lambda value: 0.0 < value < 1.0)
        for field, least in (("match_epochs", 0), ("variants", 0), ("seed", 0), ("batch_size", 1)):
            check_least(block, self, field, least)
