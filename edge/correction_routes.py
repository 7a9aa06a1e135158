"""The routes of `api.sock` about corrections: bytes → `edge.wire` → use case → bytes."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from edge.corrections import Corrections
from edge.openapi import path_parameter, query_parameter, request_body, responses
from edge.service import Service
from edge.web import read_body, read_number, reply, until_stopped
from edge.wire import (
    CorrectionAnswer,
    CorrectionFate,
    CorrectionRequest,
    ReviewAnswer,
    decode,
)

__all__ = ["MAX_REVIEW", "add_correction_routes"]

CREATED = 201
DEFAULT_REVIEW = 20
MAX_REVIEW = 200


def add_correction_routes(
    app: FastAPI, service: Service, corrections: Corrections, max_body_bytes: int
) -> None:
    """Add them; the service knows the labels of a text that brings none."""
    answers = responses(CorrectionAnswer, 400, 404, 409, 413, 415, 422, 429, 503, 507)
    answers[CREATED] = {"model": CorrectionAnswer, "description": "Durable"}

    @app.post(
        "/v1/corrections",
        responses=answers,
        openapi_extra=request_body(CorrectionRequest),
    )
    async def correct(request: Request) -> Response:
        """Say what a text should have been; 201 once it is durable, 200 for a repetition."""
        body = decode(CorrectionRequest, await read_body(request, max_body_bytes))
        answer, is_new = await until_stopped(corrections.correct(body, service.label_set))
        return reply(answer, CREATED if is_new else 200)

    @app.get(
        "/v1/corrections/{correction_id}",
        responses=responses(CorrectionFate, 404, 429, 503, 507),
        openapi_extra={"parameters": [path_parameter("correction_id")]},
    )
    async def fate(request: Request) -> Response:
        """How far a correction has come; never its text."""
        return reply(await until_stopped(corrections.fate(request.path_params["correction_id"])))

    how_many = query_parameter("limit", "integer", f"How many, at most {MAX_REVIEW}.")

    @app.get(
        "/v1/review",
        responses=responses(ReviewAnswer, 422, 429, 503, 507),
        openapi_extra={"parameters": [how_many]},
    )
    async def review(request: Request) -> Response:
        """What to label next: low confidence, disagreement, and a random audit."""
        limit = read_number(request, "limit", DEFAULT_REVIEW, 1, MAX_REVIEW)
        return reply(await until_stopped(corrections.review(limit)))
