"""ASGI's types, and how a request is refused before any route has seen it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

__all__ = [
    "App",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "problem",
    "send_problem",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def send_problem(
    send: Send, status: int, code: str, detail: str, extra: Headers | None = None
) -> None:
    """Send a whole answer that refuses the request; `extra` headers follow the usual ones."""
    headers, body = problem(status, code, detail)
    start = {"type": "http.response.start", "status": status, "headers": headers + (extra or [])}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def problem(status: int, code: str, detail: str) -> tuple[Headers, bytes]:
    """Headers and body of an answer after which the connection closes. Source: RFC 9457."""
    title = HTTPStatus(status).phrase
    fields = {"type": "about:blank", "title": title, "status": status, "code": code}
    body = json.dumps({**fields, "detail": detail}).encode()
    return [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ], body
