"""What a daemon asks of the disk: a sync before every acknowledgement, and nothing while idle."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.daemons import short_directory
from tests.e2e.talk import post, wait_until
from tests.faults.clients import Writers
from tests.faults.tape import Operation
from tests.faults.traced import Traced, traced_daemon

CORRECTIONS = 500
IDLE_S = float(os.environ.get("FAULTS_IDLE_S", "12"))  # twice what the slower store waits
pytestmark = pytest.mark.timeout(120 + 2 * IDLE_S)
UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
ANSWER = re.compile(rb'{"id":"(' + UUID + rb')","seq":')
CHANGES = ("pwrite64", "write", "ftruncate", "unlink", "rename", "fsync", "fdatasync")


def early_answers(operations: Sequence[Operation]) -> tuple[int, int]:
    """(answers sent before what was written of their correction was synced, all answers)."""
    pending: dict[str, set[bytes]] = {}
    synced: set[bytes] = set()
    early = total = 0
    for operation in operations:
        answer = ANSWER.search(operation.data)
        if operation.call == "pwrite64":
            pending.setdefault(operation.path, set()).update(re.findall(UUID, operation.data))
        elif operation.call in ("fsync", "fdatasync"):
            synced |= pending.pop(operation.path, set())
        elif answer is not None:
            total += 1
            early += answer[1] not in synced
    return early, total


@dataclass(frozen=True)
class Watched:
    """What a daemon did while eight writers corrected, and then while nobody asked anything."""

    busy: Sequence[Operation]
    idle: Sequence[Operation]


@pytest.fixture(scope="module")
def watched() -> Watched:
    """One daemon for the tests of this module."""
    with short_directory() as directory:
        with traced_daemon(directory) as daemon:
            answer_many(daemon, CORRECTIONS)
            post(daemon.socket, "/v1/classify", {"text": "say it in short"})
            wait_until_tidy(daemon)
            busy = daemon.operations()
            threading.Event().wait(IDLE_S)
            idle = daemon.operations()[len(busy) :]
        return Watched(busy, idle)


def answer_many(daemon: Traced, corrections: int) -> None:
    """Let eight writers correct."""
    writers = Writers(daemon.socket)
    wait_until(lambda: len(writers.acknowledged) >= corrections, "acknowledgements")
    writers.stop()


def wait_until_tidy(daemon: Traced) -> None:
    """Wait until predictions are flushed and corrections folded in."""
    log = str(daemon.state / "predictions.db-wal")
    wait_until(
        lambda: (
            (daemon.state / "corrections.db-wal").stat().st_size == 0
            and any(it.path == log and b"say it in short" in it.data for it in daemon.operations())
        ),
        "the stores to tidy up",
    )


def test_no_answer_is_sent_before_its_correction_is_synced(watched: Watched) -> None:
    """At the level of the wire: the bytes of the 201 leave after the fsync."""
    early, total = early_answers(watched.busy)
    assert total >= CORRECTIONS
    assert early == 0
    print(f"{total} answers, {early} before their sync")  # noqa: T201


def test_the_trace_shows_a_daemon_that_answers_too_early() -> None:
    """The negative control: the same daemon with a store that does not sync."""
    with short_directory() as directory:
        with traced_daemon(directory, "tests.faults.careless") as daemon:
            answer_many(daemon, 50)
        early, total = early_answers(daemon.operations())
    assert early > total // 2


def test_an_idle_daemon_leaves_the_disk_alone(watched: Watched) -> None:
    """After it has answered, corrected and tidied up: 0 writes and 0 syncs, so that disks sleep."""
    changes = [it.call for it in watched.busy if it.path.startswith("/") and it.call in CHANGES]
    assert {"pwrite64", "fdatasync"} <= set(changes)
    assert [it for it in watched.idle if it.path.startswith("/") and it.call in CHANGES] == []
    print(f"{IDLE_S:.0f} s idle: 0 writes, 0 syncs")  # noqa: T201
