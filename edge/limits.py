"""How an HTTP request is turned away: the size limit on its body, and the form of a refusal.

It speaks plain ASGI, and knows neither the server below it nor the routes above it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from edge.errors import BodyTooLarge

__all__ = [
    "App",
    "BodyLimit",
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


class BodyLimit:
    """ASGI middleware: a request's body holds at most `max_body_bytes`, declared or not."""

    def __init__(self, app: App, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body declared too long unread, and an undeclared one at the first byte over."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        meter = _Meter(self.max_body_bytes, receive, send)
        if _declared_bytes(scope) > self.max_body_bytes:
            await meter.refuse()
            return
        try:
            await self.app(scope, meter.receive, meter.send)
        except Exception:
            if not meter.refused:  # after a refusal, only the app's dismay at the "disconnect"
                raise


class _Meter:
    """One request's body, counted as it is read."""

    def __init__(self, limit: int, receive: Receive, send: Send) -> None:
        self.limit, self._receive, self._send = limit, receive, send
        self.read_bytes = 0
        self.started = False
        self.refused = False

    async def receive(self) -> Message:
        if not self.refused:
            message = await self._receive()
            self.read_bytes += len(message.get("body", b""))
            if self.read_bytes <= self.limit:
                return message
            await self.refuse()
        # Not an exception: frameworks turn one raised here into an answer of their own.
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self.refused:
            self.started = True
            await self._send(message)

    async def refuse(self) -> None:
        self.refused = True
        if self.started:  # too late for a status: uvicorn closes the half-sent answer
            return
        detail = f"a body holds at most {self.limit} bytes; send less text, or fewer texts at once"
        await send_problem(self._send, BodyTooLarge.http_status, BodyTooLarge.code, detail)


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


def _declared_bytes(scope: Scope) -> int:
    """The Content-Length; 0 when there is none (h11 has refused one that is not a number)."""
    return int(dict(scope["headers"]).get(b"content-length", 0))
