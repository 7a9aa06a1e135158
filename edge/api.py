"""The HTTP routes: bytes → `edge.wire` → service → bytes; any error becomes an answer here."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from edge import hub
from edge.asgi import App, Message, Receive, Scope, Send
from edge.errors import (
    BodyTooLarge,
    ClientGone,
    EdgeError,
    NotReady,
    Overloaded,
    Unavailable,
    UnsupportedEncoding,
)
from edge.metrics import Metrics
from edge.openapi import path_parameter, request_body, responses
from edge.service import Service
from edge.wire import (
    BatchAnswer,
    ClassifyAnswer,
    ClassifyRequest,
    HubRequest,
    IntentsAnswer,
    ModelAnswer,
    Problem,
    TeiRequest,
    decode,
)

__all__ = ["create_app"]

log = logging.getLogger("intentd.api")

JSON = "application/json"
PROBLEM = "application/problem+json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
HUB_PATHS = {"/": (), "/models/{model_id:path}": ("model_id",), "/pipeline/{task}": ("task",)}
"""Each with its parameters' names."""
TEI_PATH = "/predict"
FOREIGN_PATHS = frozenset({*HUB_PATHS, TEI_PATH})
ALIVE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that watchers poll; they are not counted as requests."""

BUG = "a bug in intentd; the log holds the place, never your text; please report it"
DESCRIPTION = (
    "What does this text ask for? Every error is `application/problem+json` with a stable `code`, "
    "except on the Hugging Face and text-embeddings-inference routes, which have their own form."
)


def create_app(service: Service, metrics: Metrics, version: str, max_body_bytes: int) -> FastAPI:
    """The ASGI application of `api.sock`."""
    app = FastAPI(
        title="intentd",
        version=version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would send the text wherever the Host header says
        # A variable in the environment turns it on, and it sends exceptions with their values away.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    _add_own_routes(app, service, max_body_bytes)
    _add_foreign_routes(app, service, max_body_bytes)
    _add_operations_routes(app, service, metrics)
    _add_error_handlers(app)
    app.add_middleware(_Watch, metrics=metrics)
    return app


def _add_own_routes(app: FastAPI, service: Service, max_body_bytes: int) -> None:
    @app.post(
        "/v1/classify",
        responses=responses(ClassifyAnswer | BatchAnswer, 400, 413, 415, 422, 429, 503),
        openapi_extra=request_body(ClassifyRequest),
    )
    async def classify(request: Request) -> Response:
        """Say what a text asks for: one answer for `text`, `predictions` for `texts`."""
        body = decode(ClassifyRequest, await _read_body(request, max_body_bytes))
        answers = await _classify(service, body, request)
        if body.text is not None:
            return _json(answers[0])
        return _json(BatchAnswer(predictions=answers))

    @app.get("/v1/intents", responses=responses(IntentsAnswer))
    async def intents() -> Response:
        """The intents that are scored when a request brings no labels."""
        return _json(service.describe_intents())

    @app.get("/v1/model", responses=responses(ModelAnswer))
    async def model() -> Response:
        """The bundle that answers."""
        return _json(service.describe_model())


def _add_foreign_routes(app: FastAPI, service: Service, max_body_bytes: int) -> None:
    async def hub_classify(request: Request) -> Response:
        """The Hugging Face inference format, as `huggingface_hub.InferenceClient` speaks it."""
        body = decode(HubRequest, await _read_body(request, max_body_bytes))
        shape = hub.reads_pipeline_shape(
            request.headers.get("user-agent", ""), request.query_params.get("format")
        )
        question = hub.hub_request(body, _task_of(request))
        answers = await _classify(service, question, request)
        return _foreign(hub.hub_answer(body, answers, shape), answers)

    for path, names in HUB_PATHS.items():
        extra = request_body(HubRequest) | {"parameters": [path_parameter(n) for n in names]}
        app.post(path, openapi_extra=extra)(hub_classify)

    @app.post(TEI_PATH, openapi_extra=request_body(TeiRequest))
    async def tei_predict(request: Request) -> Response:
        """The text-embeddings-inference format."""
        body = decode(TeiRequest, await _read_body(request, max_body_bytes))
        answers = await _classify(service, hub.tei_request(body), request)
        return _foreign(hub.tei_answer(body, answers), answers)


def _add_operations_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the daemon makes progress; restart it if not."""
        if not service.is_healthy():
            raise NotReady("the model's thread is stuck or gone; restart the daemon")
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether a request would be answered now: true after a warm inference."""
        if not service.is_ready:
            raise NotReady("the daemon is starting or stopping")
        return Response("ready\n", media_type="text/plain")

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Metrics in the Prometheus text format."""
        return Response(metrics.render(), media_type=PROMETHEUS)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(EdgeError)
    async def on_edge_error(request: Request, error: EdgeError) -> Response:
        headers = {}
        if isinstance(error, Unavailable):
            headers["Retry-After"] = str(error.retry_after_s)
        return _error(request, error.http_status, error.code, str(error), headers)

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(request: Request, _: ClientDisconnect) -> Response:
        return _error(request, ClientGone.http_status, ClientGone.code, "the body broke off", {})

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).name.lower()
        detail = f"{error.detail}; GET /openapi.json lists the routes"
        return _error(request, error.status_code, code, detail, dict(error.headers or {}))


