"""A power cut at any moment: the real store's own writes, replayed onto a disk that forgets."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cutting import RECORDS, Losses, Recording, cut_many, cut_once, moment_of, record

SEEDS = 200
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A directory for the module."""
    directory = Path(tempfile.mkdtemp(prefix="intentd-cut-"))
    yield directory
    shutil.rmtree(directory)


def early_acks(recording: Recording) -> tuple[int, int]:
    """(records acknowledged before they were synced, all acknowledged)."""
    pending: dict[str, set[bytes]] = {}
    synced: set[bytes] = set()
    early = total = 0
    for operation in recording.operations:
        if operation.call == "pwrite64":
            pending.setdefault(operation.path, set()).update(UUID.findall(operation.data))
        elif operation.call in ("fsync", "fdatasync"):
            synced |= pending.pop(operation.path, set())
        elif operation.call == "write" and operation.path == str(recording.acks):
            total += 1
            early += operation.data.split()[1] not in synced
    return early, total


def test_a_power_cut_loses_no_acknowledged_correction_and_damages_nothing(scratch: Path) -> None:
    """Whatever survives of what was not synced, all that was acknowledged is there, and sound."""
    losses = cut_many(record(scratch, "FULL"), scratch, SEEDS)
    assert losses.acknowledged > SEEDS * RECORDS // 4
    assert (losses.lost, losses.corrupt, losses.remnants) == (0, 0, 0)
    print(f"{SEEDS} cuts: {losses}")  # noqa: T201


def test_what_was_erased_stays_erased_whatever_survives_of_the_last_writes(scratch: Path) -> None:
    """Just after an erasure was acknowledged, no file can hold a byte of the text."""
    directory = scratch / "erase"
    directory.mkdir()
    recording, losses = record(directory, "FULL", 6), Losses()
    for seed in range(20):
        chance, moment = random.Random(seed), moment_of(recording, b"erased")
        cut_once(recording, scratch / "after", chance, losses, moment)
    assert (losses.lost, losses.corrupt, losses.remnants) == (0, 0, 0)


def test_the_power_cut_finds_the_losses_of_a_store_that_does_not_sync(scratch: Path) -> None:
    """The negative control: with synchronous=NORMAL the very same cuts lose corrections."""
    losses = cut_many(record(scratch, "NORMAL"), scratch, SEEDS // 10)
    assert losses.lost > 0


def test_nothing_is_acknowledged_before_it_is_synced(scratch: Path) -> None:
    """No future ends while what was written of its correction is only in the page cache."""
    directory = scratch / "order"
    directory.mkdir()
    early, total = early_acks(record(directory, "FULL", 500))
    assert total >= 500
    assert early == 0


def test_the_order_of_calls_shows_a_store_that_acknowledges_too_early(scratch: Path) -> None:
    """The negative control: with synchronous=NORMAL nearly all are early."""
    directory = scratch / "control"
    directory.mkdir()
    early, total = early_acks(record(directory, "NORMAL", 50))
    assert early > total // 2
