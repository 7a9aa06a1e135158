"""Speaks HTTP byte by byte over a Unix socket: tests send what no client library would."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = [
    "CANARY",
    "PATIENCE_S",
    "TOKEN",
    "Connection",
    "Reply",
    "ask",
    "metric",
    "post",
    "request",
    "wait_until",
]

CANARY = "xyzzyplugh"  # in the texts of many tests; it must never reach a log or an error
TOKEN = "hf_frobozz"  # what a client may send for authorisation; the same holds
PATIENCE_S = 30.0  # how long a test waits for what must happen; nothing is asserted about less
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as it came."""

    status: int
    headers: Mapping[str, str]
    """Lower-case name → value."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem, whose form is checked here once for every test."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert set(problem) == {"type", "title", "status", "code", "detail"}, self
        assert problem["status"] == self.status, self
        return str(problem["code"])


class Connection:
    """One connection, kept alive as far as the daemon keeps it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send; a daemon that has refused already may stop listening midway."""
        with suppress(BrokenPipeError, ConnectionResetError):  # its answer can be read all the same
            self._socket.sendall(data)

    def send_all_or_fail(self, data: bytes) -> None:
        """Send, as a client that reads no answer before everything is sent."""
        self._socket.sendall(data)

    def reply(self, method: str = "POST") -> Reply:
        """Read one answer.

        Raises:
            EOFError: The daemon hung up instead.
        """
        line = self._file.readline()
        if not line:
            raise EOFError("the daemon closed the connection without an answer")
        status = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n", line)
        assert status, line
        headers: dict[str, str] = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode("ascii").partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if method == "HEAD" else int(headers["content-length"])
        return Reply(int(status[1]), headers, self._file.read(length))

    def ask(self, method: str, target: str, body: bytes | None = None, *headers: str) -> Reply:
        """Send one request and read its answer."""
        self.send(request(method, target, body, *headers))
        return self.reply(method)

    def has_reply(self) -> bool:
        """Whether anything of an answer has come yet; does not wait."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def is_closed(self) -> bool:
        """Whether the daemon closes the connection; waits for the first sign of either."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def request(method: str, target: str, body: bytes | None = None, *headers: str) -> bytes:
    """The bytes of a request; with a body comes its Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", "Host: intentd", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def ask(path: Path, method: str, target: str, body: bytes | None = None, *headers: str) -> Reply:
    """One request on a connection of its own."""
    with Connection(path) as connection:
        return connection.ask(method, target, body, *headers)


def post(path: Path, target: str, message: Any, *headers: str) -> Reply:
    """One JSON message on a connection of its own."""
    return ask(path, "POST", target, json.dumps(message).encode(), *headers)


def metric(path: Path, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels, as `/metrics` shows it."""
    total = 0.0
    for line in ask(path, "GET", "/metrics").body.decode().splitlines():
        is_named = line.partition(" ")[0].partition("{")[0] == name
        if is_named and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rpartition(" ")[2])
    return total


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail the test if it never holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain: {what}"
        time.sleep(POLL_S)
