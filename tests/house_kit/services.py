"""A service on a socket of this machine, in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import httpx

from spacy_transfer.serving.apply.options import Options
from spacy_transfer.serving.service.limits import ServiceLimits
from spacy_transfer.serving.service.serve import address_of, listening, run
from spacy_transfer.serving.service.service import Service


@dataclass
class Running:
    """A service that answers."""

    service: Service
    client: httpx.Client
    stop: Any

    def ask(self, *texts: str, path: str = "/classify", **more: Any) -> Any:
        """The results of some texts."""
        answer = self.client.post(path, json={"texts": texts, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def error(self, status: int, path: str = "/classify", **request: Any) -> Any:
        """The error of a request that is refused."""
        method = request.pop("method", "POST")
        answer = self.client.request(method, path, **request)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"error"}
        return answer.json()["error"]


@contextmanager
def running(
    pipelines: Any, *, keys: Path | None = None, limits: ServiceLimits | None = None, **options: Any
) -> Iterator[Running]:
    """Within: a service is warm."""
    service = Service(pipelines, Options(**options), limits or ServiceLimits(), keys, 0)
    stops: Queue[Any] = Queue()
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=run, args=(service, listener), kwargs={"started": stops.put})
        thread.start()
        stop = stops.get(timeout=60)
        try:
            with httpx.Client(base_url=address_of(listener), timeout=60) as client:
                yield Running(service, client, stop)
        finally:
            stop()
            thread.join(60)
            assert not thread.is_alive()
