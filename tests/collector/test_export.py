"""What comes out is what came in, less what was erased."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from edge.errors import InvalidValue
from tests.collector.boxes import Box, erasure, record
from training.collector import export as export_module
from training.collector.database import Database
from training.collector.export import FIELDS, Exported, Filter, Form, export_corrections

EVERYTHING = Filter()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of an NDJSON file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Parquet as NDJSON would show it."""
    extra: dict[str, Any] = json.loads(row.pop("extra") or "{}")
    return extra | {
        name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in row.items()
    }


@pytest.fixture
def stored(box: Box) -> list[dict[str, Any]]:
    """Thirty corrections, of which every tenth was erased; some have unknown fields."""
    records = [
        record(n, label=["A", "B", None][n % 3], score=n / 30, mood=n, text="ä\u2028\n" * n)
        for n in range(30)
    ]
    box.send(records)
    gone = records[::10]
    box.send([erasure(one["id"]) for one in gone])
    return [one for one in records if one not in gone]


def test_ndjson_and_parquet_give_back_every_field(
    stored: list[dict[str, Any]], database: Database, tmp_path: Path
) -> None:
    """Both forms hold the same, and the same as was sent."""
    lines, table = tmp_path / "all.ndjson", tmp_path / "all.parquet"

    assert export_corrections(database, lines, Form.NDJSON, EVERYTHING) == Exported(27, 3)
    assert export_corrections(database, table, Form.PARQUET, EVERYTHING) == Exported(27, 3)

    rows = read_lines(lines)
    assert [plain(row) for row in pq.read_table(table).to_pylist()] == rows
    by_id = {row["id"]: row for row in rows}
    for sent in stored:
        found = by_id[sent["id"]]
        assert {k: found[k] for k in sent if k != "type"} == {
            k: v for k, v in sent.items() if k != "type"
        }
        assert set(FIELDS) <= found.keys()


def test_what_was_erased_is_in_no_export_but_on_the_list(
    box: Box, stored: list[dict[str, Any]], database: Database, tmp_path: Path
) -> None:
    """The suppression list holds ids of any age, whatever else was asked for."""
    out, listing = tmp_path / "out", tmp_path / "suppressed.txt"
    early = str(record()["id"])
    box.send([erasure(early)])

    export_corrections(database, out, Form.NDJSON, Filter(labels=("A",)), listing)

    suppressed = set(listing.read_text().split())
    assert len(suppressed) == 4
    assert early in suppressed
    assert suppressed.isdisjoint(row["id"] for row in read_lines(out))


def test_filters_divide_without_gap_or_overlap(
    box: Box, other_box: Box, database: Database, tmp_path: Path
) -> None:
    """Two exports that meet at a time hold each record once."""
    box.send([record(1)])
    other_box.send([record(2, label=None)])
    out = tmp_path / "out"

    def export(wanted: Filter) -> list[dict[str, Any]]:
        export_corrections(database, out, Form.NDJSON, wanted)
        return read_lines(out)

    first, second = export(EVERYTHING)
    border = datetime.fromisoformat(second["received_utc"])
    assert export(Filter(until=border)) == [first]
    assert export(Filter(since=border)) == [second]
    assert export(Filter(since=border + timedelta(microseconds=1))) == []
    assert export(Filter(devices=("nas-2",))) == [second]
    assert export(Filter(labels=("SEARCH_ONLY",))) == [first]


def test_parquet_is_written_in_bounded_row_groups(
    stored: list[dict[str, Any]],
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By rows and by bytes, whichever comes first."""
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(export_module, "GROUP_ROWS", 10)
    export_corrections(database, out, Form.PARQUET, EVERYTHING)
    assert pq.ParquetFile(out).metadata.num_row_groups == 3

    monkeypatch.setattr(export_module, "GROUP_BYTES", 1)
    export_corrections(database, out, Form.PARQUET, EVERYTHING)
    assert pq.ParquetFile(out).metadata.num_row_groups == 27


def test_an_export_that_fails_leaves_the_old_file(
    stored: list[dict[str, Any]],
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training never reads half a file; nothing is left beside it either."""
    out = tmp_path / "dir" / "out.ndjson"
    out.parent.mkdir()
    out.write_text("old")
    monkeypatch.setattr(export_module._Ndjson, "finish", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        export_corrections(database, out, Form.NDJSON, EVERYTHING)

    assert [(p.name, p.read_text()) for p in out.parent.iterdir()] == [("out.ndjson", "old")]


def test_an_export_sees_one_moment(
    box: Box, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is erased while it reads is in the rows or on the list, never in both."""
    records = [record(n) for n in range(5)]
    box.send(records)
    real = export_module._write_rows

    def erase_meanwhile(*args: Any) -> int:
        box.send([erasure(one["id"]) for one in records])
        return real(*args)

    monkeypatch.setattr(export_module, "_write_rows", erase_meanwhile)
    out, listing = tmp_path / "out", tmp_path / "list"

    export_corrections(database, out, Form.NDJSON, EVERYTHING, listing)

    suppressed = set(listing.read_text().split())
    assert suppressed.isdisjoint(row["id"] for row in read_lines(out))
    assert len(suppressed) + len(read_lines(out)) == 5


def test_an_empty_export_is_a_whole_file(database: Database, tmp_path: Path) -> None:
    """No rows, but a schema."""
    out = tmp_path / "out.parquet"

    export_corrections(database, out, Form.PARQUET, EVERYTHING)

    assert pq.read_table(out).column_names == [*FIELDS, "extra"]


def test_parquet_needs_a_file(database: Database) -> None:
    """Its footer comes last, so a pipe would hold it all."""
    with pytest.raises(InvalidValue, match="--out"):
        export_corrections(database, None, Form.PARQUET, EVERYTHING)
