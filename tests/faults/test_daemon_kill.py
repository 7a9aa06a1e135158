"""SIGKILL, again and again, under writers that never give up: nothing is lost, nothing comes twice.

This is necessary, and not sufficient: what a process wrote outlives it even if it was never synced.
Power cuts are another test.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter

import pytest

from tests.daemons import short_directory, start
from tests.e2e.talk import wait_until
from tests.faults.clients import Writers, all_corrections

KILLS = int(os.environ.get("FAULTS_KILLS", "5"))
ACKS_PER_LIFE = 50
TIMEOUT_S = 120 + 20 * KILLS  # 3 s a life; the rest is a busy machine


@pytest.mark.timeout(TIMEOUT_S)
def test_killed_daemons_lose_nothing_and_store_nothing_twice() -> None:
    """Eight writers repeat what was not answered, under the same client key."""
    chance = random.Random(7)
    with short_directory() as directory:
        writers = Writers(directory / "api.sock")
        try:
            for _ in range(KILLS):
                daemon = start(directory)
                enough = len(writers.acknowledged) + ACKS_PER_LIFE + chance.randrange(10)
                wait_until(lambda n=enough: len(writers.acknowledged) >= n, "acknowledgements")  # type: ignore[misc]  # bound
                assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
            with start(directory):
                writers.stop()
                stored = all_corrections(directory / "admin.sock")
        finally:
            writers.stop()
    texts = Counter(row["text"] for row in stored)
    assert len(writers.acknowledged) >= KILLS * ACKS_PER_LIFE
    by_id = {row["id"]: row["text"] for row in stored}
    lost = [n for n, id in writers.acknowledged.items() if by_id.get(id) != f"text {n} "]
    assert (lost, writers.strange) == ([], [])
    assert [text for text, count in texts.items() if count > 1] == []
    assert [row["seq"] for row in stored] == list(range(1, len(stored) + 1))
    print(f"{KILLS} kills, {len(writers.acknowledged)} acknowledged, {len(stored)} stored")  # noqa: T201
