"""Tests for edge.protocol: a real server on a real Unix socket, and clients who misbehave."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.asgi import Receive, Scope, Send
from edge.protocol import ConnectionLimits, Peer, _OneWrite, peer_of, server_config

PATIENCE_S = 10.0  # how long a test waits for what must happen; nothing is asserted about less
SHORT_S = 0.7  # and what a busy machine may hold a prompt client up
LAZY_S = 2.0  # how long the demo's `/lazy` reads nothing
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LIMITS = ConnectionLimits(
    header_timeout_s=SHORT_S,
    body_timeout_s=SHORT_S,
    idle_timeout_s=SHORT_S,
    write_timeout_s=SHORT_S,
)


@dataclass
class Served:
    """A server in a thread, and what its loop and its logger had to complain about."""

    path: Path
    server: uvicorn.Server
    complaints: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        """A client whose every call fails the test rather than hang."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)
        client.connect(str(self.path))
        return client

    def talk(self, *parts: bytes) -> bytes:
        """Send, and read until the server closes."""
        with self.connect() as client:
            for part in parts:
                client.sendall(part)
            return read_to_end(client)

    def open_connections(self) -> int:
        """How many the server holds."""
        return len(self.server.server_state.connections)


class Complaints(logging.Handler):
    """Collects what uvicorn logs as an error in this thread, hence of one server."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.into = into
        thread = threading.get_ident()
        self.addFilter(lambda record: record.thread == thread)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.into.append(record.getMessage())


@contextmanager
def serving(limits: ConnectionLimits = LIMITS, drain_timeout_s: float = 5) -> Iterator[Served]:
    """Serve until the end of the block; then it must stop, having complained about nothing."""
    config = server_config(demo, limits, drain_timeout_s)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pr") as directory:
        served = Served(Path(directory) / "s", uvicorn.Server(config))
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(served.path))
            listening.listen()
            thread = threading.Thread(target=asyncio.run, args=(run(served, listening),))
            thread.start()
            try:
                wait_for(lambda: served.server.started)
                yield served
            finally:
                served.server.should_exit = True
                thread.join(PATIENCE_S * 2)
            assert not thread.is_alive(), "the server did not stop"
    assert served.complaints == []


async def run(served: Served, listening: socket.socket) -> None:
    """The server's thread."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: served.complaints.append(str(context)))
    with logged(served.complaints):
        await served.server.serve(sockets=[listening])


@contextmanager
def logged(into: list[str]) -> Iterator[None]:
    """Collect uvicorn's errors for a while."""
    handler = Complaints(into)
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


