"""Tests for edge.notify, against a socket bound the way systemd binds its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.notify import notify, ready, reloading, stopping, watchdog, watchdog_interval_s

INTERVAL_S = 0.01


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="nt", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["path", "abstract"])
def fake_systemd(
    request: pytest.FixtureRequest, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The receiving end of `$NOTIFY_SOCKET`, by path and by abstract name."""
    address = str(short_dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "abstract":
            sock.bind("\0" + address)
            monkeypatch.setenv("NOTIFY_SOCKET", "@" + address)
        else:
            sock.bind(address)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
        sock.settimeout(5)
        yield sock


@pytest.fixture(autouse=True)
def no_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without the variables of the machine that runs it."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


def test_assignments_arrive_as_one_datagram(fake_systemd: socket.socket) -> None:
    """Systemd reads NAME=value lines from a single datagram."""
    assert notify("READY=1", "STATUS=serving starter 1")
    assert fake_systemd.recv(4096) == b"READY=1\nSTATUS=serving starter 1"


def test_value_cannot_smuggle_an_assignment(fake_systemd: socket.socket) -> None:
    """An error message with line breaks stays one value."""
    notify("STATUS=bad bundle\nREADY=1\r\nMAINPID=1")
    assert fake_systemd.recv(4096) == b"STATUS=bad bundle READY=1 MAINPID=1"


def test_ready_and_stopping_carry_a_status(fake_systemd: socket.socket) -> None:
    """`systemctl status` shows it."""
    ready("serving")
    assert fake_systemd.recv(4096) == b"READY=1\nSTATUS=serving"
    stopping("draining")
    assert fake_systemd.recv(4096) == b"STOPPING=1\nSTATUS=draining"


def test_reloading_carries_the_monotonic_time(fake_systemd: socket.socket) -> None:
    """`Type=notify-reload` ignores a RELOADING=1 without the moment it began."""
    before = time.monotonic_ns() // 1000
    reloading()
    first, second = fake_systemd.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert before <= int(second.removeprefix(b"MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_without_service_manager_nothing_happens() -> None:
    """A daemon started by hand, or in a container, has nobody to tell."""
    assert not ready()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "@nobody", "vsock:2:1", "relative", ""])
def test_unreachable_service_manager_is_no_error(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A daemon must not die because nobody listens to it."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


environment_values = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(address=environment_values, text=st.text(), usec=environment_values, pid=environment_values)
def test_no_environment_and_no_text_raises(
    monkeypatch: pytest.MonkeyPatch, address: str, text: str, usec: str, pid: str
) -> None:
    """Whatever the variables hold, the worst outcome is silence."""
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + address)
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert notify(text) in (True, False)
    assert watchdog_interval_s() is None or usec.isdecimal()


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", "own", 10.0),
        ("30000000", "", 10.0),
        ("30000000", "1", None),
        ("0", "own", None),
        ("", "own", None),
        ("soon", "own", None),
        ("9" * 5000, "own", None),
    ],
)
def test_interval_is_a_third_and_only_for_us(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, interval_s: float | None
) -> None:
    """Two pings may be lost; a WATCHDOG_PID of another process means it is not our watchdog."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_interval_s() == interval_s


def test_watchdog_without_a_period_returns_at_once() -> None:
    """No watchdog in the unit, no task in the daemon."""
    asyncio.run(watchdog(lambda: True))


async def watch(is_healthy: Callable[[], bool], until: Callable[[], bool]) -> None:
    """Run the watchdog until a condition holds."""
    async with asyncio.timeout(10):
        task = asyncio.create_task(watchdog(is_healthy, INTERVAL_S))
        while not until():
            await asyncio.sleep(0)
        task.cancel()


def pings(sock: socket.socket) -> int:
    """Take every ping that waits, and count them."""
    sock.setblocking(False)
    count = 0
    while True:
        try:
            assert sock.recv(4096) == b"WATCHDOG=1"
        except BlockingIOError:
            return count
        count += 1


def test_watchdog_pings_while_healthy(fake_systemd: socket.socket) -> None:
    """One ping for every answer "healthy"."""
    asked: list[bool] = []

    def is_healthy() -> bool:
        asked.append(True)
        return True

    asyncio.run(watch(is_healthy, until=lambda: len(asked) == 3))
    assert pings(fake_systemd) == 3


def test_watchdog_is_silent_while_wedged_and_comes_back(fake_systemd: socket.socket) -> None:
    """Not one ping for a daemon that cannot answer; a recovery is seen."""
    answers = [True, False, False, False, True]
    asked: list[bool] = []

    def is_healthy() -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    asyncio.run(watch(is_healthy, until=lambda: len(asked) == len(answers)))
    assert pings(fake_systemd) == 2


def test_failing_health_check_means_unhealthy(
    fake_systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the check stops the pings, not the watchdog's task."""
    asked: list[bool] = []

    def is_healthy() -> bool:
        asked.append(True)
        raise RuntimeError("bug")

    asyncio.run(watch(is_healthy, until=lambda: len(asked) == 2))
    assert pings(fake_systemd) == 0
    assert "the health check failed" in caplog.text


def test_watchdog_runs_on_the_monotonic_clock(
    fake_systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock that stands still, as after a step back, costs no ping."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    asked: list[bool] = []

    def is_healthy() -> bool:
        asked.append(True)
        return True

    asyncio.run(watch(is_healthy, until=lambda: len(asked) == 3))
    assert pings(fake_systemd) == 3
