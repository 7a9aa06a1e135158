"""The routes: who asks, how much, then the service in a thread; nothing is decided here."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import FastAPI, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from edge.errors import NotReady, Overloaded
from training.collector.database import Database
from training.collector.limits import TokenBuckets, read_body
from training.collector.metrics import Metrics
from training.collector.migrate import check_schema
from training.collector.service import Service
from training.collector.settings import Settings
from training.collector.wire import (
    BatchAnswer,
    CorrectionRecord,
    CursorAnswer,
    Envelope,
    ErasureRecord,
    Problem,
    ReceiptsAnswer,
)

__all__ = ["add_operations_routes", "add_routes"]

Value = TypeVar("Value")

JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
MAX_RECEIPTS = 1000
SPREAD_S = 30
"""Boxes turned away by a full collector come back spread over this time, not all at once."""
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words}
    for status, words in {
        400: "Malformed as a whole",
        401: "No good token",
        403: "Another device's corrections",
        408: "The body did not come in time: send it again",
        413: "Too large: send fewer records",
        415: "Neither plain nor gzip",
        429: "Too often: see Retry-After",
        503: "Not now: see Retry-After",
    }.items()
}
BEARER = [Security(HTTPBearer(auto_error=False, scheme_name="bearer"))]
"""For the description only; `Service.authenticate` decides."""


class _Gate:
    """How many requests are held at once, and how many of them work."""

    def __init__(self, settings: Settings) -> None:
        self._waiting = settings.waiting
        self._held = 0
        self._threads = anyio.CapacityLimiter(settings.threads)

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        if self._held >= self._waiting:
            error = Overloaded("the collector holds as many requests as it can; come back later")
            error.http_status = 503
            error.retry_after_s = random.randint(1, SPREAD_S)  # noqa: S311 — not a secret
            raise error
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    async def run(self, work: Callable[..., Value], *args: Any) -> Value:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)


def add_routes(app: FastAPI, settings: Settings, service: Service, buckets: TokenBuckets) -> None:
    """What devices ask."""
    gate = _Gate(settings)

    async def identify(request: Request) -> str:
        header = request.headers.get("authorization", "")
        device = await gate.run(service.authenticate, header)
        request.state.facts = {"device": device}
        buckets.take(device)
        return device

    @app.post(
        "/v1/records",
        response_model=BatchAnswer,
        responses=RESPONSES,
        openapi_extra=_request_body(),
        dependencies=BEARER,
    )
    async def records(request: Request) -> Response:
        """Store a batch: one result a record, sent after the commit."""
        async with gate.enter():
            device = await identify(request)
            body, encoding = await read_body(
                request, settings.max_body_bytes, settings.body_timeout_s
            )
            answer = await gate.run(service.accept, device, body, encoding)
        request.state.facts |= Counter(result.status.value for result in answer.results)
        return Response(answer.model_dump_json(exclude_none=False), media_type=JSON)

    @app.get(
        "/v1/cursor",
        response_model=CursorAnswer,
        responses=_some(401, 429, 503),
        dependencies=BEARER,
    )
    async def cursor(request: Request) -> CursorAnswer:
        """The newest epoch of this device, and the highest number that came in it."""
        async with gate.enter():
            return await gate.run(service.cursor, await identify(request))

    @app.get(
        "/v1/receipts",
        response_model=ReceiptsAnswer,
        responses=_some(401, 429, 503),
        dependencies=BEARER,
    )
    async def receipts(
        request: Request,
        after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_RECEIPTS)] = MAX_RECEIPTS,
    ) -> ReceiptsAnswer:
        """Which builds used this device's records, oldest first."""
        async with gate.enter():
            return await gate.run(service.receipts, await identify(request), after, limit)


def add_operations_routes(app: FastAPI, database: Database, metrics: Metrics) -> None:
    """What watchers ask; they need no token and get nobody's data."""

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the process makes progress."""
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz", responses=_some(503))
    async def readyz() -> Response:
        """Whether the database answers, with the schema that this program writes."""
        try:
            await asyncio.to_thread(check_schema, database)
        except Exception as error:
            raise NotReady("the database does not answer, or has another schema") from error
        return Response("ready\n", media_type="text/plain")

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Metrics in the Prometheus text format."""
        return Response(metrics.render(), media_type=PROMETHEUS)


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: RESPONSES[status] for status in statuses}


def _request_body() -> dict[str, Any]:
    """The body's schema; the route reads the bytes itself, so that they can be bounded."""
    schema = Envelope.model_json_schema()
    schema["properties"]["records"]["items"] = {
        "oneOf": [CorrectionRecord.model_json_schema(), ErasureRecord.model_json_schema()]
    }
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}
