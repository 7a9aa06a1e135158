"""`edge.curation`: erasure that can be repeated, and answers that fit into memory.

The rest of the admin's use cases is in tests/e2e/test_corrections.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from edge.curation import Curation
from edge.errors import InvalidText, StoreUnavailable
from edge.ledger import Ledger, open_ledger
from edge.settings import Settings
from edge.store import rows
from edge.store.database import sqlite3
from edge.wire import EraseRequest
from tests.edge.store.samples import new_correction, prediction


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Real stores in a directory of their own."""
    ledger = open_ledger(Settings(state_dir=tmp_path / "state"))
    yield ledger
    ledger.close()


def record(ledger: Ledger, text: str) -> str:
    """The id of a correction of this text, made durable, with a prediction of the same text."""
    ledger.predictions.add(prediction(f"p-{text}", text))
    return ledger.store.record(new_correction(text)).result().correction.id


@pytest.mark.parametrize("by", ["id", "text"])
def test_an_erasure_that_fails_midway_can_be_repeated(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The correction goes last: while it is there, the repetition knows what else has to go."""
    made = record(ledger, "a")
    curation = Curation(ledger)
    wanted = EraseRequest(ids=[made]) if by == "id" else EraseRequest(text="a")
    broken: Future[int] = Future()
    broken.set_exception(StoreUnavailable("the disk"))
    monkeypatch.setattr(ledger.predictions, "erase", lambda *_, **__: broken)
    with pytest.raises(StoreUnavailable):
        asyncio.run(curation.erase_all(wanted))
    monkeypatch.undo()

    assert asyncio.run(curation.erase_all(wanted)).erased == [made]
    assert ledger.predictions.find("p-a").result() is None


@pytest.mark.parametrize("by", ["id", "ids", "text"])
def test_an_erasure_that_a_reader_barred_is_finished_by_the_next(
    ledger: Ledger, tmp_path: Path, by: str
) -> None:
    """The row is gone then, and its bytes are not: a tombstone is no reason to do nothing."""
    made = record(ledger, "plums in the icebox")
    reader = sqlite3.connect(tmp_path / "state" / "corrections.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM correction").fetchone()
    curation = Curation(ledger)

    def erase() -> list[str]:
        body = (
            EraseRequest(text="plums in the icebox") if by == "text" else EraseRequest(ids=[made])
        )
        work = curation.erase(made) if by == "id" else curation.erase_all(body)
        return asyncio.run(work).erased

    with pytest.raises(StoreUnavailable, match="another program reads"):
        erase()
    reader.close()
    assert erase() == []
    found = [path for path in (tmp_path / "state").iterdir() if path.is_file()]
    assert [path.name for path in found if b"plums" in path.read_bytes()] == []


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_text_erases_nothing(ledger: Ledger, blank: str) -> None:
    """A pipe that broke must not take every correction whose content was empty."""
    made = ledger.store.record(new_correction("a", content=blank)).result().correction
    with pytest.raises(InvalidText, match="blank"):
        asyncio.run(Curation(ledger).erase_all(EraseRequest(text=blank)))

    assert ledger.store.find(made.id).result() == made


def test_of_several_ids_unknown_ones_are_passed_over(ledger: Ledger) -> None:
    """One mistake does not keep the others' texts alive, nor hide which of them went."""
    first, second = record(ledger, "a"), record(ledger, "b")
    wanted = EraseRequest(ids=[first, "unknown", second])

    assert asyncio.run(Curation(ledger).erase_all(wanted)).erased == [first, second]
    assert ledger.predictions.find("p-b").result() is None


def test_an_erasure_leaves_other_texts_alone(ledger: Ledger) -> None:
    """One id takes one text."""
    gone, kept = record(ledger, "a"), record(ledger, "b")
    asyncio.run(Curation(ledger).erase(gone))

    assert [one.id for one in ledger.store.list().result()] == [kept]
    assert ledger.predictions.find("p-b").result() is not None


def test_long_texts_come_in_small_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is cut where it would grow too large, and says what is left; nothing is skipped."""
    monkeypatch.setattr(rows, "MAX_PAGE_CHARS", 20)
    made = [record(ledger, text) for text in ("a" * 10, "b" * 10, "c" * 90, "d" * 10)]
    curation = Curation(ledger)

    found, after = [], 0
    for _ in made:
        page = asyncio.run(curation.corrections(after, 100, None, None))
        found.append([one.id for one in page.corrections])
        if page.next is None:
            break
        after = page.next
    assert found == [made[:2], made[2:3], made[3:]]
    out = asyncio.run(curation.outbox(100))
    assert ([one.id for one in out.records], out.remaining) == (made[:2], 2)
