"""The ASGI application: wiring, limits and errors; any error becomes an answer here."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from edge.errors import EdgeError, InvalidValue, Unavailable
from training.collector.database import Database
from training.collector.errors import BodyIncomplete
from training.collector.limits import TokenBuckets
from training.collector.logs import write_event
from training.collector.metrics import Metrics
from training.collector.migrate import check_schema
from training.collector.routes import add_operations_routes, add_routes
from training.collector.service import Service
from training.collector.settings import Settings
from training.collector.wire import Problem

__all__ = ["create_app"]

log = logging.getLogger("intentd.collector")

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

PROBLEM = "application/problem+json"
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
BUG = "a bug in the collector; its log holds the place, never a text; please report it"
DESCRIPTION = (
    "Takes in the corrections of many boxes, each exactly once. Every error is "
    "`application/problem+json` with a stable `code`."
)


def create_app(settings: Settings) -> FastAPI:
    """The application of one process, with a pool of its own."""
    database = Database.open(settings.database, connections=settings.threads + 1, deadlines=True)
    metrics = Metrics()
    service = Service(settings, database, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(check_schema, database)
        yield
        await asyncio.to_thread(database.close)

    app = FastAPI(
        title="intentd collector",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # A variable in the environment turns it on, and it sends exceptions with their values away.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    buckets = TokenBuckets(settings.rate_per_minute, settings.burst)
    add_routes(app, settings, service, buckets)
    add_operations_routes(app, database, metrics)
    _add_error_handlers(app)
    app.add_middleware(_Watch, metrics=metrics)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(EdgeError)
    async def on_edge_error(_: Request, error: EdgeError) -> Response:
        headers = {}
        if isinstance(error, Unavailable):
            headers["Retry-After"] = str(error.retry_after_s)
        if error.http_status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return _problem(error.http_status, error.code, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def on_bad_query(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _problem(422, InvalidValue.code, f"{where}: {first['msg']}", {})

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(_: Request, __: ClientDisconnect) -> Response:
        return _problem(BodyIncomplete.http_status, BodyIncomplete.code, "the body broke off", {})

    @app.exception_handler(HTTPException)
    async def on_http_error(_: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).name.lower()
        detail = f"{error.detail}; GET /openapi.json lists the routes"
        return _problem(error.status_code, code, detail, dict(error.headers or {}))


class _Watch:
    """Counts and logs every answer, and turns a bug into a 500 whose log line holds no text."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception as error:  # noqa: BLE001 — the last line of defence
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s in %s\n%s", type(error).__name__, _route(scope), frames)
            if not status:
                await _problem(500, EdgeError.code, BUG, {})(scope, receive, note_status)
        finally:
            if scope["path"] not in QUIET_PATHS:
                self._metrics.count_request(_route(scope), status)
                milliseconds = round((time.perf_counter() - started) * 1e3, 1)
                facts = scope.get("state", {}).get("facts", {})
                write_event(
                    log, "request", route=_route(scope), status=status, ms=milliseconds, **facts
                )


def _problem(status: int, code: str, detail: str, headers: dict[str, str]) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    return Response(problem.model_dump_json(), status, headers, PROBLEM)


def _route(scope: Message) -> str:
    """The route's pattern; a path that came from outside is never a metric's label."""
    return getattr(scope.get("route"), "path", "unknown")