class _Watch:
    """Counts every answer, and turns a bug into a 500 whose log line holds no user's text."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception as error:  # noqa: BLE001 — the last line of defence
            # Frames only: an exception's message may quote the user's text.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s in %s\n%s", type(error).__name__, _route(scope), frames)
            if not status:
                response = _error(Request(scope), 500, EdgeError.code, BUG, {})
                await response(scope, receive, note_status)
        finally:
            if scope["path"] not in ALIVE_PATHS:
                self._metrics.count_request(_route(scope), status)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """The body, counted while it comes, whether its length was declared or not.

    What is left of one that is refused, the server reads and drops, up to its deadline: were the
    connection closed instead, most clients would report a broken pipe and not the refusal.

    Raises:
        BodyTooLarge: It holds more than `max_bytes`.
        UnsupportedEncoding: It is compressed.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("Content-Encoding: expected none; send the body uncompressed")
    too_large = BodyTooLarge(
        f"a body holds at most {max_bytes} bytes; send less text, or fewer texts at once"
    )
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


async def _classify(
    service: Service, question: ClassifyRequest, request: Request
) -> list[ClassifyAnswer]:
    try:
        return await service.classify(question, request.is_disconnected)
    except asyncio.CancelledError:  # the server's, when the time to drain is over
        raise NotReady("the daemon stopped before the answer; ask again") from None


def _error(
    request: Request, status: int, code: str, detail: str, headers: dict[str, str]
) -> Response:
    """The error in the format of the route that it happened on."""
    if request.method == "POST" and _route(request.scope) in FOREIGN_PATHS:
        kind = "Overloaded" if code == Overloaded.code else "Validation"
        body: dict[str, Any] = {"error": detail}
        if _route(request.scope) == TEI_PATH:
            body["error_type"] = kind if status < HTTPStatus.INTERNAL_SERVER_ERROR else "Backend"
        return Response(json.dumps(body), status, headers, JSON)
    problem = Problem(title=_title(status), status=status, code=code, detail=detail)
    return Response(problem.model_dump_json(), status, headers, PROBLEM)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client closed request"  # 499 is nginx's, and in no standard


def _task_of(request: Request) -> str | None:
    """The task that the path names, if any: `/pipeline/{task}`, `/models/{id}/pipeline/{task}`."""
    _, found, task = request.url.path.rpartition("/pipeline/")
    return task if found else None


def _route(scope: Scope) -> str:
    """The route's pattern; a path that came from outside is never a metric's label."""
    return getattr(scope.get("route"), "path", "unknown")


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type=JSON)


def _foreign(body: Any, answers: list[ClassifyAnswer]) -> Response:
    """A foreign body; what it has no field for goes into headers."""
    headers = {
        "X-Intentd-Model": answers[0].model.digest,
        "X-Intentd-Truncated": str(any(answer.tokens.truncated for answer in answers)).lower(),
    }
    return Response(json.dumps(body, ensure_ascii=False), 200, headers, JSON)
