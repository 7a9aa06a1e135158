"""What both sockets' applications share: errors become answers, bodies are bounded, all count.

It knows no route but those whose errors have a form of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from inspect import signature
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import request_response

from edge.asgi import App, Message, Receive, Scope, Send
from edge.errors import (
    BodyTooLarge,
    ClientGone,
    EdgeError,
    InvalidValue,
    NotReady,
    Overloaded,
    Unavailable,
    UnsupportedEncoding,
)
from edge.metrics import Metrics
from edge.wire import Problem

__all__ = [
    "FOREIGN_PATHS",
    "HUB_PATHS",
    "JSON",
    "TEI_PATH",
    "new_app",
    "read_body",
    "read_number",
    "reply",
    "until_stopped",
]

log = logging.getLogger("intentd.api")

JSON = "application/json"
PROBLEM = "application/problem+json"
HUB_PATHS = {"/": (), "/models/{model_id:path}": ("model_id",), "/pipeline/{task}": ("task",)}
"""Each with its parameters' names."""
TEI_PATH = "/predict"
FOREIGN_PATHS = frozenset({*HUB_PATHS, TEI_PATH})
ALIVE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that watchers poll; they are not counted as requests."""
MAX_DIGITS = 18

BUG = "a bug in intentd; the log holds the place, never your text; please report it"

Result = TypeVar("Result")


def new_app(title: str, description: str, version: str, metrics: Metrics) -> FastAPI:
    """An application without routes, whose errors are answers and whose answers are counted."""
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would send the text wherever the Host header says
        # A variable in the environment turns it on, and it sends exceptions with their values away.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.router.route_class = _PlainRoute
    _add_error_handlers(app)
    app.add_middleware(_Watch, metrics=metrics)
    return app


class _PlainRoute(APIRoute):
    """A route that FastAPI describes and Starlette runs.

    Our endpoints take the request, or nothing, and answer with a response, so there is nothing to
    inject or to serialise, and no file to clean up: a quarter of what a request takes outside the
    model (benchmarks/NOTES.md).
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any
    ) -> None:
        super().__init__(path, endpoint, **options)
        takes_request = bool(signature(endpoint).parameters)

        async def answer(request: Request) -> Response:
            return await (endpoint(request) if takes_request else endpoint())

        self.app = request_response(answer)


def reply(answer: BaseModel, status: int = 200) -> Response:
    """The answer as JSON."""
    return Response(answer.model_dump_json(), status, media_type=JSON)


def read_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query string.

    Raises:
        InvalidValue: Not a number, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    if not is_number or not low <= int(text) <= high:
        raise InvalidValue(f"{name}: expected a whole number from {low} to {high}")
    return int(text)


async def until_stopped(work: Awaitable[Result]) -> Result:
    """The result; what the server gives up at the end of its drain is answered, not cut off.

    Raises:
        NotReady: The server gave it up.
    """
    try:
        return await work
    except asyncio.CancelledError:
        raise NotReady("the daemon stopped before the answer; ask again") from None


async def read_body(request: Request, max_bytes: int) -> bytes:
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


def _route(scope: Scope) -> str:
    """The route's pattern; a path that came from outside is never a metric's label."""
    return getattr(scope.get("route"), "path", "unknown")
