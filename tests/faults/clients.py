"""Clients that correct, many at once, and never give up on a correction."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.talk import Connection, ask

__all__ = ["Writers", "all_corrections", "correction"]

LABELS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
JSON = "Content-Type: application/json"


def correction(number: int, padding: int = 0) -> dict[str, Any]:
    """A message to /v1/corrections."""
    text = f"text {number} {'x' * padding}"
    return {"text": text, "label": LABELS[number % 4], "client_key": f"key-{number}"}


@dataclass
class Writers:
    """Threads that send one correction after the other, each until it is acknowledged."""

    socket: Path
    threads: int = 8
    acknowledged: dict[int, str] = field(default_factory=dict)
    """Number → id, as the daemon said it."""
    strange: list[object] = field(default_factory=list)
    """Answers that nobody should get."""

    def __post_init__(self) -> None:
        self._done = threading.Event()
        self._pause = threading.Event()
        self._workers = [
            threading.Thread(target=self._work, args=(first,)) for first in range(self.threads)
        ]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._done.set()
        for worker in self._workers:
            worker.join(60)

    def _work(self, number: int) -> None:
        connection: Connection | None = None
        while not self._done.is_set() or number in self._tried:
            try:
                connection = connection or Connection(self.socket)
                self._send(connection, number)
            except (OSError, EOFError, AssertionError, ValueError, KeyError):
                self._tried.add(number)  # it may be stored or not: the same key again
                if connection is not None:
                    connection.close()
                connection = None
                self._pause.wait(0.01)
                continue
            self._tried.discard(number)
            number += self.threads
        if connection is not None:
            connection.close()

    _tried: set[int] = field(default_factory=set)

    def _send(self, connection: Connection, number: int) -> None:
        body = json.dumps(correction(number)).encode()
        reply = connection.ask("POST", "/v1/corrections", body, JSON)
        if reply.status in (200, 201):
            self.acknowledged[number] = reply.json["id"]
        else:
            self.strange.append(reply)


def all_corrections(admin: Path) -> list[dict[str, Any]]:
    """Everything that is stored, as the admin sees it."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = ask(admin, "GET", f"/v1/corrections?after={after}&limit=500").json
        found += page["corrections"]
        after = page["next"]
    return found
