"""HTTP over our own Unix sockets: uvicorn's h11 protocol, with a deadline on all a client owes.

It bounds connections, headers, time and unread answers, and says who the peer is. It knows no
route, and never looks into a body.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import struct
import sys
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from math import ceil
from typing import Any, ClassVar, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.asgi import App, Receive, Scope, Send, problem, send_problem
from edge.errors import Unavailable

__all__ = ["ConnectionLimits", "GuardedProtocol", "Peer", "peer_of", "server_config"]

CREDENTIALS = struct.Struct("iII")  # pid, uid, gid. Source: unix(7), SO_PEERCRED
# Source: user_namespaces(7). What the kernel shows for an id that our namespace does not map.
UNMAPPED_IDS = (65534, 0xFFFFFFFF)
BLANK_LINE = re.compile(rb"\n\r?\n")  # what h11 takes for the end of the headers
FIRST_CALL_S = 0.5  # for a connection that has just come, and has not asked yet
LAST_CALL_S = 0.05  # less than uvicorn's own pause between refusing connections and draining

REFUSALS = {
    400: ("malformed_request", "expected an HTTP/1.1 request, found something else"),
    408: ("request_timeout", "the request did not arrive in time; send it in one go"),
    431: ("headers_too_large", "the request line and headers are too long; move data to the body"),
    501: ("unsupported_encoding", "the only transfer encoding understood is chunked"),
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one client may cost. Times are seconds from the first moment of each stage."""

    max_connections: int = 256  # more get 503 at their first request; twice as many are cut off
    max_header_bytes: int = 16 << 10  # request line and headers together; more get 431
    header_timeout_s: float = 5.0  # from the connect, or the first byte, to the last header: 408
    body_timeout_s: float = 10.0  # from the last header to the last byte of the body: 408
    idle_timeout_s: float = 10.0  # between an answer and the next request
    write_timeout_s: float = 10.0  # that an answer may wait for its reader
    grace_s: float = 0.5  # who owes a request for longer is cut off first, when there are too many


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel saw it at connect(2); None means unknown, never "nobody".

    An identity of another namespace shows as pid 0 or id 65534, which many strangers share.
    """

    pid: int | None
    uid: int | None
    gid: int | None


class Stage(StrEnum):
    """What the connection waits for."""

    IDLE = "idle"  # the next request
    HEADERS = "headers"  # the rest of a request's headers
    BODY = "body"  # the rest of its body
    PAUSED = "paused"  # the application, which has not taken what came of the body
    ANSWER = "answer"  # us
    CLOSING = "closing"  # the reader of what we wrote last


OWING = (Stage.HEADERS, Stage.BODY)


class GuardedProtocol(H11Protocol):
    """One connection. Each stage has one timer, started once: a trickle of bytes buys no time."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    _since_s = 0.0
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _stage: Stage | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Learn the peer, and turn it away when there are too many."""
        super().connection_made(cast(asyncio.Transport, _OneWrite(transport, self.loop)))
        self.app_state = {**self.app_state, "peer": peer_of(transport.get_extra_info("socket"))}
        excess = len(self.connections) - self.limits.max_connections
        if excess > 0:
            excess -= self._make_room(excess)
        if excess > self.limits.max_connections:
            transport.abort()
        elif excess > 0:
            self.app = _refuse_connection
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, which would keep the connection's memory."""
        _cancel(self._timer, self._stall)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        super().data_received(data)
        self._watch()

    def handle_events(self) -> None:
        """Go on with what has been received, unless it is a request with too long headers."""
        if self._headers_overflow():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().handle_events()

    def shutdown(self) -> None:
        """Finish and close; a request that lies unread in the kernel's buffer is answered first.

        Closing at once would reset it. (Measured: 4 of 434 requests over 20 restarts under load.)
        """
        if self.cycle is None or self.cycle.response_complete:
            patience = FIRST_CALL_S if self.cycle is None else LAST_CALL_S
            self.loop.call_later(patience, super().shutdown)
        else:
            super().shutdown()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot parse, with the status that it suggests."""
        self._refuse(getattr(sys.exception(), "error_status_hint", 400))

    def pause_writing(self) -> None:
        """The reader is slow; it has `write_timeout_s` to catch up."""
        super().pause_writing()
        _cancel(self._stall)
        self._stall = self.loop.call_later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader caught up."""
        super().resume_writing()
        _cancel(self._stall)

    def _owes_since(self, latest_s: float) -> bool:
        """Whether the rest of a request is waited for, since before this moment."""
        return self._stage in OWING and self._since_s < latest_s

    def _make_room(self, needed: int) -> int:
        """Cut off those who owe us a request, the slowest first; how many are on their way out."""
        latest_s, leaving = self.loop.time() - self.limits.grace_s, 0
        slow: list[GuardedProtocol] = []
        for one in self.connections:
            if one.transport.is_closing():
                leaving += 1
            elif isinstance(one, GuardedProtocol) and one._owes_since(latest_s):
                slow.append(one)
        chosen = sorted(slow, key=lambda one: one._since_s)[: max(0, needed - leaving)]
        for one in chosen:
            one.transport.abort()
        return leaving + len(chosen)

    def _headers_overflow(self) -> bool:
        """Whether the headers pass the limit, which h11 checks only while they are incomplete."""
        if self.conn.their_state is not h11.IDLE:
            return False
        head = self.conn.trailing_data[0]
        if len(head) <= self.limits.max_header_bytes:
            return False
        end = BLANK_LINE.search(head)
        return end is None or end.end() > self.limits.max_header_bytes

    def _watch(self) -> None:
        """Start the timer of the stage that the connection has come to, if it is a new one."""
        stage = self._find_stage()
        if stage is self._stage:
            return
        self._stage, self._since_s = stage, self.loop.time()
        _cancel(self._timer)
        seconds = {
            Stage.IDLE: self.limits.idle_timeout_s,
            Stage.HEADERS: self.limits.header_timeout_s,
            Stage.BODY: self.limits.body_timeout_s,
            Stage.PAUSED: self.limits.body_timeout_s,  # then we look again
            Stage.CLOSING: self.limits.write_timeout_s,
        }
        if stage in seconds:
            self._timer = self.loop.call_later(seconds[stage], self._expire, stage)

    def _find_stage(self) -> Stage:
        if self.transport.is_closing():
            return Stage.CLOSING
        state = self.conn.their_state
        if state is h11.IDLE:
            begun = self.cycle is None or self.conn.trailing_data[0]
            return Stage.HEADERS if begun else Stage.IDLE
        if state is h11.SEND_BODY:
            return Stage.PAUSED if self.flow.read_paused else Stage.BODY
        return Stage.ANSWER

    def _expire(self, stage: Stage) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait for a reader who may never come
        elif stage is Stage.PAUSED:
            self._stage = None  # we were the slow one: the client gets all its time from now on
            self._watch()
        elif stage is Stage.BODY or self.conn.trailing_data[0]:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer with a problem if no answer has begun, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers, body = problem(status, *REFUSALS.get(status, REFUSALS[400]))
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [name + b": " + value for name, value in headers]
            self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()
        self._watch()


