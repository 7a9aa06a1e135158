"""Sockets that outlive the daemon: nobody is refused while it restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from edge.asgi import Receive, Scope, Send
from edge.daemon import _ForcibleServer
from edge.protocol import LAST_CALL_S, ConnectionLimits, server_config
from tests.daemons import short_directory
from tests.e2e.talk import PATIENCE_S, ask, post, request, wait_until
from tests.systemd.activation import Manager, managed_sockets
from tests.systemd.units import SHIPPED, values

QUESTION = {"text": "sum this article up"}
RESTARTS = int(os.environ.get("TEST_RESTARTS", "6"))  # 50 take two minutes
CLIENTS = 3
ANSWERS_EACH = 2


def test_daemon_takes_the_socket_that_its_unit_names() -> None:
    """It answers on `api`, whatever order the descriptors come in."""
    for names in (("api", "admin"), ("admin", "api")):
        with managed_sockets(names) as manager, manager.start() as daemon:
            assert post(manager.api, "/v1/classify", QUESTION).status == 200
            assert "/v1/classify" in ask(manager.api, "GET", "/openapi.json").json["paths"]
            assert daemon.stop() == 0
            assert manager.api.exists()


def test_names_in_the_units_are_those_of_the_daemon() -> None:
    """A socket unit under another name would hand apps the admin's routes, or none."""
    for unit, name in (("intentd.socket", "api"), ("intentd-admin.socket", "admin")):
        assert values(SHIPPED / unit, "FileDescriptorName", "Socket") == [name]
        path = values(SHIPPED / unit, "ListenStream", "Socket")[0]
        assert path == f"/run/intentd/{name}.sock"


@pytest.mark.timeout(600)
def test_nobody_is_refused_during_restarts() -> None:
    """Each request of each client is answered with 200, or told with 503 when to come again.

    A connection that waits in the backlog is answered by the next daemon; one that the old daemon
    has taken is answered by the old one.
    """
    outcomes: Counter[str] = Counter()
    done = threading.Event()
    with managed_sockets() as manager:
        with clients(manager.api, done, outcomes):
            try:
                for _ in range(RESTARTS):
                    restart(manager, outcomes)
            finally:
                done.set()
                last = manager.start()  # answers who waits in the backlog
        last.stop()
    assert set(outcomes) <= {"200", "503 with Retry-After"}, outcomes


def restart(manager: Manager, outcomes: Counter[str]) -> None:
    """Start a daemon, let it answer, and stop it while more is asked."""
    with manager.start() as daemon:
        goal = outcomes.total() + CLIENTS * ANSWERS_EACH
        wait_until(partial(has_passed, outcomes, goal), f"{goal} answers")
        assert daemon.stop(signal.SIGTERM) == 0


@contextmanager
def clients(path: Path, done: threading.Event, outcomes: Counter[str]) -> Iterator[None]:
    """Clients that ask without a pause, until told."""
    threads = [
        threading.Thread(target=ask_until, args=(path, done, outcomes)) for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def has_passed(outcomes: Counter[str], goal: int) -> bool:
    """Whether so many requests have ended, however."""
    return outcomes.total() >= goal


def ask_until(path: Path, done: threading.Event, outcomes: Counter[str]) -> None:
    """Ask, each time on a new connection, and count what comes back."""
    while not done.is_set():
        try:
            reply = post(path, "/v1/classify", QUESTION)
        except (OSError, EOFError) as error:
            outcomes[repr(error)] += 1
            continue
        told = " with Retry-After" if "retry-after" in reply.headers else ""
        outcomes[f"{reply.status}{told}"] += 1


def test_request_that_lies_unread_at_the_stop_is_answered() -> None:
    """Closing at once would reset a client that sent in the same instant, as some restarts did."""
    with short_directory() as directory:
        reply = asyncio.run(ask_at_the_stop(directory / "s"))
    assert reply.startswith(b"HTTP/1.1 200")


def test_connection_that_has_just_come_may_still_ask() -> None:
    """On a busy machine the client may not get to sending before the last call of the others."""
    with short_directory() as directory:
        reply = asyncio.run(ask_at_the_stop(directory / "s", after_s=3 * LAST_CALL_S))
    assert reply.startswith(b"HTTP/1.1 200")


def test_whoever_has_connected_is_answered_or_left_to_the_next_daemon() -> None:
    """In whatever step between connecting and being let in the stop comes."""
    with short_directory() as directory:
        outcomes = [asyncio.run(stop_after(directory / str(n), steps=n)) for n in range(6)]
    assert set(outcomes) == {b"", b"HTTP/1.1 200"}


async def stop_after(path: Path, steps: int) -> bytes:
    """Connect and ask, stop so many steps of the loop later; empty if it waits in the backlog."""
    config = server_config(answer_200, ConnectionLimits(), drain_timeout_s=1)
    config.lifespan = "off"
    config.load()
    server = _ForcibleServer(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        await server.startup(sockets=[listening.dup()])
        client.settimeout(PATIENCE_S)
        client.connect(str(path))
        client.sendall(request("GET", "/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for _ in range(steps):
            await asyncio.sleep(0)
        await server.shutdown()
        with suppress(BlockingIOError):
            listening.accept()[0].close()
            return b""
        return client.recv(12)


async def ask_at_the_stop(path: Path, after_s: float = 0) -> bytes:
    """Connect, and send a request in the very step in which the server begins to stop, or later."""
    config = server_config(answer_200, ConnectionLimits(), drain_timeout_s=1)
    config.load()
    state = uvicorn.server.ServerState()
    protocol: Any = config.http_protocol_class
    make = partial(protocol, config=config, server_state=state, app_state={})
    server = await asyncio.get_running_loop().create_unix_server(make, path)
    async with server:
        reader, writer = await asyncio.open_unix_connection(path)
        while not state.connections:
            await asyncio.sleep(0)
        if not after_s:
            writer.write(request("GET", "/"))
        for connection in list(state.connections):
            connection.shutdown()
        if after_s:
            asyncio.get_running_loop().call_later(after_s, writer.write, request("GET", "/"))
        reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
    return reply


async def answer_200(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest application."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
