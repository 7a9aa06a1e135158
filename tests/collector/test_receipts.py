"""Receipts: which build used a record, told to the box that sent it."""

from __future__ import annotations

import threading
import uuid

import pytest

from edge.errors import InvalidValue
from tests.collector.boxes import NOW, Box, erasure, record, wait_until
from training.collector.database import Database
from training.collector.receipts import mark_used


def test_a_used_record_is_told_to_its_own_box(box: Box, other_box: Box, database: Database) -> None:
    """Once per build, and to nobody else."""
    mine, theirs = record(), record()
    box.send([mine])
    other_box.send([theirs])

    for _ in range(2):
        marked = database.write(
            lambda c: mark_used(c, "2026-11-22", [mine["id"], theirs["id"]], NOW)
        )
        assert marked.used == 2

    answer = box.get("/v1/receipts").json()
    assert answer["receipts"] == [
        {"id": mine["id"], "build": "2026-11-22", "used_utc": "2026-11-22T10:00:00Z"}
    ]
    assert len(other_box.get("/v1/receipts").json()["receipts"]) == 1


def test_receipts_are_read_page_by_page(box: Box, database: Database) -> None:
    """`next` leads through all of them, each once, and then stays."""
    records = [record(n) for n in range(25)]
    box.send(records)
    database.write(lambda c: mark_used(c, "b1", [r["id"] for r in records], NOW))

    seen, after = [], 0
    while page := box.get(f"/v1/receipts?after={after}&limit=10").json()["receipts"]:
        after = box.get(f"/v1/receipts?after={after}&limit=10").json()["next"]
        seen += [receipt["id"] for receipt in page]

    assert sorted(seen) == sorted(r["id"] for r in records)
    assert box.get(f"/v1/receipts?after={after}").json() == {"receipts": [], "next": after}


def test_an_erased_or_unknown_record_is_not_marked(box: Box, database: Database) -> None:
    """The build hears which of its records it must do without."""
    kept, gone, strange = record(1), record(2), str(uuid.uuid4())
    box.send([kept, gone])
    box.send([erasure(gone["id"])])

    marked = database.write(lambda c: mark_used(c, "b1", [kept["id"], gone["id"], strange], NOW))

    assert (marked.used, marked.erased, marked.unknown) == (1, (gone["id"],), (strange,))
    assert len(box.get("/v1/receipts").json()["receipts"]) == 1


def test_a_receipt_is_never_skipped_by_a_reader_in_between(box: Box, database: Database) -> None:
    """While one build is being marked another waits: numbers become visible in their order."""
    first, second = record(1), record(2)
    box.send([first, second])
    started, finish = threading.Event(), threading.Event()

    def slow() -> None:
        def work(connection: object) -> None:
            mark_used(connection, "b1", [first["id"]], NOW)  # type: ignore[arg-type]
            started.set()
            finish.wait(20)

        database.write(work)

    def quick() -> None:
        database.write(lambda c: mark_used(c, "b2", [second["id"]], NOW))

    threads = [threading.Thread(target=slow), threading.Thread(target=quick)]
    threads[0].start()
    started.wait(20)
    threads[1].start()
    seen: list[str] = []
    after = 0

    def read() -> bool:
        nonlocal after
        page = box.get(f"/v1/receipts?after={after}").json()
        seen.extend(receipt["build"] for receipt in page["receipts"])
        after = page["next"]
        return len(seen) == 2

    threads[1].join(0.3)  # long enough to commit, if nothing held it back
    read()
    finish.set()
    wait_until(read)
    for thread in threads:
        thread.join(20)

    assert seen == ["b1", "b2"]


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=1001", "after=x", "after=9e99"])
def test_a_wrong_cursor_is_refused(box: Box, query: str) -> None:
    """422, with the parameter's name."""
    answer = box.get(f"/v1/receipts?{query}")

    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["detail"]


def test_a_build_needs_a_name(database: Database) -> None:
    """A name that fits a column and a command line."""
    with pytest.raises(InvalidValue, match="build"):
        database.write(lambda c: mark_used(c, "", [], NOW))
