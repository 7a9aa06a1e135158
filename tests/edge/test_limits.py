"""Tests for edge.limits without a server; tests/edge/test_protocol.py has those over a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from edge.limits import App, BodyLimit, Message, Receive, Scope, Send

LIMIT = 10


def call(app: App, chunks: Iterable[bytes] = (b"",), declared: int | None = None) -> list[Message]:
    """Send a request through the limit; give what came back."""
    sent: list[Message] = []
    parts = list(chunks)
    length = [] if declared is None else [(b"content-length", str(declared).encode())]
    headers = [*length, (b"content-type", b"application/json")]

    async def receive() -> Message:
        body = parts.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(BodyLimit(app, LIMIT)(scope, receive, send))
    return sent


async def reader(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads all, then says how much."""
    read = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        read += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(read).encode()})


def status_of(sent: list[Message]) -> int:
    """The one status of the one answer."""
    starts = [m["status"] for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1
    return int(starts[0])


@given(st.lists(st.binary(max_size=LIMIT), min_size=1, max_size=6))
def test_a_body_is_refused_exactly_when_it_is_over_the_limit(chunks: list[bytes]) -> None:
    """However it is cut into chunks, and without a declared length."""
    total = sum(map(len, chunks))
    sent = call(reader, chunks)
    assert status_of(sent) == (413 if total > LIMIT else 200)
    if total <= LIMIT:
        assert sent[-1]["body"] == str(total).encode()


def test_declared_length_over_the_limit_is_refused_before_the_app() -> None:
    """The application never learns of the request."""

    async def never(*_: object) -> None:
        raise AssertionError("the application was called")

    assert status_of(call(never, [], declared=LIMIT + 1)) == 413


def test_refusal_is_a_problem_that_closes_the_connection() -> None:
    """RFC 9457, with a stable code and a way out."""
    start, body = call(reader, [b"a" * (LIMIT + 1)])
    problem = json.loads(body["body"])
    assert (b"connection", b"close") in start["headers"]
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert problem["code"] == "body_too_large"
    assert "at most 10 bytes" in problem["detail"]


def test_framework_cannot_turn_the_refusal_into_its_own_answer() -> None:
    """FastAPI answers 400 to any exception in reading a body: it must not get through."""
    app = FastAPI()

    @app.post("/")
    async def post(request: Request, body: dict[str, str]) -> str:
        raise AssertionError("the route was called")

    assert status_of(call(app, [b'{"a":', b'"aaaaaaaaaaaa"}'])) == 413


def test_errors_of_the_application_pass_through() -> None:
    """Only what follows a refusal is the refusal's fault."""

    async def buggy(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(buggy)


def test_answer_that_has_begun_is_broken_off() -> None:
    """Too late for a 413: nothing more is sent, so that the server closes the connection."""

    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b"all is well"})

    sent = call(hasty, [b"a" * (LIMIT + 1)])
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_what_is_not_http_is_left_alone() -> None:
    """Lifespan messages have no body."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    asyncio.run(BodyLimit(app, LIMIT)({"type": "lifespan"}, receive, send))
    assert seen == ["lifespan"]
