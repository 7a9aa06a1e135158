"""Everything that can be asked of corrections.db: each request goes to its one thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge.store import backups, counting, erasing, outbox, recording
from edge.store.database import (
    Database,
    checkpoint,
    connect,
    pragma,
    sqlite3,
)
from edge.store.opening import DATABASE, open_database, read_corrections
from edge.store.overrides import Overrides
from edge.store.place import (
    Reserve,
    filesystem_type,
    free_bytes,
    lock_directory,
    prepare_directory,
    refuse_network,
    size_or_zero,
)
from edge.store.records import (
    Ack,
    Acknowledged,
    Correction,
    Counts,
    Cursor,
    Erasure,
    Kind,
    NewCorrection,
    Outbox,
    Override,
    Receipt,
    Recorded,
    StoreHealth,
)
from edge.store.salvage import QUARANTINE_GLOB
from edge.store.scrubbing import scrub
from edge.store.writer import DiskFull, Writer

__all__ = ["CorrectionStore"]

WAL_ALARM_BYTES = 64 * 2**20
IDLE_S = 1.0  # after the last write, the log is folded in and the disk left alone
LOW_BYTES = 2**20
SYNCHRONOUS_NAMES = ("OFF", "NORMAL", "FULL", "EXTRA")
Corrections = list[Correction]
Ids = list[str]
DeadLetter = list[Correction | Erasure]


class CorrectionStore:
    """Corrections, made durable. All methods may be called from any thread, and none blocks.

    Every future can end in `StoreUnavailable`; nothing but the future ever raises. A store that
    cannot be opened exists all the same: it is not healthy, and tries again when asked.
    """

    def __init__(self, directory: Path, synchronous: str) -> None:
        self._directory, self._synchronous = directory, synchronous
        self._path = directory / DATABASE
        self._reserve = Reserve(directory)
        self._overrides = Overrides()
        self._lock: int | None = None
        self._facts = StoreHealth(ok=False, detail="", sqlite_version=sqlite3.sqlite_version)
        self._writer = Writer(self._open, self._tidy, name="intentd-store", idle_s=IDLE_S)

    @classmethod
    def open(cls, directory: Path, *, synchronous: str = "FULL") -> CorrectionStore:
        """Open or create `directory`/corrections.db; blocks until it is checked. Never raises."""
        store = cls(directory, synchronous)
        store._ask_to_open().exception()
        return store

    def close(self) -> None:
        """Finish what was asked, fold the write-ahead log in, and close. Safe to call twice."""
        self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def record(self, new: NewCorrection) -> Future[Recorded]:
        """Make a correction durable; the future ends only after commit and fsync.

        Raises (in the future):
            KeyReused: The client key came before, with something else.
            StoreUnavailable: It is not durable, and is not going to be.
        """
        return self._writer.write(partial(recording.record, new=new), self._note)

    def find(self, id: str) -> Future[Correction | Erasure | None]:
        """The correction, or its tombstone."""
        return self._writer.call(partial(recording.find, id=id))

    def find_key(self, client_key: str) -> Future[Correction | None]:
        """The correction recorded under a client key."""
        return self._writer.call(partial(recording.find_key, client_key=client_key))

    def list(
        self,
        after_seq: int = 0,
        limit: int = 100,
        label: str | None = None,
        kind: Kind | None = None,
    ) -> Future[Corrections]:
        """Corrections with a number above `after_seq`, in that order.

        Fewer than `limit` where their texts are long (`rows.is_full`), as in every page here.
        """
        return self._writer.call(
            lambda db: recording.list_corrections(db, after_seq, limit, label, kind)
        )

    def erase(self, ids: Iterable[str] = (), *, text: str | None = None) -> Future[Ids]:
        """Erase for good: rows, write-ahead log, dead letter, backups, damaged files set aside.

        Args:
            ids: Of corrections; unknown and erased ones are passed over.
            text: Every correction whose text or content is this one, after normalising.

        Returns:
            The ids erased now, each of which has a tombstone.
        """
        wanted = tuple(ids)
        return self._writer.call(lambda db: self._erase(db, wanted, text))

    def outbox(self, limit: int = 500) -> Future[Outbox]:
        """What upstream does not have yet, at most `limit` records."""
        return self._writer.call(partial(outbox.read_outbox, limit=limit))

    def mark_sent(self, ids: Iterable[str]) -> Future[int]:
        """Note that these are being handed to the network; returns how many are known."""
        return self._writer.write(partial(outbox.mark_sent, ids=tuple(ids)))

    def acknowledge(self, acks: Iterable[Ack]) -> Future[Acknowledged]:
        """Take upstream's word: delivered, or into the dead letter. Unknown ids are passed over."""
        return self._writer.write(partial(outbox.acknowledge, acks=tuple(acks)))

    def receipts(self, receipts: Iterable[Receipt], cursor: int) -> Future[int]:
        """Note which builds used which corrections; returns how many are known here."""
        known = tuple(receipts)
        return self._writer.write(lambda db: outbox.take_receipts(db, known, cursor))

    def cursor(self) -> Future[Cursor]:
        """Where this device stands towards upstream."""
        return self._writer.call(outbox.read_cursor)

    def bump_epoch(self, server_epoch: int, server_seq: int) -> Future[int]:
        """Begin a new epoch if upstream knows more of this device than it does itself.

        Returns:
            The epoch from now on.
        """
        return self._writer.write(lambda db: outbox.bump_epoch(db, server_epoch, server_seq))

    def dead(self, limit: int = 100) -> Future[DeadLetter]:
        """The dead letter, oldest first."""
        return self._writer.call(partial(outbox.read_dead, limit=limit))

    def redrive(self, ids: Iterable[str] | None = None) -> Future[int]:
        """Put dead records (None: all) back into the outbox; returns how many."""
        wanted = None if ids is None else tuple(ids)
        return self._writer.write(partial(outbox.redrive, ids=wanted))

    def counts(self) -> Future[Counts]:
        """Numbers for people."""
        return self._writer.call(counting.count)

    def backup(self) -> Future[Path]:
        """Write a checked copy into `directory`/backups and return its path."""
        return self._writer.call(partial(backups.write_backup, directory=self._directory))

    def overrides(self) -> Iterator[Override]:
        """What people said last of each (text, label set), from memory; never fails."""
        return iter(self._overrides)

    def find_override(self, text_key: bytes, label_set: str) -> Override | None:
        """What people said last of one text, from memory: current after every record and erase."""
        return self._overrides.find(text_key, label_set)

    def health(self) -> StoreHealth:
        """How the store is."""
        problem = self._writer.problem
        free = free_bytes(self._directory)
        is_ok = problem is None or (isinstance(problem, DiskFull) and free > LOW_BYTES)
        quarantined = tuple(sorted(p.name for p in self._directory.glob(QUARANTINE_GLOB)))
        if not is_ok:
            self._ask_to_open()  # without this it would stay shut until somebody writes
        return replace(
            self._facts,
            ok=is_ok,
            detail=str(problem) if not is_ok else self._notes(quarantined),
            quarantined=quarantined,
            free_bytes=free,
        )

    def _notes(self, quarantined: tuple[str, ...]) -> str:
        notes = []
        if quarantined:
            notes.append(
                f"a damaged file was set aside ({quarantined[-1]}), {self._facts.salvaged} records "
                "saved from it since the start; check the disk, and compare with a backup"
            )
        log_bytes = size_or_zero(Path(f"{self._path}-wal"))
        if log_bytes > WAL_ALARM_BYTES:
            notes.append(
                f"the write-ahead log has grown to {log_bytes // 2**20} MiB; another program keeps "
                f"{self._path} open: close it"
            )
        return "; ".join(notes)

    def _ask_to_open(self) -> Future[None]:
        return self._writer.call(lambda _: None)

    def _open(self) -> Database:
        prepare_directory(self._directory)
        filesystem = filesystem_type(self._directory)
        refuse_network(filesystem, self._directory)
        if self._lock is None:
            self._lock = lock_directory(self._directory, "corrections")
        opened = open_database(self._directory, self._synchronous)
        self._reserve.hold()
        self._overrides.load(read_corrections(opened.db))
        self._facts = replace(
            self._facts,
            salvaged=self._facts.salvaged + (opened.salvaged or 0),
            journal_mode=str(pragma(opened.db, "journal_mode")),
            synchronous=SYNCHRONOUS_NAMES[int(pragma(opened.db, "synchronous"))],
            filesystem=filesystem,
        )
        return opened.db

    def _tidy(self, db: Database) -> None:
        checkpoint(db)
        self._reserve.hold()

    def _note(self, recorded: Recorded) -> None:
        if recorded.is_new:
            self._overrides.note(recorded.correction)

    def _erase(self, db: Database, ids: tuple[str, ...], text: str | None) -> Ids:
        try:
            erased = erasing.erase(db, self._directory, self._reserve, ids, text)
        finally:
            self._overrides.load(read_corrections(db))
            self._writer.touch()
        self._writer.renew(self._reopen)
        return erased

    def _reopen(self) -> Database:
        scrub(self._path)
        return connect(self._path, self._synchronous)
