"""The routes of `admin.sock` about models: bytes → `edge.wire` → use case → bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from edge.errors import InvalidValue, NotFound
from edge.openapi import path_parameter, query_parameter, request_body, responses
from edge.swap.desk import ModelDesk
from edge.web import read_body, read_number, reply, until_stopped
from edge.wire import decode
from edge.wire.models import (
    CONFIGURED,
    ActivateRequest,
    ActivationAnswer,
    BundleDetail,
    BundleFacts,
    DiffAnswer,
    KeepAnswer,
    KeepRequest,
    ModelsAnswer,
    RemovedAnswer,
    ShadowAnswer,
    ShadowRequest,
    VerifyAnswer,
)

__all__ = ["add_model_routes"]

CREATED, ACCEPTED = 201, 202
NOT_NOW = (409, 503, 507)
NAMED = (404, 422)
WRONG_BODY = (400, 413, 415, 422)


def add_model_routes(app: FastAPI, desk: ModelDesk, max_body_bytes: int) -> None:
    """Add them."""
    _add_activation_routes(app, desk, max_body_bytes)
    _add_shadow_routes(app, desk, max_body_bytes)
    _add_bundle_routes(app, desk)


def _add_activation_routes(app: FastAPI, desk: ModelDesk, max_body_bytes: int) -> None:
    begun = responses(ActivationAnswer, *WRONG_BODY, 404, *NOT_NOW)
    begun[ACCEPTED] = {"model": ActivationAnswer, "description": "It goes on in the background"}

    @app.post("/v1/models/activate", responses=begun, openapi_extra=request_body(ActivateRequest))
    async def activate(request: Request) -> Response:
        """Let a bundle answer: trial, probation, switch; `/v1/models/activation` tells how far."""
        body = decode(ActivateRequest, await read_body(request, max_body_bytes))
        return reply(await until_stopped(desk.activate(body)), ACCEPTED)

    @app.get("/v1/models/activation", responses=responses(ActivationAnswer, 404))
    async def activation() -> Response:
        """The activation that goes on, or the last one since the daemon started."""
        found = desk.activator.last()
        if found is None:
            raise NotFound("no model was activated since the daemon started")
        return reply(found)

    _add_words(app, "/v1/models/commit", desk.activator.commit)
    _add_words(app, "/v1/models/rollback", desk.roll_back)


def _add_words(app: FastAPI, path: str, act: Callable[[], Awaitable[ActivationAnswer]]) -> None:
    @app.post(
        path,
        name=act.__name__,
        description=(act.__doc__ or "").split("\n")[0],
        responses=responses(ActivationAnswer, 422, *NOT_NOW),
    )
    async def handle() -> Response:
        return reply(await until_stopped(act()))


def _add_shadow_routes(app: FastAPI, desk: ModelDesk, max_body_bytes: int) -> None:
    @app.post(
        "/v1/shadow/start",
        responses=responses(ShadowAnswer, *WRONG_BODY, 404, *NOT_NOW),
        openapi_extra=request_body(ShadowRequest),
    )
    async def start_shadow(request: Request) -> Response:
        """Let a bundle answer in the shadow, unheard, until stopped; restarts included."""
        body = decode(ShadowRequest, await read_body(request, max_body_bytes))
        if desk.activator.is_busy:
            raise InvalidValue("digest: an activation goes on; wait for its end")
        return reply(await until_stopped(desk.shadow.start(body.digest)))

    @app.post("/v1/shadow/stop", responses=responses(ShadowAnswer, *NOT_NOW))
    async def stop_shadow() -> Response:
        """End the comparison; tells how it stood."""
        return reply(await until_stopped(desk.shadow.stop()))

    @app.get("/v1/shadow", responses=responses(ShadowAnswer))
    async def shadow() -> Response:
        """How the bundle in the shadow compares so far."""
        return reply(desk.shadow.tell())

    @app.post(
        "/v1/model/keep",
        responses=responses(KeepAnswer, *WRONG_BODY, 503),
        openapi_extra=request_body(KeepRequest),
    )
    async def keep(request: Request) -> Response:
        """Keep the model in memory, asked or not."""
        body = decode(KeepRequest, await read_body(request, max_body_bytes))
        return reply(await until_stopped(desk.warmth.keep(body.seconds)))


def _add_bundle_routes(app: FastAPI, desk: ModelDesk) -> None:
    one = {"parameters": [path_parameter("digest")]}

    @app.get("/v1/models", responses=responses(ModelsAnswer))
    async def models() -> Response:
        """The bundles on this machine."""
        return reply(await until_stopped(desk.list()))

    ends = [
        query_parameter("from", "string", f"Digest, or `{CONFIGURED}`."),
        query_parameter("to", "string", f"Digest, or `{CONFIGURED}`."),
    ]

    @app.get(
        "/v1/models/diff",
        responses=responses(DiffAnswer, *NAMED, 507),
        openapi_extra={"parameters": ends},
    )
    async def diff(request: Request) -> Response:
        """What changes for clients from one bundle to another."""
        old, new = (request.query_params.get(name) for name in ("from", "to"))
        if old is None or new is None:
            raise InvalidValue("from, to: expected two digests")
        return reply(await until_stopped(desk.compare(old, new)))

    _add_install(app, desk)

    @app.get(
        "/v1/models/{digest}",
        responses=responses(BundleDetail, *NAMED, 507),
        openapi_extra=one,
    )
    async def model(request: Request) -> Response:
        """One bundle with its manifest."""
        return reply(await until_stopped(desk.facts(request.path_params["digest"])))

    @app.post(
        "/v1/models/{digest}/verify",
        responses=responses(VerifyAnswer, *NAMED, 507),
        openapi_extra=one,
    )
    async def verify(request: Request) -> Response:
        """Check every hash, and the self-test in a child process on this CPU."""
        return reply(await until_stopped(desk.catalog.verify(request.path_params["digest"])))

    @app.delete(
        "/v1/models/{digest}",
        responses=responses(RemovedAnswer, *NAMED, 507),
        openapi_extra=one,
    )
    async def remove(request: Request) -> Response:
        """Take a bundle away that is not in use."""
        return reply(await until_stopped(desk.remove(request.path_params["digest"])))


def _add_install(app: FastAPI, desk: ModelDesk) -> None:
    answers = responses(BundleFacts, 400, 413, 415, 422, 507)
    answers[CREATED] = {"model": BundleFacts, "description": "It was not there before"}
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = ("application/x-tar", "application/zip", "application/octet-stream")
    body = {"requestBody": {"required": True, "content": dict.fromkeys(kinds, binary)}}
    older = query_parameter("allow_older", "integer", "1 takes a version older than one before.")

    @app.post(
        "/v1/models/install", responses=answers, openapi_extra={**body, "parameters": [older]}
    )
    async def install(request: Request) -> Response:
        """Take in a bundle as a tar or zip; it answers nobody before it is activated."""
        is_older_fine = bool(read_number(request, "allow_older", 0, 0, 1))
        facts, is_new = await until_stopped(desk.install(request, is_older_fine))
        return reply(facts, CREATED if is_new else 200)
