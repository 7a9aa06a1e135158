"""`edge.forms`: times survive both ways, states are told apart, and no text slips into a fate."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidValue
from edge.forms import (
    END_OF_TIME_MS,
    correction_answer,
    dead_record,
    describe_correction,
    describe_fate,
    describe_labels,
    read_utc,
    record_of,
    write_utc,
)
from edge.store.records import Correction, Counts, Erasure, Kind, Recorded
from edge.wire import CorrectionDetail, CorrectionFate, CorrectionRecord, DeadErasure, ErasureRecord

MADE = Correction(
    text="xyzzyplugh",
    content="frobozz",
    label="A",
    kind=Kind.CORRECTION,
    predicted_label="B",
    score=0.5,
    prediction_id="p",
    labels=("A", "B"),
    label_set="l",
    model="m",
    phase="A",
    source="s",
    client_key="k",
    id="i",
    seq=7,
    epoch=2,
    created_ms=1000,
    sent_ms=2000,
    accepted_ms=3000,
    used_ms=4000,
    build="b",
    attempts=3,
    last_error="e",
)
GONE = Erasure(id="i", seq=7, epoch=2, erased_ms=5000, sent_ms=6000, accepted_ms=7000)


@given(st.integers(0, END_OF_TIME_MS - 1))
def test_a_time_survives_its_text(milliseconds: int) -> None:
    """To the millisecond, and in UTC."""
    text = write_utc(milliseconds)

    assert text.endswith("Z")
    assert read_utc(text, "f") == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
        ("1970-01-01", 0),
    ],
)
def test_a_time_may_have_another_form(text: str, milliseconds: int) -> None:
    """A zone, none, or a date alone."""
    assert read_utc(text, "f") == milliseconds


@given(st.text() | st.datetimes().map(lambda moment: f"{moment.isoformat()}-23:59"))
def test_what_is_no_time_is_refused(text: str) -> None:
    """Whatever is accepted can be written again."""
    with suppress(InvalidValue):
        assert write_utc(read_utc(text, "used_utc"))


@pytest.mark.parametrize(
    "text", ["", "now", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01", "0001-01-01"]
)
def test_a_time_out_of_range_is_named(text: str) -> None:
    """What `datetime` could not write again is no time here."""
    with pytest.raises(InvalidValue, match="used_utc: expected a time such as"):
        read_utc(text, "used_utc")


def test_a_fate_has_every_step_and_no_text() -> None:
    """It is on api.sock, where other apps read too."""
    fate = describe_fate(MADE)

    assert fate == CorrectionFate(
        id="i",
        kind="correction",
        label="A",
        predicted_label="B",
        state="used",
        created_utc="1970-01-01T00:00:01.000Z",
        sent_utc="1970-01-01T00:00:02.000Z",
        accepted_utc="1970-01-01T00:00:03.000Z",
        used_utc="1970-01-01T00:00:04.000Z",
        build="b",
        error="e",
    )
    assert "xyzzyplugh" not in fate.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"dead": True}, "dead"),
        ({"used_ms": None}, "accepted"),
        ({"used_ms": None, "accepted_ms": None}, "sent"),
        ({"used_ms": None, "accepted_ms": None, "sent_ms": None}, "durable"),
    ],
)
def test_the_state_is_how_far_it_has_come(changes: dict[str, object], state: str) -> None:
    """The answer to whoever made it says durable whatever has happened since."""
    made = replace(MADE, **changes)  # type: ignore[arg-type]  # any field

    assert describe_fate(made).state == state
    assert correction_answer(Recorded(made, is_new=False)).state == "durable"


def test_a_tombstone_is_an_id_and_times() -> None:
    """Nothing of what was erased."""
    fate = describe_fate(GONE)

    assert (fate.state, fate.erased_utc) == ("erased", "1970-01-01T00:00:05.000Z")
    assert (fate.kind, fate.label, fate.created_utc) == (None, None, None)
    assert record_of(GONE) == ErasureRecord(id="i", occurred_utc="1970-01-01T00:00:05.000Z")
    assert isinstance(dead_record(GONE), DeadErasure)


def test_a_record_is_the_correction_without_what_is_local() -> None:
    """Neither the app's key nor the prediction's id leaves the box."""
    record = record_of(MADE)

    assert isinstance(record, CorrectionRecord)
    shared = set(CorrectionRecord.model_fields) & set(CorrectionDetail.model_fields)
    detail = describe_correction(MADE)
    assert all(getattr(record, name) == getattr(detail, name) for name in shared)
    assert "client_key" not in CorrectionRecord.model_fields
    assert dead_record(MADE).error == "e"


def test_every_expected_label_has_a_row() -> None:
    """Also one without corrections; others follow, "none of these" among them."""
    counts = Counts({"z": (1, 2), "B": (3, 4), None: (5, 6)}, (), 0, 0, 0)
    rows = describe_labels(counts, ("A", "B"))

    assert [(r.label, r.corrections, r.confirmations) for r in rows] == [
        ("A", 0, 0),
        ("B", 3, 4),
        (None, 5, 6),
        ("z", 1, 2),
    ]
    assert {row.target for row in rows} == {500}
