"""A daemon whose databases are damaged starts, answers, and tells what it could save."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge.store import CorrectionStore, PredictionLog
from edge.store.recording import now_ms
from tests.daemons import short_directory, start
from tests.e2e.talk import ask, post
from tests.edge.store.samples import new_correction, prediction
from tests.faults.clients import all_corrections, correction

ROWS = 20


def fill(state: Path) -> None:
    """What a daemon would leave behind that recorded some corrections and answered a question."""
    store, log = CorrectionStore.open(state), PredictionLog.open(state)
    log.add(prediction("1", "say it in short", created_ms=now_ms()))
    for number in range(ROWS):
        store.record(new_correction(f"text {number} ")).result()
    log.close()
    store.close()


def damage(path: Path, chance: random.Random) -> None:
    """Overwrite a whole page, the first one at times."""
    data = bytearray(path.read_bytes())
    at = chance.choice((0, chance.randrange(len(data)) // 4096 * 4096))
    data[at : at + 4096] = chance.randbytes(4096)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_daemon_with_damaged_databases_starts_and_answers(seed: int) -> None:
    """Predictions and corrections work at once; the damaged file is kept, and counted out."""
    with short_directory() as directory:
        fill(directory / "intentd")
        for name in ("corrections.db", "predictions.db"):
            damage(directory / "intentd" / name, random.Random(seed))
        with start(directory) as daemon:
            answer = post(daemon.socket, "/v1/classify", {"text": "say it in short"})
            made = post(daemon.socket, "/v1/corrections", correction(ROWS))
            stats = ask(directory / "admin.sock", "GET", "/v1/stats").json
            stored = all_corrections(directory / "admin.sock")
        assert (answer.status, made.status) == (200, 201)
        health = stats["store"]
        assert health["ok"]
        assert len(stored) == health["salvaged"] + 1 if health["quarantined"] else ROWS + 1
        assert f"text {ROWS} " in [row["text"] for row in stored]
