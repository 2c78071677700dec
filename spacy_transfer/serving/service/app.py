"""The ASGI application: its paths, and what each of them answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ...errors import T585, T587, T591, T594, T598, T599
from ...json_types import JsonObject
from ...log import logger
from ...pipeline.interface import Floats
from ...text_output import printable
from ..apply.options import Options
from ..apply.reading.rows import Row
from .lanes import QueueFull, ScoringFailed
from .limits import ServiceLimits
from .messages.answers import Answered, JsonAnswer, PipelinesShown, Refused, results_of, shown_pipelines
from .messages.bodies import read_json
from .messages.questions import Question, Reads, read_question, rows_of
from .messages.refusals import Refusal, split_code
from .metrics import CONTENT_TYPE
from .pages import ASSETS, describe, read_pages
from .served import Loaded, Pipelines, Served
from .service import Service

_DESCRIPTION = "Classifies texts with trained spaCy pipelines."
_TITLE = "spacy-transfer"
# An error of what is in the request, and not of the service: with a code of its own.
_OURS = re.compile(r"\[T(?!594)\d{3}\]")
_CLOSE = {"Connection": "close"}
# Not of HTTP, but what proxies call it in their logs.
_CLIENT_LEFT = 499
_LONGEST_PATH = 80


def make_app(
    pipelines: Pipelines,
    *,
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
) -> FastAPI:
    """Make the ASGI application of a service, for an ASGI server of your own.

    The pipelines are loaded when the server starts the application, in each of its processes.

    pipelines (Language | str | Path | Sequence | Mapping): A pipeline, or its folder or package; several of them, or as
        "NAME=FOLDER"; or by name.
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
    RETURNS (FastAPI): The application.
    RAISES (ValueError): T396, T520 for options that cannot be, T581 for names, T582 for keys.
    """
    options = Options(
        labels=labels, all_scores=all_scores, above=above, top=top, min_score=min_score, min_confidence=min_confidence,
        abstain=abstain,
    )  # fmt: skip
    service = Service(pipelines, options, limits, api_key_file, threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Load, and finish what was accepted."""
        await asyncio.to_thread(service.load)
        yield
        await asyncio.to_thread(service.close)

    return app_of(service, lifespan)


def app_of(service: Service, lifespan: Callable[[FastAPI], Any]) -> FastAPI:
    """Make the application around a service.

    service (Service): What it does.
    lifespan (Callable): Called by the server, around everything.
    RETURNS (FastAPI): The application.
    """
    app = FastAPI(
        title=_TITLE,
        description=_DESCRIPTION,
        version=version(_TITLE),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_such_place)
    app.add_exception_handler(Exception, _failed)
    _add_classifying(app, service)
    _add_watching(app, service)
    _add_pages(app)
    return app


# ---- paths -------------------------------------------------------------------------------------------------------


