"""The real store in a process of its own, for tests that watch or break its system calls.

    python -m tests.faults.child DIRECTORY SYNCHRONOUS ACKS RECORDS THREADS

Each acknowledgement is one line in the file ACKS, written the moment the store's future ends:
`recorded ID NUMBER`, `erased ID NUMBER`, `refused - NUMBER`. After a third one
correction is erased, after another the store is left alone until it has tidied up; it ends without
closing anything.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from edge.errors import StoreUnavailable
from edge.store import CorrectionStore, corrections, writer
from tests.edge.store.samples import new_correction

__all__ = ["main"]


def main() -> None:
    """Record, erase, record, pause, record."""
    directory, synchronous, acks, records, threads = sys.argv[1:]
    corrections.IDLE_S = 0.2
    writer.RETRY_S = 0.01
    log = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store = CorrectionStore.open(Path(directory), synchronous=synchronous)
    third = int(records) // 3
    ids = record(store, log, range(third), int(threads))
    for number, id in list(ids.items())[:1]:
        while store.erase([id]).exception() is not None:
            os.write(log, f"refused - {number}\n".encode())
        os.write(log, f"erased {id} {number}\n".encode())
    record(store, log, range(third, 2 * third), int(threads))
    wait_until_tidy(Path(directory) / "corrections.db-wal")
    record(store, log, range(2 * third, int(records)), int(threads))
    os._exit(0)


def record(store: CorrectionStore, log: int, numbers: range, n_threads: int) -> dict[int, str]:
    """Record one text a number, on some threads; returns number → id."""
    made_ids: dict[int, str] = {}
    wait = threading.Event()

    def work(mine: range) -> None:
        for number in mine:
            text = f"text {number} " + "x" * (number * 997 % 9000)
            try:
                made = store.record(new_correction(text, client_key=str(number))).result()
            except StoreUnavailable:
                os.write(log, f"refused - {number}\n".encode())
                wait.wait(0.02)
            else:
                os.write(log, f"recorded {made.correction.id} {number}\n".encode())
                made_ids[number] = made.correction.id

    workers = [
        threading.Thread(target=work, args=(numbers[n::n_threads],)) for n in range(n_threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return made_ids


def wait_until_tidy(wal: Path) -> None:
    """Wait until the write-ahead log was folded in; not for long, the disk may be a broken one."""
    waited, deadline = threading.Event(), time.monotonic() + 2.0
    while wal.exists() and wal.stat().st_size and time.monotonic() < deadline:
        waited.wait(0.01)


if __name__ == "__main__":
    main()
