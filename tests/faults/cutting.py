"""Runs the real store, cuts its power, opens what is left, and counts what it cost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.store import CorrectionStore
from edge.store.records import Correction, Erasure
from tests.faults.disk import Disk
from tests.faults.tape import Operation, python, record_tape

__all__ = ["Losses", "Recording", "cut_many", "cut_once", "moment_of", "record"]

RECORDS = 60
THREADS = 4


@dataclass(frozen=True)
class Recording:
    """What one run of the store did, and where."""

    directory: Path
    acks: Path
    operations: Sequence[Operation]


@dataclass
class Losses:
    """What a power cut cost."""

    acknowledged: int = 0
    lost: int = 0
    corrupt: int = 0
    remnants: int = 0


def record(
    scratch: Path,
    synchronous: str,
    records: int = RECORDS,
    threads: int = THREADS,
    inject: Sequence[str] = (),
) -> Recording:
    """Run the store under strace, which may make some of its calls fail."""
    directory, acks = scratch / synchronous, scratch / f"{synchronous}.acks"
    directory.mkdir()
    child = python(
        "tests.faults.child", str(directory), synchronous, str(acks), str(records), str(threads)
    )
    return Recording(directory, acks, record_tape(scratch / "tape", child, inject))


def cut_many(recording: Recording, scratch: Path, seeds: int) -> Losses:
    """Cut the power `seeds` times, each time at another moment, and open what is left."""
    losses = Losses()
    for seed in range(seeds):
        cut_once(recording, scratch / "after", random.Random(seed), losses)
    return losses


def cut_once(
    recording: Recording,
    after: Path,
    chance: random.Random,
    losses: Losses,
    moment: int | None = None,
) -> None:
    """Cut the power once, at a random moment unless one is given."""
    if moment is None:
        moment = chance.randint(moment_of(recording, b"recorded"), len(recording.operations))
    disk = Disk(recording.directory)
    disk.run(recording.operations[:moment])
    after.mkdir()
    disk.cut(chance, after)
    recorded, erased = acknowledged(recording, moment)
    files = b"".join(path.read_bytes() for path in sorted(after.rglob("*")) if path.is_file())
    losses.remnants += sum(f"text {number} ".encode() in files for number in erased.values())
    check(after, recorded, erased, losses)
    shutil.rmtree(after)


def check(after: Path, recorded: dict[str, str], erased: dict[str, str], losses: Losses) -> None:
    """Open what is left with the real store, and look for everything that was acknowledged."""
    store = CorrectionStore.open(after)
    health = store.health()
    losses.corrupt += bool(health.quarantined) or not health.ok
    for id, number in recorded.items():
        found = store.find(id).result()
        is_there = isinstance(found, Correction) and found.text.startswith(f"text {number} ")
        losses.lost += not (is_there or (isinstance(found, Erasure) and id not in erased))
    losses.lost += sum(not isinstance(store.find(id).result(), Erasure) for id in erased)
    losses.acknowledged += len(recorded) + len(erased)
    store.close()


def moment_of(recording: Recording, verb: bytes) -> int:
    """The moment just after the first acknowledgement of a kind."""
    acks = str(recording.acks)
    return 1 + next(
        at
        for at, operation in enumerate(recording.operations)
        if operation.call == "write" and operation.path == acks and operation.data.startswith(verb)
    )


def acknowledged(recording: Recording, moment: int) -> tuple[dict[str, str], dict[str, str]]:
    """Id → number of what was acknowledged before a moment: recorded and kept, erased."""
    recorded: dict[str, str] = {}
    erased: dict[str, str] = {}
    for operation in recording.operations[:moment]:
        if operation.call == "write" and operation.path == str(recording.acks):
            verb, id, number = operation.data.decode().split()
            if verb == "refused":
                continue
            recorded[id] = number
            if verb == "erased":
                erased[id] = number
    return {id: number for id, number in recorded.items() if id not in erased}, erased
