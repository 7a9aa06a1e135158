"""Measures this machine: a daemon of its own, on a socket of its own, asked short and long texts.

The daemon that serves the apps is left alone, and so are its corrections and its prediction log.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from edge.cpu import default_threads, read_cpu
from edge.errors import CannotStart, EdgeError
from edge.memory import resident_bytes
from edge.settings import Settings

__all__ = ["BenchResult", "Speed", "UnixConnection", "run_bench"]

READY_MARK = b" answers on "
READY_S = 600.0
STOP_S = 30.0
OWN_PLACES = frozenset(
    {"socket", "admin_socket", "socket_group", "admin_socket_group", "state_dir"}
)
"""Settings that would lead a second daemon to what belongs to the first."""
LEFT_OUT = (
    "INTENTD_",
    "LISTEN_",
    "NOTIFY_SOCKET",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "WATCHDOG_",
    "PYTHONDONTWRITEBYTECODE",  # it would have a checkout compiled at each start
)
SHORT = "{}: have a look at the minutes of the meeting and say in short what was decided"
SENTENCE = "The committee met on day {} and went through the list of open points once more. "
LONG_CHARS = 20_000
MIN_REQUESTS = 3
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """How long requests of one kind took, from the client's side of the socket."""

    text: str
    """`short`, a sentence; or `long`, 20 KB."""
    requests: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a daemon costs on this machine."""

    model: str
    digest: str
    cpu: str
    threads: int
    start_s: float
    """From exec until it said that it answers."""
    ready_rss_mib: int
    used_rss_mib: int
    """After all requests."""
    speeds: tuple[Speed, ...]


class UnixConnection(http.client.HTTPConnection):
    """The standard library's client over a Unix socket: a lean one, so that it adds little."""

    def __init__(self, path: Path) -> None:
        """Connects at the first request."""
        super().__init__("intentd")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def run_bench(settings: Settings, requests: int, seconds: float) -> BenchResult:
    """Start a daemon with these settings, ask it, and stop it.

    Args:
        settings: The model, its threads, and all else that changes its speed.
        requests: Of each kind, at most.
        seconds: After which a kind ends, unless three requests have not been answered yet.

    Raises:
        CannotStart: The daemon did; the message is its own.
        EdgeError: It answered with an error.
    """
    directory = Path(tempfile.mkdtemp(prefix="intentd-bench-"))
    try:
        with _daemon(settings, directory) as (process, start_s):
            return _measure(process.pid, directory / "api.sock", start_s, requests, seconds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(pid: int, path: Path, start_s: float, requests: int, seconds: float) -> BenchResult:
    ready = resident_bytes(pid)
    connection = UnixConnection(path)
    model = _exchange(connection, "GET", "/v1/model", None)
    speeds = tuple(_speed(connection, kind, requests, seconds) for kind in ("short", "long"))
    connection.close()
    return BenchResult(
        model=f"{model['model']['name']} {model['model']['version']}",
        digest=model["model"]["digest"],
        cpu=read_cpu().model,
        threads=model["threads"] or default_threads(),
        start_s=round(start_s, 3),
        ready_rss_mib=ready >> 20,
        used_rss_mib=resident_bytes(pid) >> 20,
        speeds=speeds,
    )


def _speed(connection: UnixConnection, kind: str, requests: int, seconds: float) -> Speed:
    """No text comes twice: an answer from memory would say nothing of the model."""
    texts = _texts(kind)
    for _ in range(min(WARM_UP, requests)):
        _classify(connection, next(texts))
    times: list[float] = []
    deadline = time.monotonic() + seconds
    while len(times) < requests and (len(times) < MIN_REQUESTS or time.monotonic() < deadline):
        times.append(_classify(connection, next(texts)))
    return Speed(kind, len(times), round(statistics.median(times), 3), round(_p99(times), 3))


def _p99(times: list[float]) -> float:
    """The nearest rank: of a hundred and fewer, the slowest."""
    return sorted(times)[min(int(len(times) * 0.99), len(times) - 1)]


def _texts(kind: str) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if kind == "short":
            yield SHORT.format(number)
        else:
            sentences = LONG_CHARS // len(SENTENCE)
            body = "".join(SENTENCE.format(number + day) for day in range(sentences))
            yield f"{body} What did they decide?"


def _classify(connection: UnixConnection, text: str) -> float:
    body = json.dumps({"text": text}).encode()
    began = time.perf_counter()
    _exchange(connection, "POST", "/v1/classify", body)
    return (time.perf_counter() - began) * 1e3


def _exchange(connection: UnixConnection, method: str, path: str, body: bytes | None) -> Any:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != HTTPStatus.OK:
        raise EdgeError(f"the daemon answered {response.status}: {answer.get('detail')}")
    return answer


@contextmanager
def _daemon(settings: Settings, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The process, and how long it took until it answered."""
    log, config = directory / "log", directory / "intentd.toml"
    config.touch()
    command = [
        sys.executable, "-m", "edge.cli", "serve", "--config", str(config),
        "--socket", str(directory / "api.sock"), "--state-dir", str(directory / "state"),
    ]  # fmt: skip
    began = time.perf_counter()
    read_end, write_end = os.pipe()
    with log.open("wb") as errors, os.fdopen(read_end, "rb", buffering=0) as out:
        process = subprocess.Popen(  # noqa: S603 — our own program, with arguments of our own
            command,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=errors,
            env=_environment(settings),
        )
        os.close(write_end)
        try:
            _wait_until_ready(out, log)
            yield process, time.perf_counter() - began
        finally:
            _stop(process)


def _environment(settings: Settings) -> Mapping[str, str]:
    """Every setting that is not at its default, but for the places that belong to another."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(LEFT_OUT)}
    defaults = Settings()
    chosen = {
        setting.name: getattr(settings, setting.name)
        for setting in fields(Settings)
        if setting.name not in OWN_PLACES
        and getattr(settings, setting.name) != getattr(defaults, setting.name)
    }
    return inherited | {f"INTENTD_{name.upper()}": str(value) for name, value in chosen.items()}


def _wait_until_ready(out: IO[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        line = out.readline()
        if READY_MARK in line:
            return
        if not line:
            break
    last = log.read_text("utf-8", "replace").strip().rsplit("\n", 1)[-1]
    said = last.removeprefix("error: ") or f"it did not get ready within {READY_S:g} s"
    raise CannotStart(f"the daemon to be measured did not start: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