def _add_classifying(app: FastAPI, service: Service) -> None:
    body = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Question"}}},
        }
    }
    said = {
        400: "The request is wrong", 401: "No key, or a wrong one", 404: "No such pipeline",
        408: "The body does not arrive",
        413: "Too many bytes or texts, or a text that is too long", 415: "The body is not JSON",
        429: "Too many texts wait: try again later", 500: "The pipeline failed", 503: "Not ready: try again later",
    }  # fmt: skip
    refusals: dict[int | str, JsonObject] = {
        status: {"model": Refused, "description": text} for status, text in said.items()
    }
    options: JsonObject = {
        "openapi_extra": body, "responses": {200: {"model": Answered, "description": "Labels and scores"}, **refusals},
        "dependencies": [Depends(_require_key)],
    }  # fmt: skip

    @app.post("/classify", summary="Classify one text or several", **options)
    async def classify(request: Request) -> Response:
        """Classify one text or several."""
        return await _classify(service, request, None)

    @app.post("/pipelines/{name}/classify", summary="Classify with a pipeline of this name", **options)
    async def classify_with(name: str, request: Request) -> Response:
        """Classify with a pipeline of this name."""
        return await _classify(service, request, name)

    @app.get(
        "/pipelines", summary="Which pipelines there are, and what a request may hold",
        responses={
            200: {"model": PipelinesShown, "description": "All of them"}, 401: refusals[401], 503: refusals[503],
        },
        dependencies=[Depends(_require_key)],
    )  # fmt: skip
    async def pipelines() -> Response:
        """Say which pipelines there are, and what a request may hold."""
        service.require_ready()
        return JsonAnswer(shown_pipelines(service.served, service.limits))

    usual = app.openapi

    def with_question() -> JsonObject:
        """Add the form of a question, which is read by hand."""
        document = usual()
        form = Question.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = {**form.pop("$defs", {}), "Question": form}
        document["components"]["schemas"] = {**parts, **document["components"]["schemas"]}
        # FastAPI's own refusal, which is never given: everything is checked by hand.
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        for methods in document["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        return document

    app.openapi = with_question  # type: ignore[method-assign]


def _add_watching(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the process is alive")
    async def health() -> Response:
        """Say that the process is alive."""
        return JsonAnswer({"status": "alive"})

    @app.get(
        "/ready", summary="Whether all pipelines are loaded and warm",
        responses={503: {"model": Refused, "description": "Not yet, or no longer"}},
    )  # fmt: skip
    async def ready() -> Response:
        """Say whether all pipelines are loaded and warm."""
        service.require_ready()
        return JsonAnswer({"status": "ready"})

    for path, answer in (("/health", health), ("/ready", ready)):
        # As some load balancers ask.
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)

    @app.get("/metrics", summary="For Prometheus", dependencies=[Depends(_require_key)])
    async def metrics() -> Response:
        """Tell Prometheus what was done."""
        text = service.metrics.text(list(service.served.values()), is_ready=service.is_ready)
        return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


def _add_pages(app: FastAPI) -> None:
    pages = read_pages()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        """Give the page to try it."""
        return pages["index.html"]

    for name in ASSETS:
        app.add_api_route(f"/{name}", _giving(pages[name]), include_in_schema=False, methods=["GET"])

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Give the page that describes everything."""
        return describe(app.openapi())


def _giving(page: Response) -> Callable[[], Any]:
    async def give() -> Response:
        """Give a file."""
        return page

    return give


async def _require_key(request: Request) -> None:
    service: Service = request.app.state.service
    if not service.needs_key:
        return
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    given = key.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not service.lets_in(given.encode("utf-8")):
        raise Refusal(401, T585, headers={"WWW-Authenticate": "Bearer"})


# ---- classifying -------------------------------------------------------------------------------------------------


async def _classify(service: Service, request: Request, name: str | None) -> Response:
    counted, status = "", 500
    try:
        if name is not None:
            counted = service.find(name).name
        question = read_question(await read_json(request, service.limits.body))
        one = service.find(question.pipeline if name is None else name)
        counted = one.name
        answer = await _answer(service, request, one, question)
        status = 200
        return answer
    except Refusal as refusal:
        status = refusal.status
        raise
    except ClientDisconnect:
        status = _CLIENT_LEFT
        return Response(status_code=status)
    finally:
        service.metrics.answered(counted, status)


async def _answer(service: Service, request: Request, one: Served, question: Question) -> Response:
    begin = perf_counter()
    while True:
        loaded = service.loaded(one)
        options = question.options(service.options, loaded.scoring.components)
        rows = rows_of(question, service.limits, Reads(loaded.attributes, loaded.longest, loaded.media))
        scores = await _scores(service, request, one, loaded, rows)
        if scores is not None:
            break
        # Another pipeline is in its place now, with other labels perhaps.
    service.metrics.classified(one.name, len(rows), perf_counter() - begin)
    headers = _CLOSE if service.is_leaving else None
    return JsonAnswer({"pipeline": one.name, "results": results_of(loaded, scores, options)}, headers=headers)


async def _scores(service: Service, request: Request, one: Served, loaded: Loaded, rows: list[Row]) -> Floats | None:
    try:
        job = one.submit(rows, loaded)
    except QueueFull as full:
        message = T591.format(n=full.n_waiting, most=service.limits.queue)
        raise Refusal(429, message, headers={"Retry-After": "1"}) from None
    if job is None:
        if service.is_closed:
            service.require_ready()
        return None
    waiting = asyncio.wrap_future(job)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            # Nobody is there to hear the answer.
            waiting.cancel()
            raise ClientDisconnect
        return waiting.result()
    except ScoringFailed as failed:
        raise _refusal_of(failed.error, one.name) from failed
    finally:
        leaving.cancel()


async def _left(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal_of(error: BaseException, name: str) -> Refusal:
    if isinstance(error, ValueError) and _OURS.match(str(error)):
        return Refusal(400, str(error))
    logger.error("%s failed", name, exc_info=error)
    if split_code(str(error))[0] == "T594":
        return Refusal(500, str(error))
    return Refusal(500, T594.format(kind=type(error).__name__, error=printable(str(error)[:200])))


# ---- refusing ----------------------------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    service: Service = request.app.state.service
    service.metrics.refused(error.code)
    closing = _CLOSE if service.is_leaving else {}
    return JsonAnswer(error.body, error.status, {**error.headers, **closing})


async def _no_such_place(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = printable(request.url.path[:_LONGEST_PATH])
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        refusal = Refusal(405, T598.format(method=request.method, path=path, allowed=allowed), headers=error.headers)
    elif error.status_code == 404:
        refusal = Refusal(404, T587.format(path=path))
    else:
        refusal = Refusal(error.status_code, T599.format(kind=error.detail))
    return await _refused(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    """What nobody has foreseen; the server writes the traceback to its log."""
    return await _refused(request, Refusal(500, T599.format(kind=type(error).__name__)))
