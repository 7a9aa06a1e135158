"""The record parser: it takes every record that a box may send, and never raises on any other."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from edge.errors import MalformedBody
from tests.collector.boxes import CANARY, erasure, record
from training.collector.identity import IDENTITY, canonical, identity_sha256
from training.collector.wire import (
    CorrectionRecord,
    ErasureRecord,
    Newer,
    Rejected,
    read_envelope,
    read_record,
)

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
maybe = st.none() | text
int64 = st.integers(0, 2**63 - 1)
times = st.datetimes(timezones=st.just(UTC)).map(lambda t: t.isoformat().replace("+00:00", "Z"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
corrections = st.fixed_dictionaries(
    {
        "type": st.just("correction"),
        "schema_version": st.just(1),
        "id": st.uuids().map(str),
        "seq": int64,
        "epoch": int64,
        "kind": st.sampled_from(["correction", "confirmation"]),
        "text": maybe,
        "content": maybe,
        "label": maybe,
        "predicted_label": maybe,
        "score": st.none() | st.floats(0, 1),
        "labels": st.lists(text, max_size=5),
        "label_set": text,
        "model": text,
        "phase": text,
        "source": text,
        "occurred_utc": times,
    }
)


@given(corrections)
def test_every_field_of_a_correction_survives(sent: dict[str, Any]) -> None:
    """decode(encode(x)) == x, over the bytes of the wire."""
    read = read_record(from_json(json.dumps(sent)))

    assert isinstance(read, CorrectionRecord)
    for name, value in sent.items():
        found = getattr(read, name)
        if isinstance(found, datetime):
            assert found == datetime.fromisoformat(value)
        else:
            assert found == value


@given(corrections, st.data())
def test_a_spoiled_correction_is_refused_with_its_id(
    sent: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever replaces a field: it is read, or refused by the id that it had; nothing raises."""
    name = data.draw(st.sampled_from(sorted(sent)))

    read = read_record(sent | {name: data.draw(json_values)})

    if isinstance(read, Rejected) and name != "id":
        assert read.id == sent["id"]
        assert read.message


@given(json_values)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """The parser has no third way out."""
    assert isinstance(read_record(value), CorrectionRecord | ErasureRecord | Newer | Rejected)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_malformed(body: bytes) -> None:
    """Only `MalformedBody` comes out."""
    with contextlib.suppress(MalformedBody):
        read_envelope(body)


@given(st.dictionaries(st.sampled_from(IDENTITY) | st.text(max_size=8), json_values, max_size=6))
def test_the_hash_does_not_depend_on_the_order_of_fields(value: dict[str, Any]) -> None:
    """A box may write its JSON as it likes."""
    turned = dict(reversed(value.items()))

    assert identity_sha256(value) == identity_sha256(turned)
    assert json.loads(canonical(value)) == value


@given(corrections, st.integers(2, 2**31 - 1), json_values)
def test_a_newer_record_is_kept_whatever_it_holds(
    sent: dict[str, Any], version: int, value: Any
) -> None:
    """Only its id, its version and its numbers are looked at."""
    newer = sent | {"schema_version": version, "text": value, "kind": value}

    read = read_record(newer)

    assert isinstance(read, Newer)
    assert json.loads(read.payload) == newer


def test_an_erasure_needs_no_more_than_its_id() -> None:
    """Whatever its version: to forget is understood."""
    assert isinstance(read_record({"type": "erasure", "id": record()["id"]}), ErasureRecord)
    assert isinstance(read_record(erasure(record()["id"], schema_version=9)), ErasureRecord)


def test_a_refusal_never_quotes_the_record() -> None:
    """Its message goes into an answer, and from there into a log of the box."""
    for spoiled in (
        record(text=[CANARY]),
        record(kind=CANARY),
        record(occurred_utc=CANARY),
        record(labels=[CANARY, {CANARY: 1}]),
        record(id=CANARY),
    ):
        read = read_record(spoiled)

        assert isinstance(read, Rejected)
        assert CANARY not in read.message
