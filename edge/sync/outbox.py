"""What sync asks of the daemon: the part of `edge.client.AdminClient` that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge.wire import AckAnswer, CursorAnswer, OutboxAnswer, RecordResult, StatsAnswer, UseReceipt

__all__ = ["Outbox"]


class Outbox(Protocol):
    """The corrections that upstream does not have; the daemon alone writes them."""

    def outbox(self, limit: int = ...) -> OutboxAnswer:
        """What is undelivered, erasures first, then oldest first."""

    def mark_sent(self, ids: Sequence[str]) -> int:
        """Note that these are on their way."""

    def acknowledge(self, results: Sequence[RecordResult]) -> AckAnswer:
        """Delivered, or refused for good."""

    def record_receipts(self, receipts: Sequence[UseReceipt], cursor: int) -> int:
        """Note which were used, and where the next receipts begin."""

    def cursor(self) -> CursorAnswer:
        """Where this device stands."""

    def bump_epoch(self, server_epoch: int, server_seq: int) -> int:
        """Tell how far upstream has seen this device; the daemon decides about a new epoch."""

    def redrive(self, ids: Sequence[str] | None = ...) -> int:
        """Put dead letters back."""

    def stats(self) -> StatsAnswer:
        """Counts by label."""
