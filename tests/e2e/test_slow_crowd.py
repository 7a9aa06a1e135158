"""A thousand connections that are slow or silent: each is closed, and nobody else is kept waiting.

With `TEST_SLOW` set (to their number) the latencies of the good clients are compared, too.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemons import running_daemon
from tests.e2e.conftest import check_log
from tests.e2e.talk import PATIENCE_S, Connection, post, wait_until

SLOW = int(os.environ.get("TEST_SLOW", "1000"))
GOOD = 4
STEADY_ANSWERS = 400
SPARE_FILES = 256
PACE_S = 0.25  # of the slow clients; without it this process would measure its own haste
BODY = b'{"text": "gulls"}'
HEADERS = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n"
BEGUN = (b"", b"GET / HT", HEADERS, HEADERS + b"Content-Length: 99\r\n\r\n{")
"""What a client sends before it falls silent."""


@pytest.fixture(autouse=True)
def room_for_sockets() -> Iterator[None]:
    """This process may open so many files."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < SLOW + SPARE_FILES:
        pytest.skip(f"this process may open {most} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, SLOW + SPARE_FILES), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def ask_on(path: Path, is_over: threading.Event, times_s: list[float]) -> None:
    """A good client: one connection, one request after the other, each answered."""
    with Connection(path) as connection:
        while not is_over.is_set():
            began = time.perf_counter()
            reply = connection.ask("POST", "/v1/classify", BODY)
            times_s.append(time.perf_counter() - began)
            assert reply.status == 200, reply


@contextmanager
def good_clients(path: Path) -> Iterator[list[float]]:
    """Some of them, as long as the block lasts; what each answer took."""
    is_over, times_s = threading.Event(), list[float]()
    with ThreadPoolExecutor(GOOD) as pool:
        asking = [pool.submit(ask_on, path, is_over, times_s) for _ in range(GOOD)]
        try:
            yield times_s
        finally:
            is_over.set()
        for one in asking:
            one.result()


def arrive(path: Path, number: int) -> socket.socket:
    """One more connection, which begins something or nothing, and falls silent."""
    one = socket.socket(socket.AF_UNIX)
    one.connect(str(path))  # without a timeout it waits for room in the backlog
    one.settimeout(PATIENCE_S)
    with suppress(BrokenPipeError, ConnectionResetError):
        one.sendall(BEGUN[number % len(BEGUN)])
    return one


def trickle(crowd: list[socket.socket]) -> bool:
    """A byte more from each that had begun its headers; whether any connection is still open."""
    time.sleep(PACE_S)
    for number, one in enumerate(crowd):
        if one.fileno() >= 0 and is_closed(one, b"x" if number % len(BEGUN) == 1 else b""):
            one.close()
    return any(one.fileno() >= 0 for one in crowd)


def is_closed(one: socket.socket, more: bytes) -> bool:
    """Send, and look whether the daemon has hung up; what it said before counts for nothing."""
    one.setblocking(False)
    try:
        if more:
            one.send(more)
        while one.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def is_answered(path: Path) -> bool:
    """Whether a newcomer is."""
    with suppress(OSError, EOFError):
        return post(path, "/v1/classify", {"text": "gulls"}).status == 200
    return False


def p99_ms(times_s: list[float]) -> float:
    """Of these answers."""
    return 1e3 * statistics.quantiles(times_s, n=100)[98]


def test_slow_and_silent_connections_are_closed_and_hurt_nobody() -> None:
    """Who is connected notices nothing, who comes is let in, and the crowd is gone in the end."""
    env = {"INTENTD_REPEAT_CACHE": "0"}  # the model is to answer each time
    with running_daemon(env=env) as daemon, good_clients(daemon.socket) as times_s:
        wait_until(lambda: len(times_s) > STEADY_ANSWERS, "a steady state")
        mark, began = len(times_s), time.monotonic()
        crowd = [arrive(daemon.socket, number) for number in range(SLOW)]
        wait_until(lambda: is_answered(daemon.socket), "a newcomer is answered")
        let_in_s, arrived = time.monotonic() - began, time.monotonic()
        wait_until(lambda: not trickle(crowd), "all of the crowd are gone")
        gone_s = time.monotonic() - arrived
        steady_ms, crowded_ms = p99_ms(times_s[:mark]), p99_ms(times_s[mark:])
        if "TEST_SLOW" in os.environ:
            told = f"{SLOW} slow: newcomer answered after {let_in_s:.2f} s, all gone after "
            told += f"{gone_s:.1f} s, p99 {steady_ms:.1f} -> {crowded_ms:.1f} ms\n"
            sys.stdout.write(told)
            assert gone_s <= 10 + 1, told
            assert crowded_ms <= 2 * steady_ms, told
        check_log(daemon)
