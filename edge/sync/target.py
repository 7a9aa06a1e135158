"""What every place that takes records can do, and what it may answer. It opens none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edge.sync.batch import Batch
from edge.wire import RecordResult, UseReceipt

__all__ = ["BatchMalformed", "BatchTooLarge", "Receipts", "Seen", "Target"]


class BatchTooLarge(Exception):
    """Fewer records may pass (413)."""


class BatchMalformed(Exception):
    """The batch was refused as a whole (400, 422): one of its records is poison, or all are."""


class Seen(NamedTuple):
    """The highest number of a device that a target has, and in which epoch."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Receipts:
    """Which records were used, and where the next receipts begin."""

    receipts: Sequence[UseReceipt]
    next: int


class Target(Protocol):
    """A collector, or a directory.

    Every method may raise `SyncRefused` (a retry is no use) and `Unavailable` (try later).
    """

    def seen(self, device_id: str) -> Seen | None:
        """What it has of this device; None if it has nothing."""

    def deliver(self, batch: Batch) -> Sequence[RecordResult]:
        """Hand a batch over; the results are of its ids alone, and some may be missing.

        Raises:
            BatchTooLarge: Send less at once.
            BatchMalformed: Find the record that it is about.
        """

    def report(self, batch: Batch) -> None:
        """Hand over numbers alone (tier `counts`)."""

    def receipts(self, after: int) -> Receipts | None:
        """The receipts from there on; None where nobody gives any."""

    def close(self) -> None:
        """Let go of connections."""
