"""Serve pipelines over HTTP until a signal stops it."""

import asyncio
import contextvars
import errno
import ipaddress
import queue
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import uvicorn
from fastapi import FastAPI

from ...errors import T580, T580_HOST, T580_PORT, T580_USED, T584
from ...log import announce, logger
from ..apply.options import Options
from .app import app_of
from .limits import ServiceLimits
from .served import Pipelines
from .service import Service

# After a signal so long is waited for what is on its way on open connections.
_GRACE = 0.25
_BACKLOG = 2048
# A client that does not read its answer keeps a stopping service no longer than that.
_LAST_WAIT = 600
_LAST_PORT = 65_535
# Longer than most clients and proxies keep theirs: a connection that the service closes while a request comes is lost.
_KEEP_ALIVE = 75


def serve(
    pipelines: Pipelines,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    all_scores: bool = False,
    labels: bool = False,
    above: float | None = None,
    top: int | None = None,
    min_score: float | None = None,
    min_confidence: float | Literal["auto"] | None = None,
    abstain: str = "abstain",
    threads: int = 0,
    api_key_file: str | Path | None = None,
    limits: ServiceLimits | None = None,
) -> None:
    """Serve pipelines over HTTP until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    SIGHUP loads pipelines and keys again: the new ones take over when they are warm, and one that cannot be loaded
    leaves the old one in use.

    pipelines (Language | str | Path | Sequence | Mapping): A pipeline, or its folder or package; several of them, or as
        "NAME=FOLDER"; or by name.
    host (str): Address or name of this machine to listen on.
    port (int): Port to listen on; 0 takes a free one, which is said.
    all_scores (bool): Give the scores of all labels, where a request does not say otherwise.
    labels (bool): Give the labels that reach their threshold; where labels are exclusive, the best one.
    above (float | None): Give all labels with at least this score.
    top (int | None): Give so many labels, best first.
    min_score (float | None): Where the best score is lower, `label` is the word for none.
    min_confidence (float | "auto" | None): Where the confidence that a text has one of the labels is lower, `label`
        is the word for none; "auto" is what `spacy transfer calibrate` found.
    abstain (str): That word.
    threads (int): Of torch; 0 leaves them as they are.
    api_key_file (str | Path | None): File of API keys, one per line. None: everyone is let in.
    limits (ServiceLimits | None): What a request may hold.
    RAISES (OSError): T580 for a port that is in use, or an address that is not of this machine.
    RAISES (ValueError): T396, T520 for options that cannot be, T581 for names, T582 for keys; what loading raises.
    """
    options = Options(
        labels=labels, all_scores=all_scores, above=above, top=top, min_score=min_score, min_confidence=min_confidence,
        abstain=abstain,
    )  # fmt: skip
    service = Service(pipelines, options, limits, api_key_file, threads)
    with listening(host, port) as listener:
        if not service.needs_key and not _is_this_machine(listener):
            logger.warning(T584.format(host=host))
        run(service, listener)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Within: a socket listens.

    host (str): Address or name of this machine.
    port (int): 0 for a free one.
    YIELDS (socket.socket): The socket.
    RAISES (OSError): T580.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        reason = T580_USED if number == errno.EADDRINUSE else getattr(error, "strerror", None) or str(error)
        is_port = number in (errno.EADDRINUSE, errno.EACCES) or not 0 <= port <= _LAST_PORT
        way_out = T580_PORT if is_port else T580_HOST
        raise OSError(T580.format(host=host, port=port, reason=reason, way_out=way_out)) from error
    with made:
        yield made


def _is_this_machine(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def run(
    service: Service, listener: socket.socket, *, started: Callable[[Callable[[], None]], None] = lambda stop: None
) -> None:
    """Serve on a socket until a signal comes.

    service (Service): Not loaded yet.
    listener (socket.socket): It listens.
    started (Callable): Called when all pipelines are warm, with a function that stops as a signal does.
    RAISES: What loading raises.
    """
    failed: list[BaseException] = []

    def load(server: _Server) -> None:
        """Load while the service already says that it is alive, and not yet ready."""
        try:
            service.load()
        except BaseException as error:
            failed.append(error)
            server.should_exit = True
        else:
            announce(f"Serving {', '.join(service.served)} on {address_of(listener)}")
            started(server.stop)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Load in a thread, and finish what was accepted."""
        context = contextvars.copy_context()
        # Whoever stops the service does not want to wait for it.
        threading.Thread(
            target=context.run, args=(load, server), name="spacy-transfer serve, loading", daemon=True
        ).start()
        yield
        await asyncio.to_thread(service.close)

    config = uvicorn.Config(
        app_of(service, lifespan), lifespan="on", ws="none", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=_KEEP_ALIVE, backlog=_BACKLOG, timeout_graceful_shutdown=_LAST_WAIT,
    )  # fmt: skip
    server = _Server(config, service)
    with _reloading(service), _signals_end_nothing_else():
        server.run(sockets=[listener])
    if failed:
        raise failed[0]


def address_of(listener: socket.socket) -> str:
    """Give the address under which a socket is reached.

    listener (socket.socket): It listens.
    RETURNS (str): As a URL.
    """
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Answers what is on its way before it closes connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def stop(self) -> None:
        """Stop as after a signal."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop.

        sockets (list[socket.socket] | None): Those that listen.
        """
        # From now on /ready says no, and each answer closes its connection.
        self._service.is_leaving = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE)
        await super().shutdown(sockets)


@contextmanager
def _signals_end_nothing_else() -> Iterator[None]:
    """Within: uvicorn, which stops at SIGTERM and Ctrl-C and then raises them again, ends nothing by that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reloading(service: Service) -> Iterator[None]:
    """Within: SIGHUP loads again, in a thread of its own."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"):
        yield
        return
    # A handler may come in the middle of anything; this queue can bear it.
    asked: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def wait() -> None:
        """Load again each time it is asked for; asked for meanwhile, once more."""
        while asked.get():
            while not asked.empty():
                if not asked.get():
                    return
            service.reload()

    def handle(number: int, frame: FrameType | None) -> None:
        """Ask for it."""
        asked.put(True)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(wait,), name="spacy-transfer serve, reloading", daemon=True)
    thread.start()
    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
        asked.put(False)
