"""The routes of `admin.sock`: bytes → `edge.wire` → use case → bytes.

Whoever may write to the socket's file may do all of it: the file's mode is the authorisation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from edge.curation import Curation
from edge.metrics import Metrics
from edge.model_routes import add_model_routes
from edge.openapi import path_parameter, query_parameter, request_body, responses
from edge.service import Service
from edge.swap.desk import ModelDesk
from edge.web import new_app, read_body, read_number, reply, until_stopped
from edge.wire import (
    AckAnswer,
    AckRequest,
    CorrectionDetail,
    CorrectionsAnswer,
    CursorAnswer,
    DeadAnswer,
    EpochAnswer,
    EpochRequest,
    ErasedAnswer,
    EraseRequest,
    OutboxAnswer,
    ReceiptsAnswer,
    ReceiptsRequest,
    RedriveAnswer,
    RedriveRequest,
    SentAnswer,
    SentRequest,
    StatsAnswer,
    decode,
)

__all__ = ["create_admin_app"]

DESCRIPTION = (
    "Corrections with their texts, erasure, the outbox that `intentd sync` empties, and models. "
    "Every error is `application/problem+json` with a stable `code`."
)
MAX_PAGE = 1000
MAX_SEQ = 2**53
WRONG_BODY = (400, 413, 415, 422)
NOT_NOW = (429, 503, 507)

Body = TypeVar("Body", bound=BaseModel)


def create_admin_app(
    service: Service,
    curation: Curation,
    metrics: Metrics,
    version: str,
    max_body_bytes: int,
    desk: ModelDesk | None = None,
) -> FastAPI:
    """The ASGI application of `admin.sock`; without a desk it has no routes about models."""
    app = new_app("intentd admin", DESCRIPTION, version, metrics)
    _add_correction_routes(app, service, curation)
    post = _Poster(app, max_body_bytes)
    post("/v1/corrections/erase", EraseRequest, ErasedAnswer, curation.erase_all)
    post("/v1/outbox/sent", SentRequest, SentAnswer, curation.mark_sent)
    post("/v1/outbox/ack", AckRequest, AckAnswer, curation.acknowledge)
    post("/v1/outbox/receipts", ReceiptsRequest, ReceiptsAnswer, curation.record_receipts)
    post("/v1/outbox/epoch", EpochRequest, EpochAnswer, curation.bump_epoch)
    post("/v1/outbox/redrive", RedriveRequest, RedriveAnswer, curation.redrive)
    _add_outbox_routes(app, curation)
    if desk is not None:
        add_model_routes(app, desk, max_body_bytes)
    return app


class _Poster:
    """Adds a route that takes one message and gives another."""

    def __init__(self, app: FastAPI, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    def __call__(
        self,
        path: str,
        model: type[Body],
        answer: type[BaseModel],
        act: Callable[[Body], Awaitable[BaseModel]],
    ) -> None:
        async def handle(request: Request) -> Response:
            body = decode(model, await read_body(request, self._max_body_bytes))
            return reply(await until_stopped(act(body)))

        self._app.post(
            path,
            description=act.__doc__,
            name=act.__name__,
            responses=responses(answer, *WRONG_BODY, *NOT_NOW),
            openapi_extra=request_body(model),
        )(handle)


def _add_correction_routes(app: FastAPI, service: Service, curation: Curation) -> None:
    @app.get(
        "/v1/corrections",
        responses=responses(CorrectionsAnswer, 422, *NOT_NOW),
        openapi_extra=_parameters(after="integer", limit="integer", label="string", kind="string"),
    )
    async def corrections(request: Request) -> Response:
        """One page of corrections with their texts, in the order in which they were made."""
        after = read_number(request, "after", 0, 0, MAX_SEQ)
        limit = read_number(request, "limit", 100, 1, MAX_PAGE)
        wanted = request.query_params.get("label"), request.query_params.get("kind")
        return reply(await until_stopped(curation.corrections(after, limit, *wanted)))

    one = {"parameters": [path_parameter("correction_id")]}
    found = responses(CorrectionDetail, 404, *NOT_NOW)

    @app.get("/v1/corrections/{correction_id}", responses=found, openapi_extra=one)
    async def correction(request: Request) -> Response:
        """One correction with its text."""
        correction_id = request.path_params["correction_id"]
        return reply(await until_stopped(curation.correction(correction_id)))

    erased = responses(ErasedAnswer, 404, *NOT_NOW)

    @app.delete("/v1/corrections/{correction_id}", responses=erased, openapi_extra=one)
    async def erase(request: Request) -> Response:
        """Erase a correction and its prediction for good, here and upstream."""
        return reply(await until_stopped(curation.erase(request.path_params["correction_id"])))

    @app.get("/v1/stats", responses=responses(StatsAnswer, *NOT_NOW))
    async def stats() -> Response:
        """Counts by label, agreement by day, and how the stores do."""
        return reply(await until_stopped(curation.stats(service.label_set)))


def _add_outbox_routes(app: FastAPI, curation: Curation) -> None:
    @app.get(
        "/v1/outbox",
        responses=responses(OutboxAnswer, 422, *NOT_NOW),
        openapi_extra=_parameters(limit="integer"),
    )
    async def outbox(request: Request) -> Response:
        """What upstream has not confirmed yet, oldest first."""
        limit = read_number(request, "limit", 500, 0, MAX_PAGE)
        return reply(await until_stopped(curation.outbox(limit)))

    @app.get("/v1/outbox/cursor", responses=responses(CursorAnswer, *NOT_NOW))
    async def cursor() -> Response:
        """Where this device stands towards upstream."""
        return reply(await until_stopped(curation.cursor()))

    @app.get(
        "/v1/outbox/dead",
        responses=responses(DeadAnswer, 422, *NOT_NOW),
        openapi_extra=_parameters(limit="integer"),
    )
    async def dead_letter(request: Request) -> Response:
        """What upstream refused for good, and why."""
        limit = read_number(request, "limit", 100, 1, MAX_PAGE)
        return reply(await until_stopped(curation.dead_letter(limit)))


MEANINGS = {
    "after": "Only those with a higher seq; the `next` of the page before.",
    "limit": f"How many, at most {MAX_PAGE}.",
    "label": "Only those with this label.",
    "kind": "Only `correction` or only `confirmation`.",
}


def _parameters(**kinds: str) -> dict[str, Any]:
    listed = [query_parameter(name, kind, MEANINGS[name]) for name, kind in kinds.items()]
    return {"parameters": listed}
