"""What a device can ask for, without HTTP: send a batch, read the cursor, read receipts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import exc

from edge.errors import BodyTooLarge, MalformedBody
from training.collector.database import Database
from training.collector.devices import authenticate
from training.collector.errors import Forbidden
from training.collector.ingest import read_batch, read_cursor, store_batch
from training.collector.limits import decompress
from training.collector.logs import write_event
from training.collector.metrics import Metrics
from training.collector.partitions import Months
from training.collector.receipts import read_receipts
from training.collector.settings import Settings
from training.collector.wire import (
    BatchAnswer,
    CursorAnswer,
    Envelope,
    ReceiptsAnswer,
    read_envelope,
)

__all__ = ["Service"]

log = logging.getLogger("intentd.collector")


class Service:
    """The use cases over one database; every method blocks, and is safe from any thread."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        metrics: Metrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._months = Months(database)
        self._unswept = False

    def authenticate(self, authorization: str) -> str:
        """The device that asks; read anew each time, so that a revocation works at once.

        Raises:
            Unauthorized: It has no good token.
        """
        with self._database.read() as connection:
            return authenticate(connection, authorization)

    def accept(self, device_id: str, body: bytes, encoding: str) -> BatchAnswer:
        """Store a batch; returns once it is committed.

        Raises:
            MalformedBody: It cannot be read as a whole, or the database refuses a value of it.
            BodyTooLarge: Too many bytes or records.
            Forbidden: It is another device's.
            DatabaseUnavailable: Nothing was stored.
        """
        started = time.perf_counter()
        plain = decompress(body, encoding, self._settings.max_decompressed_bytes)
        envelope = read_envelope(plain)
        self._check(device_id, envelope)
        batch, now = read_batch(envelope), self._clock()
        self._months.prepare(now)
        try:
            results, cursor = self._database.write(
                lambda c: (store_batch(c, batch, now), read_cursor(c, device_id))
            )
        except exc.DataError as error:
            raise MalformedBody(
                f"the database refused a value ({type(error.orig).__name__}); nothing was stored; "
                "send the records in halves to find the one"
            ) from None
        if batch.erased or self._unswept:
            self._sweep()
        seconds = time.perf_counter() - started
        self._metrics.count_batch(results, seconds, len(body), len(plain))
        return BatchAnswer(results=results, cursor=cursor, received_utc=now)

    def cursor(self, device_id: str) -> CursorAnswer:
        """How far this device has come."""
        with self._database.read() as connection:
            return read_cursor(connection, device_id)

    def receipts(self, device_id: str, after: int, limit: int) -> ReceiptsAnswer:
        """What became of this device's records in training."""
        with self._database.read() as connection:
            return read_receipts(connection, device_id, after, limit)

    def _sweep(self) -> None:
        self._unswept = not self._database.sweep()
        if self._unswept:
            write_event(log, "an export reads the write-ahead log; erased rows leave it afterwards")

    def _check(self, device_id: str, envelope: Envelope) -> None:
        if envelope.device_id != device_id:
            raise Forbidden(
                "device_id: expected the device that the token was made for, found another; "
                "give this box a token of its own"
            )
        if len(envelope.records) > self._settings.max_records:
            raise BodyTooLarge(
                f"records: expected at most {self._settings.max_records}, found "
                f"{len(envelope.records)}; send fewer at once"
            )
