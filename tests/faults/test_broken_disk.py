"""A disk whose syncs fail now and then: nothing that it did not take is ever acknowledged."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.cutting import Losses, cut_many, cut_once, moment_of, record

EVERY_SEVENTH = "9+7"  # the log's, the database's, the directory's
BURST = "14..16"  # a commit's, and those of closing and opening again
SEEDS = 60
NEAR = 90  # calls: from the failure until the store has found its feet again


def test_a_sync_that_fails_is_never_acknowledged_and_costs_nothing_that_was(
    tmp_path: Path,
) -> None:
    """The kernel drops what it could not write: going on as if it had would lose it later."""
    recording = record(tmp_path, "FULL", inject=[f"fdatasync:error=EIO:when={EVERY_SEVENTH}"])
    assert moment_of(recording, b"refused") < len(recording.operations)
    losses = cut_many(recording, tmp_path, SEEDS)
    assert losses.acknowledged > SEEDS
    assert (losses.lost, losses.corrupt, losses.remnants) == (0, 0, 0)


def test_a_power_cut_while_the_store_recovers_from_failed_syncs_damages_nothing(
    tmp_path: Path,
) -> None:
    """What is read back after a failure may be in memory only; nothing is built on it."""
    inject = [f"fdatasync:error=EIO:when={BURST}"]
    recording, losses = record(tmp_path, "FULL", threads=1, inject=inject), Losses()
    failed = moment_of(recording, b"refused")
    for seed in range(SEEDS):
        chance = random.Random(seed)
        moment = min(failed + chance.randrange(NEAR), len(recording.operations))
        cut_once(recording, tmp_path / "after", chance, losses, moment)
    assert losses.acknowledged > 0
    assert (losses.lost, losses.corrupt, losses.remnants) == (0, 0, 0)
