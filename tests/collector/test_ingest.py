"""What a batch leaves behind: each record once, and each record's fate for itself."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from tests.collector.boxes import CANARY, Box, count_rows, erasure, record
from training.collector.database import Database
from training.collector.models import Correction, Fate, Parked, RecordId


def test_a_batch_is_stored_as_it_came(box: Box, database: Database) -> None:
    """Every field of a record is in the database, and unknown ones are kept beside them."""
    sent = record(7, content="the article", mood="new field")

    assert box.send([sent]) == ["accepted"]

    with database.read() as connection:
        row = connection.execute(sa.select(Correction.__table__)).mappings().one()
    known = {name: row[name] for name in sent if name not in ("type", "mood", "occurred_utc")}
    assert known == {name: sent[name] for name in known}
    assert json.loads(row["extra"]) == {"mood": "new field"}
    assert row["occurred_utc"].isoformat() == "2026-11-22T09:59:00+00:00"
    assert (row["redaction_version"], row["tier"]) == ("1", "redacted")


def test_sending_a_batch_again_changes_nothing(box: Box, database: Database) -> None:
    """At least once from the box is exactly once here."""
    records = [record(n) for n in range(20)]

    assert box.send(records) == ["accepted"] * 20
    assert box.send(records) == ["duplicate"] * 20
    assert count_rows(database) == 20


def test_another_payload_under_a_known_id_is_a_conflict(box: Box, database: Database) -> None:
    """The first payload stays, and the box is told."""
    first = record()
    box.send([first])

    result = box.post([first | {"label": "REASON"}]).json()["results"][0]

    assert (result["status"], result["code"]) == ("rejected", "conflict")
    with database.read() as connection:
        assert connection.scalar(sa.select(Correction.label)) == "SEARCH_ONLY"


@pytest.mark.parametrize("version", [1, 2])
def test_a_record_sent_again_after_its_redaction_changed_is_a_duplicate(
    box: Box, database: Database, version: int
) -> None:
    """Its first answer was lost; whatever the text became since, the box need not keep it."""
    first = record(schema_version=version)
    labels_only = first | {"text": None, "text_hash": "0" * 32, "predicted_label": "[denied]"}
    box.send([first])

    assert box.send([first | {"text": "[email]"}], redaction_version="2") == ["duplicate"]
    assert box.send([labels_only], tier="labels") == ["duplicate"]
    assert box.send([first | {"label": "REASON"}], tier="labels") == ["rejected"]
    with database.read() as connection:
        assert connection.scalars(sa.select(Correction.text)).all() in ([first["text"]], [])


def test_an_id_of_another_device_is_a_conflict(box: Box, other_box: Box) -> None:
    """A device can neither overwrite nor erase what is not its own."""
    mine = record()
    box.send([mine])

    answer = other_box.post([mine, erasure(mine["id"])]).json()["results"]

    assert [r["status"] for r in answer] == ["duplicate", "rejected"]
    assert other_box.send([mine]) == ["rejected"]
    assert box.send([mine]) == ["duplicate"]


def test_twice_in_one_batch_is_once_in_the_database(box: Box, database: Database) -> None:
    """The first of an id counts; its twin is a duplicate, and another payload a conflict."""
    one = record()

    statuses = box.send([one, dict(one), one | {"label": "else"}])

    assert statuses == ["accepted", "duplicate", "rejected"]
    assert count_rows(database) == 1


POISON: list[Any] = [
    7,
    None,
    [],
    "text",
    {},
    {"type": "correction"},
    record(id="not-a-uuid"),
    record(id=str(uuid.uuid4()).upper()),
    record(seq=-1),
    record(seq=2**63),
    record(seq=True),
    record(schema_version=0),
    record(schema_version="1"),
    record(schema_version=2**31),
    record(kind="guess"),
    record(text="a\0b"),
    record(text=7),
    record(labels=["A", "\0"]),
    record(labels="A"),
    record(score=2),
    record(score="0.5"),
    record(occurred_utc="yesterday"),
    record(occurred_utc="2026-11-22T10:00:00"),
    record(occurred_utc=0),
    record(occurred_utc="0001-01-01T00:00:00+14:00"),
    record(label=7),
    {name: value for name, value in record().items() if name != "label"},
    erasure("not-a-uuid"),
    record(schema_version=9, id=None),
]


def test_a_poison_record_is_refused_alone(box: Box, database: Database) -> None:
    """Whatever is wrong with a record, those before and after it are stored."""
    answer = box.post([record(1), *POISON, record(2)])

    results = answer.json()["results"]
    rejected = [r for r in results if r["status"] == "rejected"]
    assert [r["status"] for r in results].count("accepted") == 2
    assert len(rejected) == len(POISON)
    assert {r["code"] for r in rejected} == {"invalid"}
    assert CANARY not in json.dumps([r["message"] for r in rejected])
    assert count_rows(database) == 2


def test_the_extremes_of_every_field_are_stored(box: Box, database: Database) -> None:
    """What the parser lets through, the database takes."""
    edge = record(
        2**63 - 1,
        epoch=2**63 - 1,
        text="\U0001d518\U0010ffff\x01\u2028" * 1000,
        content="",
        label=None,
        predicted_label=None,
        score=None,
        labels=[],
        occurred_utc="0001-01-01T00:00:00Z",
        more={"nul": "\0", "deep": [[[{}]]]},
    )
    labels_only = record(text=None, score=0, occurred_utc="9999-12-31T23:59:59.999999+00:00")

    assert box.send([edge, labels_only]) == ["accepted", "accepted"]
    assert count_rows(database) == 2


def test_a_newer_record_is_parked_whole(box: Box, database: Database) -> None:
    """A box that was updated first loses nothing, not even what nobody here understands."""
    newer = record(3, schema_version=2, text={"parts": ["a\0"]}, mood=[1])

    assert box.send([newer]) == ["parked"]
    assert box.send([newer]) == ["duplicate"]
    with database.read() as connection:
        assert json.loads(connection.scalars(sa.select(Parked.payload)).one()) == newer
    assert box.get("/v1/cursor").json() == {"epoch": 1, "seq": 3}


def test_an_erased_record_is_gone_and_never_comes_back(box: Box, database: Database) -> None:
    """The row goes, its hash goes, and the same id sent later is not stored."""
    records = [record(n) for n in range(3)]
    parked = record(9, schema_version=2)
    box.send([*records, parked])

    assert (
        box.send([erasure(records[1]["id"]), erasure(parked["id"], schema_version=5)])
        == ["accepted"] * 2
    )
    assert box.send([records[1], records[1] | {"text": "else"}, parked]) == ["duplicate"] * 3

    with database.read() as connection:
        ids = set(connection.scalars(sa.select(Correction.id)))
        gone = connection.execute(
            sa.select(RecordId.identity_sha256, RecordId.erased_utc).where(
                RecordId.fate == Fate.ERASED
            )
        ).all()
        assert connection.scalars(sa.select(Parked.id)).all() == []
    assert ids == {records[0]["id"], records[2]["id"]}
    assert len(gone) == 2
    assert all(row.identity_sha256 is None and row.erased_utc for row in gone)


def test_an_erasure_that_overtakes_its_correction_wins(box: Box, database: Database) -> None:
    """Sent before it, or in one batch with it: it is not stored."""
    first, second = record(1), record(2)

    assert box.send([erasure(first["id"])]) == ["accepted"]
    assert box.send([first, second, erasure(second["id"])]) == [
        "duplicate",
        "duplicate",
        "accepted",
    ]
    assert count_rows(database) == 0


def test_an_erasure_said_twice_is_accepted_twice(box: Box) -> None:
    """A box that did not hear the answer asks again."""
    one = record()
    box.send([one])

    assert box.send([erasure(one["id"])]) == ["accepted"]
    assert box.send([erasure(one["id"]), erasure(one["id"])]) == ["accepted"] * 2


def test_the_cursor_is_the_highest_number_of_the_newest_epoch(box: Box, other_box: Box) -> None:
    """A box that was restored from a backup learns where it had been."""
    assert box.get("/v1/cursor").json() == {"epoch": 0, "seq": 0}

    box.send([record(5), record(9), record(7)])
    box.send([record(3)])
    assert box.get("/v1/cursor").json() == {"epoch": 1, "seq": 9}

    answer = box.post([record(2, epoch=4)], epoch=4).json()
    assert answer["cursor"] == {"epoch": 4, "seq": 2}
    assert other_box.get("/v1/cursor").json() == {"epoch": 0, "seq": 0}


def test_one_batch_from_many_threads_is_stored_once(box: Box, database: Database) -> None:
    """Whoever comes second waits for the commit, and then finds the ids taken."""
    records = [record(n) for n in range(200)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: box.send(records), range(8)))

    assert [sum(a[n] == "accepted" for a in answers) for n in range(200)] == [1] * 200
    assert count_rows(database) == 200


def test_what_cannot_be_read_as_a_whole_is_malformed(box: Box) -> None:
    """A 400 tells the box to look for the poison by halves."""
    for body in (b"", b"{", b"[]", b"\xff", b'{"records": []}', b'"\\ud800"', b"[" * 10**5, b"NaN"):
        answer = box.post_raw(body)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_empty_batch_is_an_empty_answer(box: Box) -> None:
    """Nothing to store is nothing wrong."""
    assert box.send([]) == []


def test_a_batch_is_all_or_nothing_when_the_database_fails(
    box: Box, database: Database, client: httpx2.Client
) -> None:
    """A fault in the middle leaves no trace, and the same batch is accepted afterwards."""
    records = [record(n) for n in range(10)]
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE cursors RENAME TO elsewhere"))

    try:
        assert box.post(records).status_code in (500, 503)
    finally:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO cursors"))

    assert count_rows(database) == 0
    assert box.send(records) == ["accepted"] * 10