async def demo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how much it read; `/big?n` answers n bytes, `/early` reads nothing, `/lazy` late."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    query = scope["query_string"].decode()
    if scope["path"] == "/lazy":
        await asyncio.sleep(LAZY_S)  # a slow part of the app, not a wait for something
    read = 0 if scope["path"] == "/early" else await read_all(receive)
    if read is None:
        return
    peer = scope["state"]["peer"]
    body = json.dumps({"read": read, "target": query, "peer": [peer.pid, peer.uid, peer.gid]})
    data = b"x" * int(query) if scope["path"] == "/big" else body.encode()
    if scope["path"] == "/stream":
        await stream(send)
        return
    headers = [(b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def stream(send: Send) -> None:
    """An answer in parts, far too many for any buffer."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for more_body in [True] * 100 + [False]:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": more_body})


async def lifespan(receive: Receive, send: Send) -> None:
    """Start and stop without ado."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def read_all(receive: Receive) -> int | None:
    """Size of the body; None when the client has gone."""
    read = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        read += len(message["body"])
        if not message["more_body"]:
            return read


def read_to_end(client: socket.socket) -> bytes:
    """All bytes until the server closes; a reset after them counts as closing."""
    data = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            data += part
    return data


def read_raw_answer(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer, and not a byte of the next."""
    head = body = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"closed after {head!r}"
        head += byte
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        part = client.recv(length - len(body))
        assert part, f"closed after {len(body)} of {length} bytes"
        body += part
    return int(head.split()[1]), body


def read_answer(client: socket.socket) -> dict[str, Any]:
    """One answer of the demo app."""
    status, body = read_raw_answer(client)
    return {"status": status, **json.loads(body)}


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def is_answered(served: Served) -> bool:
    """Whether a request is; not when this process was too slow to send it in time."""
    with served.connect() as client, suppress(AssertionError, ConnectionError):
        client.sendall(GET)
        return bool(read_answer(client)["status"] == 200)
    return False


def trickle(client: socket.socket, data: bytes) -> bytes:
    """Send a byte at a time, for ever, until the server closes; give what it said."""
    deadline = time.monotonic() + PATIENCE_S
    client.settimeout(0.02)
    said = b""
    while time.monotonic() < deadline:
        with suppress(BrokenPipeError, ConnectionResetError):
            client.send(data[:1])
        data = data[1:] + data[:1]
        try:
            part = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return said
        if not part:
            return said
        said += part
    raise AssertionError("a trickle of bytes kept the connection open")


def problem_of(answer: bytes) -> dict[str, Any]:
    """The body of a refusal, which must be the last thing said, and complete."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    assert b"content-length: %d" % len(body) in head.lower()
    problem: dict[str, Any] = json.loads(body)
    assert problem.keys() == {"type", "title", "status", "code", "detail"}
    assert head.rpartition(b"HTTP/1.1 ")[2].startswith(str(problem["status"]).encode())
    return problem


@pytest.fixture(scope="module")
def short() -> Iterator[Served]:
    """One server with short deadlines, which every test of this module must leave in order."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def patient() -> Iterator[Served]:
    """One server with the default deadlines, for tests in which nobody is late."""
    with serving(ConnectionLimits()) as served:
        yield served


def test_request_is_answered_with_its_peer(patient: Served) -> None:
    """The application learns who connected, from the kernel."""
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    script += f"s.sendall({request!r}); print(s.makefile().read())"
    command = [sys.executable, "-c", script, str(patient.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        said, _ = client.communicate(timeout=PATIENCE_S)
    answer = json.loads(said[said.index("{") :])
    assert answer["peer"] == [client.pid, os.getuid(), os.getgid()]


class FakeConnection:
    """What the kernel shows of a peer in another namespace, which a test cannot always make."""

    def __init__(self, credentials: bytes | None) -> None:
        self.credentials = credentials

    def getsockopt(self, *_: int) -> bytes:
        """The credentials, or the error of a socket that has none."""
        if self.credentials is None:
            raise OSError
        return self.credentials


@pytest.mark.parametrize(
    ("credentials", "peer"),
    [
        ((7, 1000, 100), Peer(7, 1000, 100)),
        ((7, 0, 0), Peer(7, 0, 0)),
        ((0, 1000, 100), Peer(None, 1000, 100)),
        ((7, 65534, 65534), Peer(7, None, None)),
        ((0, 0xFFFFFFFF, 0xFFFFFFFF), Peer(None, None, None)),
        (None, Peer(None, None, None)),
    ],
)
def test_unmapped_identities_are_unknown(
    credentials: tuple[int, int, int] | None, peer: Peer
) -> None:
    """Pid 0 and id 65534 are shared by strangers: never an identity. Root is one."""
    raw = None
    if credentials is not None:
        raw = b"".join(n.to_bytes(4, sys.byteorder) for n in credentials)
    assert peer_of(FakeConnection(raw)) == peer


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA"])
def test_unfinished_headers_get_408(short: Served, begun: bytes) -> None:
    """A client that stops in its headers is told so and closed."""
    assert problem_of(short.talk(begun))["code"] == "request_timeout"


def test_trickled_headers_get_408(short: Served) -> None:
    """Slowloris: a byte now and then buys no time."""
    with short.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert problem_of(trickle(client, b"x: y\r\n"))["code"] == "request_timeout"


def test_trickled_headers_of_a_second_request_get_408(short: Served) -> None:
    """The deadline holds for every request of a connection, not only for the first."""
    with short.connect() as client:
        client.sendall(GET)
        assert read_answer(client)["status"] == 200
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert problem_of(trickle(client, b"x: y\r\n"))["code"] == "request_timeout"


def test_silent_connection_is_closed_silently(short: Served) -> None:
    """Who never asks gets no answer, and no place."""
    assert short.talk() == b""


def test_idle_connection_is_closed_silently(short: Served) -> None:
    """Keep-alive ends."""
    with short.connect() as client:
        client.sendall(GET)
        assert read_answer(client)["status"] == 200
        assert read_to_end(client) == b""


@pytest.mark.parametrize(
    "begun",
    [
        POST + b"Content-Length: 10\r\n\r\n",
        POST + b"Content-Length: 10\r\n\r\nhalf",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_unfinished_body_gets_408(short: Served, begun: bytes) -> None:
    """A body that stops is a timeout; the application is told that the client has gone."""
    assert problem_of(short.talk(begun))["code"] == "request_timeout"


def test_trickled_body_gets_408(short: Served) -> None:
    """A slow body is closed, however steadily it comes."""
    with short.connect() as client:
        client.sendall(POST + b"Content-Length: 90000\r\n\r\n")
        assert problem_of(trickle(client, b"a"))["code"] == "request_timeout"


@contextmanager
def nearly_whole_body() -> Iterator[socket.socket]:
    """A client who owes one byte to an application that does not read for twice the deadline."""
    limits = ConnectionLimits(body_timeout_s=LAZY_S / 1.9)
    with serving(limits) as served, served.connect() as client:
        client.sendall(b"POST /lazy HTTP/1.1\r\nHost: x\r\nContent-Length: 80001\r\n\r\n")
        client.sendall(b"a" * 80_000)
        yield client


def test_client_is_not_blamed_for_a_slow_application() -> None:
    """While the application does not read, the deadline waits; then the client has all of it."""
    with nearly_whole_body() as client:
        # A deadline set while nobody read would end just after the reading began.
        timer = threading.Timer(LAZY_S * 1.2, client.sendall, [b"a"])
        timer.start()
        assert read_answer(client)["read"] == 80_001
        timer.join()


def test_client_is_blamed_once_the_application_reads() -> None:
    """A body that stops is a timeout after a pause, too."""
    with nearly_whole_body() as client:
        assert problem_of(read_to_end(client))["code"] == "request_timeout"


def test_rest_of_an_unread_body_has_a_deadline(short: Served) -> None:
    """An answer given before the body came does not end the client's duty."""
    with short.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n")
        assert read_answer(client)["status"] == 200
        assert trickle(client, b"a") == b""


def test_connection_is_usable_after_an_unread_body(short: Served) -> None:
    """When the rest does come, the next request is answered, and idling is bounded again."""
    with short.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        assert read_answer(client)["status"] == 200
        client.sendall(b"hello" + GET)
        assert read_answer(client)["status"] == 200
        assert read_to_end(client) == b""


def test_connection_idle_after_a_discarded_body_is_closed(short: Served) -> None:
    """Uvicorn itself would keep this one for ever."""
    with short.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        assert read_answer(client)["status"] == 200
        client.sendall(b"hello")
        assert read_to_end(client) == b""


def padded_request(size: int) -> bytes:
    """A request whose line and headers hold exactly `size` bytes."""
    bare = len(GET) + len(b"p: \r\n")
    return GET.removesuffix(b"\r\n") + b"p: " + b"a" * (size - bare) + b"\r\n\r\n"


def test_header_limit_is_exact(patient: Served) -> None:
    """The limit counts the request line, the headers and the blank line, in one packet or not."""
    limit = LIMITS.max_header_bytes
    whole = padded_request(limit)
    assert len(whole) == limit
    with patient.connect() as client:
        client.sendall(whole[:1000])
        client.sendall(whole[1000:])
        assert read_answer(client)["status"] == 200
        client.sendall(whole + GET)
        assert [read_answer(client)["status"] for _ in range(2)] == [200, 200]
    over = padded_request(limit + 1)
    assert problem_of(patient.talk(over))["code"] == "headers_too_large"


@pytest.mark.parametrize("ending", [b"", b"\r\n\r\n"])
def test_huge_headers_get_431(patient: Served, ending: bytes) -> None:
    """Complete or not, headers of 100 kB are refused."""
    answer = patient.talk(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + ending)
    assert problem_of(answer)["code"] == "headers_too_large"


def test_huge_headers_behind_another_request_get_431(patient: Served) -> None:
    """Pipelining is no way around the limit."""
    answer = patient.talk(GET + padded_request(LIMITS.max_header_bytes + 1))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert problem_of(answer)["code"] == "headers_too_large"


def test_body_in_the_same_packet_is_no_header(patient: Served) -> None:
    """A small head with a large body behind it is fine."""
    with patient.connect() as client:
        client.sendall(POST + b"Content-Length: 90000\r\n\r\n" + b"a" * 90_000)
        assert read_answer(client)["read"] == 90_000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed_request"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "malformed_request"),
        (POST + b"Content-Length: -1\r\n\r\n", "malformed_request"),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "malformed_request"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed_request"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", "unsupported_encoding"),
    ],
)
def test_malformed_requests_get_a_problem(patient: Served, sent: bytes, code: str) -> None:
    """Nothing that cannot be parsed goes without an answer, or into a traceback."""
    assert problem_of(patient.talk(sent))["code"] == code


