"""Backups: whole, checked, few, and one epoch ahead."""

from __future__ import annotations

from pathlib import Path

from edge.store import CorrectionStore
from edge.store.opening import DATABASE
from tests.edge.store.samples import new_correction


def test_a_restored_backup_gives_no_number_out_twice(
    store: CorrectionStore, tmp_path: Path
) -> None:
    """It holds what was in the log too, and begins a new epoch."""
    kept = store.record(new_correction("kept")).result().correction
    backup = store.backup().result()
    lost = store.record(new_correction("lost")).result().correction
    restored = tmp_path / "restored"
    restored.mkdir()
    (restored / DATABASE).write_bytes(backup.read_bytes())
    again = CorrectionStore.open(restored)
    assert again.list().result() == [kept]
    fresh = again.record(new_correction("fresh")).result().correction
    assert fresh.seq == lost.seq
    assert (fresh.epoch, lost.epoch) == (2, 1)
    again.close()


def test_only_the_newest_backups_are_kept(store: CorrectionStore, tmp_path: Path) -> None:
    """Nothing beside them is left, half-written ones included."""
    written = [store.backup().result() for _ in range(5)]
    assert sorted((tmp_path / "backups").iterdir()) == written[-3:]
