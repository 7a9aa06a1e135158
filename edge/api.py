"""The HTTP routes of `api.sock` that classify: bytes → `edge.wire` → service → bytes."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response

from edge import hub
from edge.correction_routes import add_correction_routes
from edge.corrections import Corrections
from edge.errors import NotReady
from edge.metrics import Metrics
from edge.openapi import path_parameter, request_body, responses
from edge.service import Service
from edge.web import HUB_PATHS, JSON, TEI_PATH, new_app, read_body, reply, until_stopped
from edge.wire import (
    BatchAnswer,
    ClassifyAnswer,
    ClassifyRequest,
    HubRequest,
    IntentsAnswer,
    ModelAnswer,
    Reason,
    TeiRequest,
    decode,
)

__all__ = ["create_app"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
DESCRIPTION = (
    "What does this text ask for? Every error is `application/problem+json` with a stable `code`, "
    "except on the Hugging Face and text-embeddings-inference routes, which have their own form."
)


def create_app(
    service: Service,
    corrections: Corrections,
    metrics: Metrics,
    version: str,
    max_body_bytes: int,
) -> FastAPI:
    """The ASGI application of `api.sock`."""
    app = new_app("intentd", DESCRIPTION, version, metrics)
    _add_own_routes(app, service, max_body_bytes)
    add_correction_routes(app, service, corrections, max_body_bytes)
    _add_foreign_routes(app, service, max_body_bytes)
    _add_operations_routes(app, service, corrections, metrics)
    metrics.expect_requests("/v1/classify")
    return app


def _add_own_routes(app: FastAPI, service: Service, max_body_bytes: int) -> None:
    @app.post(
        "/v1/classify",
        responses=responses(ClassifyAnswer | BatchAnswer, 400, 413, 415, 422, 429, 503),
        openapi_extra=request_body(ClassifyRequest),
    )
    async def classify(request: Request) -> Response:
        """Say what a text asks for: one answer for `text`, `predictions` for `texts`."""
        body = decode(ClassifyRequest, await read_body(request, max_body_bytes))
        answers = await until_stopped(service.classify(body, request.is_disconnected))
        if body.text is not None:
            return reply(answers[0])
        return reply(BatchAnswer(predictions=answers))

    @app.get("/v1/intents", responses=responses(IntentsAnswer))
    async def intents() -> Response:
        """The intents that are scored when a request brings no labels."""
        return reply(service.describe_intents())

    @app.get("/v1/model", responses=responses(ModelAnswer))
    async def model() -> Response:
        """The bundle that answers."""
        return reply(service.describe_model())


def _add_foreign_routes(app: FastAPI, service: Service, max_body_bytes: int) -> None:
    async def hub_classify(request: Request) -> Response:
        """The Hugging Face inference format, as `huggingface_hub.InferenceClient` speaks it."""
        body = decode(HubRequest, await read_body(request, max_body_bytes))
        shape = hub.reads_pipeline_shape(
            request.headers.get("user-agent", ""), request.query_params.get("format")
        )
        question = hub.hub_request(body, _task_of(request))
        answers = await until_stopped(service.classify(question, request.is_disconnected))
        return _foreign(hub.hub_answer(body, answers, shape), answers)

    for path, names in HUB_PATHS.items():
        extra = request_body(HubRequest) | {"parameters": [path_parameter(n) for n in names]}
        app.post(path, openapi_extra=extra)(hub_classify)

    @app.post(TEI_PATH, openapi_extra=request_body(TeiRequest))
    async def tei_predict(request: Request) -> Response:
        """The text-embeddings-inference format."""
        body = decode(TeiRequest, await read_body(request, max_body_bytes))
        answers = await until_stopped(
            service.classify(hub.tei_request(body), request.is_disconnected)
        )
        return _foreign(hub.tei_answer(body, answers), answers)


def _add_operations_routes(
    app: FastAPI, service: Service, corrections: Corrections, metrics: Metrics
) -> None:
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
        await corrections.measure()
        return Response(metrics.render(), media_type=PROMETHEUS)


def _task_of(request: Request) -> str | None:
    """The task that the path names, if any: `/pipeline/{task}`, `/models/{id}/pipeline/{task}`."""
    _, found, task = request.url.path.rpartition("/pipeline/")
    return task if found else None


def _foreign(body: Any, answers: list[ClassifyAnswer]) -> Response:
    """A foreign body; what it has no field for goes into headers."""
    headers = {
        "X-Intentd-Model": answers[0].model.digest,
        "X-Intentd-Corrected": str(any(a.reason is Reason.CORRECTED for a in answers)).lower(),
        "X-Intentd-Truncated": str(any(answer.tokens.truncated for answer in answers)).lower(),
    }
    return Response(json.dumps(body, ensure_ascii=False), 200, headers, JSON)
