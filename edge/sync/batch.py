"""The bytes of a batch: one JSON body for a collector, or lines for a file. It sends nothing."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge.sync.outgoing import Outgoing, to_json
from edge.sync.redact import REDACTION_VERSION

__all__ = ["BATCH_BYTES", "Batch", "Sender", "compress", "in_chunks"]

SCHEMA_VERSION = 1
BATCH_BYTES = 1 << 20
"""Before compression; a batch of one record may be larger. A collector takes more by default."""
_COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and what was done to what is sent."""

    device_id: str
    epoch: int
    tier: str

    @property
    def fields(self) -> dict[str, Any]:
        """As both forms say it."""
        return {
            "device_id": self.device_id,
            "redaction_version": REDACTION_VERSION,
            "tier": self.tier,
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records on their way."""

    sender: Sender
    records: Sequence[Outgoing]
    counts: Sequence[dict[str, Any]] | None = None
    """Numbers by label, which go instead of corrections in the tier `counts`."""

    @property
    def ids(self) -> list[str]:
        """In the records' order."""
        return [record.id for record in self.records]

    @property
    def idempotency_key(self) -> str:
        """The same for the same records, however often they are sent."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()

    def body(self) -> bytes:
        """The body of `POST /v1/records`, before compression."""
        head: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "epoch": self.sender.epoch,
            **self.sender.fields,
            "sent_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        if self.counts is not None:
            head["counts"] = self.counts
        records = b",".join(record.line for record in self.records)
        return to_json(head)[:-1] + b',"records":[' + records + b"]}"

    def lines(self) -> bytes:
        """One JSON object a line, each complete in itself; the same bytes for the same records."""
        rows = [record.fields for record in self.records]
        if self.counts is not None:
            rows.append({"type": "counts", "counts": self.counts})
        return b"".join(to_json(row | self.sender.fields) + b"\n" for row in rows)


def compress(data: bytes) -> bytes:
    """The data in gzip, without a time in it: the same bytes for the same data."""
    return gzip.compress(data, _COMPRESSION, mtime=0)


def in_chunks(
    records: Sequence[Outgoing], max_records: int, max_bytes: int
) -> Iterator[list[Outgoing]]:
    """The records in order, in lots of so many records and bytes; never an empty one."""
    chunk: list[Outgoing] = []
    size = 0
    for record in records:
        if chunk and (len(chunk) >= max_records or size + len(record.line) > max_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record.line)
    if chunk:
        yield chunk