def test_malformed_chunk_after_the_answer_only_closes(patient: Served) -> None:
    """A second answer to one request would be read as the answer to the next."""
    with patient.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert read_answer(client)["status"] == 200
        client.sendall(b"zz\r\n")
        assert read_to_end(client) == b""


def test_pipelined_requests_are_answered_in_order(patient: Served) -> None:
    """Five requests in one packet, with and without bodies."""
    requests = [
        b"POST /?%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (n, n) + b"a" * n
        for n in range(5)
    ]
    with patient.connect() as client:
        client.sendall(b"".join(requests))
        answers = [read_answer(client) for _ in requests]
    assert [(a["target"], a["read"]) for a in answers] == [(str(n), n) for n in range(5)]


def test_garbage_after_a_pipelined_request_is_refused_after_its_answer(patient: Served) -> None:
    """What came before the garbage is answered first."""
    answer = patient.talk(GET + b"GARBAGE\x00\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert problem_of(answer)["code"] == "malformed_request"


def test_body_longer_than_declared_is_not_read_as_part_of_it(patient: Served) -> None:
    """Bytes beyond a lying Content-Length are another request, here a malformed one."""
    answer = patient.talk(POST + b"Content-Length: 2\r\n\r\n" + b"aa" + b"a" * 1000 + b"\r\n\r\n")
    assert b'"read": 2' in answer
    assert problem_of(answer)["code"] == "malformed_request"


def test_request_without_length_has_no_body(patient: Served) -> None:
    """HTTP/1.1: no Content-Length and no chunks mean an empty body."""
    with patient.connect() as client:
        client.sendall(POST + b"\r\n")
        assert read_answer(client)["read"] == 0


def test_expect_100_continue_is_answered_before_the_body(patient: Served) -> None:
    """As curl does with bodies above 1 MiB."""
    with patient.connect() as client:
        client.sendall(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert read_answer(client)["read"] == 5


@pytest.mark.parametrize("size", [1_000, 200_000, 260_000, 300_000, 5_000_000])
@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_reader_who_never_reads_is_cut_off(short: Served, size: int, header: bytes) -> None:
    """Whether the answer fits the kernel's buffer, asyncio's or neither, nothing leaks."""
    with short.connect() as client:
        wait_for(lambda: short.open_connections() == 1)
        client.sendall(b"GET /big?%d HTTP/1.1\r\nHost: x\r\n" % size + header + b"\r\n")
        wait_for(lambda: short.open_connections() == 0)


def test_reader_who_never_reads_a_stream_is_cut_off(short: Served) -> None:
    """While the application waits to say more, no request is complete; the reader still owes."""
    with short.connect() as client:
        wait_for(lambda: short.open_connections() == 1)
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: short.open_connections() == 0)
    wait_for(lambda: not short.server.server_state.tasks)


def test_reader_who_catches_up_keeps_the_connection(short: Served) -> None:
    """The deadline is for a standstill, not for a big answer."""
    size = 5_000_000
    with short.connect() as client:
        client.sendall(b"GET /big?%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        assert read_raw_answer(client) == (200, b"x" * size)
        until = time.monotonic() + 2 * SHORT_S
        while time.monotonic() < until:
            client.sendall(GET)
            assert read_answer(client)["status"] == 200


def test_connection_that_is_gone_leaves_nothing_behind() -> None:
    """A timer that still waited for it would keep its memory."""
    with serving(ConnectionLimits(header_timeout_s=60, idle_timeout_s=60)) as served:
        with served.connect() as client:
            client.sendall(GET)
            assert read_answer(client)["status"] == 200
            (protocol,) = served.server.server_state.connections
            remembered = weakref.ref(protocol)
            del protocol
        wait_for(lambda: gc.collect() >= 0 and remembered() is None)


def test_connections_over_the_limit_get_503_then_nothing() -> None:
    """More than the limit are told when to come back; more than twice the limit are cut off."""
    limits = ConnectionLimits(max_connections=2, grace_s=PATIENCE_S)
    with serving(limits) as served, ExitStack() as stack:
        first, second, third, fourth = (stack.enter_context(served.connect()) for _ in range(4))
        wait_for(lambda: served.open_connections() == 4)
        assert served.talk() == b""
        for refused in (third, fourth):
            refused.sendall(POST + b"Content-Length: 5\r\n\r\nhello")
            answer = read_to_end(refused)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert problem_of(answer)["code"] == "unavailable"
            retry_after = answer.lower().split(b"retry-after: ")[1].split(b"\r\n")[0]
            assert int(retry_after) >= 1
        for kept in (first, second):
            kept.sendall(GET)
            assert read_answer(kept)["status"] == 200


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\n", POST + b"Content-Length: 9\r\n\r\nhalf"]
)
def test_who_owes_a_request_makes_room_for_who_asks(begun: bytes) -> None:
    """A crowd that is silent or slow shuts nobody out; who asked before keeps the connection."""
    limits = ConnectionLimits(max_connections=3, grace_s=SHORT_S / 10)
    with serving(limits) as served, ExitStack() as stack:
        kept = stack.enter_context(served.connect())
        kept.sendall(GET)
        assert read_answer(kept)["status"] == 200
        for _ in range(6):
            with suppress(ConnectionError):
                stack.enter_context(served.connect()).sendall(begun)
        wait_for(lambda: is_answered(served))
        kept.sendall(GET)
        assert read_answer(kept)["status"] == 200


def test_place_is_free_again_after_a_client_leaves() -> None:
    """The limit counts open connections, not past ones."""
    with serving(ConnectionLimits(max_connections=1)) as served:
        for _ in range(5):
            with served.connect() as client:
                client.sendall(GET)
                assert read_answer(client)["status"] == 200
            wait_for(lambda: served.open_connections() == 0)


def test_server_stops_whatever_its_clients_are_in_the_middle_of() -> None:
    """Half a request, half a body, half an answer: none may hold the daemon at its stop."""
    begun = [b"", b"GET /", POST + b"Content-Length: 9\r\n\r\nhalf", GET]
    begun += [b"GET /big?5000000 HTTP/1.1\r\nHost: x\r\n\r\n"]
    limits = ConnectionLimits(idle_timeout_s=SHORT_S)
    with ExitStack() as clients, serving(limits, drain_timeout_s=1) as served:
        for data in begun:
            clients.enter_context(served.connect()).sendall(data)
        wait_for(lambda: served.open_connections() == len(begun))
        wait_for(lambda: served.server.server_state.total_requests == 2)
        served.server.should_exit = True
        # The half body is still being waited for: uvicorn cancels that request, and says so.
        wait_for(lambda: bool(served.complaints))
        assert "timeout graceful shutdown exceeded" in served.complaints[0]
        wait_for(lambda: not served.server.server_state.tasks)
        served.complaints.clear()


TOKENS = st.sampled_from(
    [
        *(
            b"GET ",
            b"POST ",
            b"CONNECT ",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"/",
            b"*",
            b"http://a/",
        ),
        *(
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b" HTTP/9.9\r\n",
            b"Host: x\r\n",
            b"\r\n",
            b"\n",
            b"\r",
        ),
        *(b"Content-Length: 3\r\n", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"a: \xff\r\n"),
        *(b"Expect: 100-continue\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"\x00", b": ", b"\r\n\r\n"),
        *(GET, POST, POST + b"\r\n", POST + b"Content-Length: 3\r\n\r\nabc"),
    ]
)
GARBAGE = st.lists(st.one_of(TOKENS, st.binary(max_size=60)), max_size=12)


@pytest.fixture(scope="module")
def hasty() -> Iterator[Served]:
    """A server whose deadlines are as short as a busy machine allows."""
    with serving(ConnectionLimits(8, 1024, 0.05, 0.05, 0.05, 0.05)) as served:
        yield served


@settings(max_examples=120, deadline=None)
@given(parts=GARBAGE)
def test_no_bytes_hang_or_break_the_server(hasty: Served, parts: list[bytes]) -> None:
    """Whatever is sent, the connection ends, and the next client is served."""
    with hasty.connect() as client:
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                client.sendall(part)
        read_to_end(client)
    wait_for(lambda: is_answered(hasty))
    assert hasty.complaints == []


class FakeTransport:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def write(self, data: bytes) -> None:
        """Something is sent."""
        self.done.append(data)

    def close(self) -> None:
        """It closes."""
        self.done.append("closed")

    def abort(self) -> None:
        """It closes at once."""
        self.done.append("aborted")

    def get_write_buffer_size(self) -> int:
        """What the reader has not taken."""
        return 100

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return "closed" in self.done


def test_head_and_body_of_an_answer_leave_as_one_piece() -> None:
    """What is written before the loop's next turn; closing sends it first, aborting never."""

    async def write(how: str) -> list[object]:
        inner = FakeTransport()
        transport = _OneWrite(cast(asyncio.Transport, inner), asyncio.get_running_loop())
        for data in (b"head ", b"", b"body"):
            transport.write(data)
        assert transport.get_write_buffer_size() == 109
        assert inner.done == []
        assert not transport.is_closing()
        if how:
            getattr(transport, how)()
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)
        return inner.done

    assert asyncio.run(write("")) == [b"head body", b"next"]
    assert asyncio.run(write("close"))[:2] == [b"head body", "closed"]
    assert asyncio.run(write("abort"))[:1] == ["aborted"]
    assert b"head body" not in asyncio.run(write("abort"))
