"""Stand-ins for the two ends: the daemon's outbox, and a collector that is told what to answer.

The real ones meet in `test_end_to_end`.
"""
# ruff: noqa: D102 — what the outbox's methods do stands in `edge.sync.outbox`

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edge.wire import (
    AckAnswer,
    CorrectionRecord,
    CursorAnswer,
    ErasureRecord,
    LabelCount,
    OutboxAnswer,
    RecordResult,
    StatsAnswer,
    StoreInfo,
    UseReceipt,
)

__all__ = ["Answer", "FakeCollector", "FakeOutbox", "Request", "fake_collector"]

DEVICE = "0b9f6e5e-0000-4000-8000-000000000001"


class FakeOutbox:
    """The daemon's side of the contract, in memory."""

    def __init__(self, records: Sequence[CorrectionRecord | ErasureRecord] = ()) -> None:
        self.waiting = {record.id: record for record in records}
        self.dead: dict[str, CorrectionRecord | ErasureRecord] = {}
        self.results: dict[str, RecordResult] = {}
        self.sent: list[str] = []
        self.got_receipts: list[UseReceipt] = []
        self.receipts_cursor = 0
        self.epoch = 1
        self.last_seq = max((getattr(record, "seq", 0) for record in records), default=0)

    @property
    def delivered(self) -> list[str]:
        """Ids, in the order in which they were acknowledged."""
        return [key for key, result in self.results.items() if result.status != "rejected"]

    def outbox(self, limit: int = 500) -> OutboxAnswer:
        ordered = sorted(self.waiting.values(), key=lambda record: record.type == "correction")
        return OutboxAnswer(
            device_id=DEVICE,
            epoch=self.epoch,
            records=ordered[:limit],
            remaining=max(0, len(ordered) - limit),
        )

    def mark_sent(self, ids: Sequence[str]) -> int:
        self.sent += ids
        return len(ids)

    def acknowledge(self, results: Sequence[RecordResult]) -> AckAnswer:
        known = [result for result in results if result.id in self.waiting]
        for result in known:
            record = self.waiting.pop(result.id)
            self.results[result.id] = result
            if result.status == "rejected":
                self.dead[result.id] = record
        dead = sum(result.status == "rejected" for result in known)
        return AckAnswer(acknowledged=len(known) - dead, dead=dead, remaining=len(self.waiting))

    def record_receipts(self, receipts: Sequence[UseReceipt], cursor: int) -> int:
        self.got_receipts += receipts
        self.receipts_cursor = cursor
        return len(receipts)

    def cursor(self) -> CursorAnswer:
        return CursorAnswer(
            device_id=DEVICE,
            epoch=self.epoch,
            last_seq=self.last_seq,
            receipts_cursor=self.receipts_cursor,
        )

    def bump_epoch(self, server_epoch: int, server_seq: int) -> int:
        if (server_epoch, server_seq) > (self.epoch, self.last_seq):
            self.epoch = server_epoch + 1
        return self.epoch

    def redrive(self, ids: Sequence[str] | None = None) -> int:
        self.waiting |= self.dead
        self.dead = {}
        return len(self.waiting)

    def stats(self) -> StatsAnswer:
        rows = [LabelCount(label="EXTRACT", corrections=3, confirmations=4, target=500)]
        store = StoreInfo(
            ok=True,
            detail="",
            quarantined=[],
            salvaged=0,
            journal_mode="wal",
            synchronous="FULL",
            free_bytes=0,
            sqlite_version="",
            filesystem="",
        )
        return StatsAnswer(
            per_label=rows,
            agreement=[],
            total=7,
            outbox=0,
            dead=0,
            predictions_dropped=0,
            store=store,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What the fake collector was asked."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    """The body as it came."""

    @property
    def body(self) -> dict[str, Any]:
        """The body, decompressed and read."""
        found: dict[str, Any] = json.loads(gzip.decompress(self.raw))
        return found

    @property
    def ids(self) -> list[str]:
        """Of the records."""
        return [record["id"] for record in self.body["records"]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What it answers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Close after so many bytes of the body."""


Script = Callable[[Request], Answer]


def accept(request: Request) -> Answer:
    """As a collector answers that takes everything."""
    if request.path.startswith("/v1/cursor"):
        return Answer(body={"epoch": 0, "seq": 0})
    if request.path.startswith("/v1/receipts"):
        return Answer(body={"receipts": [], "next": 0})
    results = [{"id": record_id, "status": "accepted"} for record_id in request.ids]
    return Answer(body={"results": results, "cursor": {"epoch": 1, "seq": 1}})


class FakeCollector:
    """Answers as it is told, over real HTTP on a port of its own."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: Script = accept
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def batches(self) -> list[Request]:
        """What was posted."""
        return [request for request in self.requests if request.method == "POST"]

    def on_records(self, *answers: Answer | Script) -> None:
        """These answers to the first batches, one each; then it accepts."""
        left = list(answers)

        def script(request: Request) -> Answer:
            if request.method != "POST" or not left:
                return accept(request)
            answer = left.pop(0)
            return answer if isinstance(answer, Answer) else answer(request)

        self.script = script


@contextmanager
def fake_collector() -> Iterator[FakeCollector]:
    """One that listens until the block ends."""
    collector = FakeCollector()
    thread = threading.Thread(target=collector.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()


def _handler(collector: FakeCollector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, raw)
            collector.requests.append(request)
            self._write(collector.script(request))

        def _write(self, answer: Answer) -> None:
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body)
            data = body if isinstance(body, bytes) else body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: answer.cut])

        do_GET = do_POST = _answer  # noqa: N815 — the base class's names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
