"""How much a service takes."""

from dataclasses import dataclass

from ...errors import T396


@dataclass(frozen=True)
class ServiceLimits:
    """What a request may hold, and how much may wait.

    body (int): Bytes of a body.
    texts (int): Texts in a request.
    length (int): Characters of a text.
    queue (int): Texts that wait for a pipeline.
    batch (int): Texts that are scored together.
    RAISES (ValueError): T396 for a number below 1, or a queue that has no place for a request.
    """

    body: int = 8_000_000
    texts: int = 1000
    length: int = 100_000
    queue: int = 4000
    batch: int = 64

    def __post_init__(self) -> None:
        for name in ("body", "texts", "length", "queue", "batch"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(T396.format(option=f"--max-{name}", value=value, want="a whole number from 1 on"))
        if self.queue < self.texts:
            want = f"at least the texts of one request, --max-texts {self.texts}"
            raise ValueError(T396.format(option="--max-queue", value=self.queue, want=want))