class _OneWrite:
    """A transport that sends the head and the body of an answer as one piece.

    Each piece costs a system call, and wakes a reader who cannot use it alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send it with what else is written before the event loop's next turn."""
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held.clear()
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that the reader has not taken."""
        return sum(map(len, self._held)) + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))


def server_config(app: App, limits: ConnectionLimits, drain_timeout_s: float) -> uvicorn.Config:
    """Uvicorn, set up for `Server.serve(sockets=[...])` with every socket ours.

    Args:
        app: The ASGI application; it must speak lifespan.
        limits: What one client may cost.
        drain_timeout_s: Time for requests in flight at shutdown; rounded up to whole seconds.
    """
    return uvicorn.Config(
        app,
        http=type("GuardedProtocol", (GuardedProtocol,), {"limits": limits}),
        loop="asyncio",
        ws="none",
        lifespan="on",  # "auto" takes a failing start for an app without lifespan, and serves on
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=128,
        timeout_keep_alive=ceil(limits.idle_timeout_s),
        timeout_graceful_shutdown=ceil(drain_timeout_s),
        h11_max_incomplete_event_size=limits.max_header_bytes,
    )


def peer_of(connection: Any) -> Peer:
    """Ask the kernel who is at the other end of a socket (or of asyncio's wrapper of one)."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    except OSError:
        return Peer(None, None, None)
    pid, uid, gid = CREDENTIALS.unpack(raw)
    return Peer(pid or None, *(None if i in UNMAPPED_IDS else i for i in (uid, gid)))


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    retry_after_s = 1 + secrets.randbelow(3)  # spread, lest those turned away return together
    await send_problem(
        send,
        Unavailable.http_status,
        Unavailable.code,
        "too many open connections; close idle ones and try again",
        [(b"retry-after", b"%d" % retry_after_s)],
    )


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()
