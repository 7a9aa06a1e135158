"""`POST /v1/corrections`, p50 and p99, while eight clients classify as fast as they can.

Beside it stand the same correction on an idle daemon, and a bare `fdatasync` of one page on the
same disk: no durable answer can be faster than that.

    python -m benchmarks.corrections --requests 1000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.machine import describe_machine
from edge.bench import UnixConnection
from tests.daemons import running_daemon

TEXT = (
    "Please have a look at the attached minutes and tell me in two or three sentences "
    "what was decided about the budget"
)
CLIENTS = 8
PAGE_BYTES = 4096
TARGET_MS = (5.0, 25.0)
JSON = {"Content-Type": "application/json"}
Times = list[float]


def main() -> None:
    """Print one row for each situation, and whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="corrections per situation")
    parser.add_argument("--pause-ms", type=float, default=10.0, help="between two corrections")
    options = parser.parse_args()
    pause_s = options.pause_ms / 1e3
    with running_daemon() as daemon:
        bare = timed(sync_page(daemon.socket.parent), options.requests, pause_s)
        quiet = timed(correcting(daemon.socket, "quiet"), options.requests, pause_s)
        stop, counter = multiprocessing.Event(), multiprocessing.Value("i", 0)
        crowd = multiprocessing.Process(target=classify, args=(daemon.socket, stop, counter))
        crowd.start()
        while counter.value < CLIENTS:
            time.sleep(0.01)
        began, answered = time.perf_counter(), counter.value
        busy = timed(correcting(daemon.socket, "busy"), options.requests, pause_s)
        rate = (counter.value - answered) / (time.perf_counter() - began)
        stop.set()
        crowd.join()
    print(f"{describe_machine()}\n\n{table(bare, quiet, busy, rate)}")


def timed(call: Callable[[], object], times: int, pause_s: float) -> Times:
    """Milliseconds of each call, after a tenth as many to warm up."""
    measured: Times = []
    for number in range(times // 10 + times):
        time.sleep(pause_s)
        began = time.perf_counter()
        call()
        if number >= times // 10:
            measured.append((time.perf_counter() - began) * 1e3)
    return measured


def sync_page(directory: Path) -> Callable[[], object]:
    """Append a page to a file and sync it."""
    handle = os.open(directory / "page", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def call() -> None:
        os.write(handle, os.urandom(PAGE_BYTES))
        os.fdatasync(handle)

    return call


def correcting(path: Path, name: str) -> Callable[[], object]:
    """One correction on a connection that stays open."""
    connection, numbers = UnixConnection(path), iter(range(10**9))

    def call() -> None:
        body = json.dumps({"text": f"{TEXT} ({name} {next(numbers)})", "label": "SUMMARIZE"})
        connection.request("POST", "/v1/corrections", body, JSON)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 201

    return call


def classify(path: Path, stop: Event, counter: multiprocessing.sharedctypes.Synchronized) -> None:
    """Eight clients, each with one request at a time, in a process of their own."""

    def client(name: int) -> None:
        connection, number = UnixConnection(path), 0
        while not stop.is_set():
            number += 1
            body = json.dumps({"text": f"{TEXT} ({name} {number})"})
            connection.request("POST", "/v1/classify", body, JSON)
            connection.getresponse().read()
            with counter.get_lock():
                counter.value += 1

    threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def table(bare: Times, quiet: Times, busy: Times, rate: float) -> str:
    """Markdown."""
    rows = {
        "a page and `fdatasync`, without the daemon": bare,
        "a correction, otherwise idle": quiet,
        f"a correction while {CLIENTS} clients classify ({rate:.0f} answers/s)": busy,
    }
    lines = ["| what | p50 | p99 | slowest |", "|---|---|---|---|"]
    for name, times in rows.items():
        cells = (statistics.median(times), p99(times), max(times))
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f} ms" for cell in cells) + " |")
    is_met = statistics.median(busy) <= TARGET_MS[0] and p99(busy) <= TARGET_MS[1]
    lines.append(
        f"\ntarget ≤ {TARGET_MS[0]:.0f} / {TARGET_MS[1]:.0f} ms: {'met' if is_met else 'missed'}"
    )
    return "\n".join(lines)


def p99(times: Times) -> float:
    """The 99th percentile."""
    return statistics.quantiles(times, n=100)[98]


if __name__ == "__main__":
    main()
