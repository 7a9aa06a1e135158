"""What the collector's tests are made of: records, boxes that send them, and running collectors."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa
import uvicorn

from tests.commands import Done, run_command
from training.collector.app import create_app
from training.collector.cli import main
from training.collector.database import Database
from training.collector.devices import add_device
from training.collector.models import Correction
from training.collector.settings import DATABASE_VARIABLE, Settings

__all__ = [
    "CANARY",
    "NOW",
    "ROOT",
    "Box",
    "batch",
    "collector_process",
    "count_rows",
    "erasure",
    "new_box",
    "open_client",
    "record",
    "run_cli",
    "running_collector",
    "wait_until",
]

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CANARY = "canary text that no log may hold"
DEADLINE_S = 30.0
READY_MARK = " answers on "


def record(seq: int = 1, **changes: Any) -> dict[str, Any]:
    """A correction as a box sends it."""
    return {
        "type": "correction",
        "schema_version": 1,
        "id": str(uuid.uuid4()),
        "seq": seq,
        "epoch": 1,
        "kind": "correction",
        "text": f"{CANARY} {seq} äöü 漢字",
        "content": None,
        "label": "SEARCH_ONLY",
        "predicted_label": "REASON",
        "score": 0.5,
        "labels": ["REASON", "SEARCH_ONLY"],
        "label_set": "a" * 64,
        "model": "b" * 64,
        "phase": "A",
        "source": "notes",
        "occurred_utc": "2026-11-22T09:59:00Z",
    } | changes


def erasure(record_id: str, **changes: Any) -> dict[str, Any]:
    """A tombstone as a box sends it."""
    return {
        "type": "erasure",
        "schema_version": 1,
        "id": record_id,
        "occurred_utc": "2026-11-22T09:59:30Z",
    } | changes


def batch(device: str, records: list[Any], **changes: Any) -> dict[str, Any]:
    """An envelope around records."""
    return {
        "schema_version": 1,
        "device_id": device,
        "epoch": 1,
        "redaction_version": "1",
        "tier": "redacted",
        "sent_utc": "2026-11-22T10:00:00Z",
        "records": records,
    } | changes


@dataclass(frozen=True, slots=True)
class Box:
    """A device with a token; several may use one HTTP client."""

    device: str
    token: str
    client: httpx2.Client

    def post(self, records: list[Any], **changes: Any) -> httpx2.Response:
        """Send a batch as `intentd sync` does."""
        return self.post_raw(json.dumps(batch(self.device, records, **changes)).encode())

    def post_raw(self, body: bytes, *, compress: bool = True, **headers: str) -> httpx2.Response:
        """Send any body."""
        if compress:
            body, headers = gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"} | headers
        return self.client.post("/v1/records", content=body, headers=self._headers() | headers)

    def send(self, records: list[Any], **changes: Any) -> list[str]:
        """Send a batch; the status of each record."""
        answer = self.post(records, **changes)
        assert answer.status_code == 200, answer.text
        return [result["status"] for result in answer.json()["results"]]

    def get(self, path: str) -> httpx2.Response:
        """Ask for the cursor or the receipts."""
        return self.client.get(path, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def open_client(url: str = "") -> httpx2.Client:
    """A client for plain HTTP; to read the system's certificates would take 20 ms each time."""
    return httpx2.Client(base_url=url, verify=False, timeout=60)


def new_box(database: Database, client: httpx2.Client, device: str) -> Box:
    """Let a device in."""
    token = database.write(lambda c: add_device(c, device, "", NOW))
    return Box(device, token, client)


@contextlib.contextmanager
def running_collector(settings: Settings) -> Iterator[str]:
    """A collector in a thread of this process, on a real port; yields its address."""
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none")
    server, listening = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listening.close()


@dataclass(frozen=True, slots=True)
class CollectorProcess:
    """`intentd-collect serve` as a child process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextlib.contextmanager
def collector_process(
    address: str, directory: Path, *args: str, name: str = "collector"
) -> Iterator[CollectorProcess]:
    """Start one and wait until it answers; killed at the end, if it still runs."""
    out, log = directory / f"{name}.out", directory / f"{name}.log"
    command = [sys.executable, "-m", "training.collector.cli", "serve", "--port", "0"]
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--rate-per-minute", "0", *args],
            stdout=stdout,
            stderr=stderr,
            cwd=ROOT,
            env=_environment(address),
        )
    try:
        wait_until(lambda: READY_MARK in out.read_text() or process.poll() is not None)
        text = out.read_text()
        assert READY_MARK in text, log.read_text()
        yield CollectorProcess(text.split(READY_MARK)[1].split()[0], process, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(DEADLINE_S)


def run_cli(address: str, *args: str, stdin: str = "") -> Done:
    """Run `intentd-collect` on a database."""
    return run_command(main, "intentd-collect", *args, env=_environment(address), stdin=stdin)


def count_rows(database: Database) -> int:
    """How many corrections are stored."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(Correction)).scalar_one()


def wait_until(condition: Any) -> None:
    """Wait for it, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def _environment(address: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INTENTD_", "PROMETHEUS_"))}
    return kept | {DATABASE_VARIABLE: address}
