"""What a service tells Prometheus."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .served import Served

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts what a service does, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        pipeline = ["pipeline"]
        self._requests = Counter(
            "spacy_transfer_requests", "Requests to classify, by pipeline and HTTP status", ["pipeline", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._texts = Counter("spacy_transfer_texts", "Texts classified", pipeline, registry=self._registry)
        self._errors = Counter("spacy_transfer_errors", "Refusals, by code", ["code"], registry=self._registry)
        self._seconds = Histogram(
            "spacy_transfer_request_seconds", "Time from the last byte of a request to its answer", pipeline,
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batch_texts = Histogram(
            "spacy_transfer_batch_texts", "Texts scored together", pipeline, buckets=_TEXTS, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "spacy_transfer_batch_seconds", "Time to score a batch", pipeline, buckets=_SECONDS, registry=self._registry
        )
        self._waiting = Gauge("spacy_transfer_queue_texts", "Texts that wait", pipeline, registry=self._registry)
        self._ready = Gauge("spacy_transfer_ready", "1 when all pipelines are warm", registry=self._registry)
        self._loads = Counter(
            "spacy_transfer_reloads", "Pipelines loaded again", ["pipeline", "result"], registry=self._registry
        )

    def answered(self, pipeline: str, status: int) -> None:
        """Count a request.

        pipeline (str): Its name; empty if it names none that there is.
        status (int): Of HTTP.
        """
        self._requests.labels(pipeline, str(status)).inc()

    def classified(self, pipeline: str, n_texts: int, seconds: float) -> None:
        """Count the texts of a request that was answered.

        pipeline (str): Its name.
        n_texts (int): How many.
        seconds (float): From its last byte to its scores.
        """
        self._texts.labels(pipeline).inc(n_texts)
        self._seconds.labels(pipeline).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a refusal.

        code (str): Of its message.
        """
        self._errors.labels(code).inc()

    def scored(self, pipeline: str, n_texts: int, seconds: float) -> None:
        """Count a batch.

        pipeline (str): Its name.
        n_texts (int): How many.
        seconds (float): How long they took.
        """
        self._batch_texts.labels(pipeline).observe(n_texts)
        self._batch_seconds.labels(pipeline).observe(seconds)

    def loaded_again(self, pipeline: str, succeeded: bool) -> None:
        """Count a reload.

        pipeline (str): Its name.
        succeeded (bool): Whether the new one is in use.
        """
        self._loads.labels(pipeline, "success" if succeeded else "failure").inc()

    def text(self, served: Sequence[Served], *, is_ready: bool) -> bytes:
        """Write everything in Prometheus' text format.

        served (Sequence[Served]): The pipelines, whose queues are looked at.
        is_ready (bool): Whether all of them are warm.
        """
        self._ready.set(is_ready)
        for one in served:
            self._waiting.labels(one.name).set(one.n_waiting)
        return bytes(generate_latest(self._registry))
