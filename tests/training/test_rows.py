"""Rows are read and written without a loss, and what is no row is named by its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.samples import row
from training.errors import InvalidRows, SourceUnreachable, TrainingError
from training.rows import Origin, Row, read_rows, write_rows

TEXTS = st.text(min_size=1).filter(str.strip)


def test_every_field_survives_a_round_trip(tmp_path: Path) -> None:
    """What is written is what is read, unknown fields included."""
    full = Row.model_validate(
        {
            "id": "a",
            "text": "why?\u2028x",
            "content": "c",
            "label": None,
            "origin": "audit",
            "root": "r",
            "source": "s",
            "weight": 2.5,
            "created_utc": "2026",
            "model": "m",
            "label_set": "l",
            "predicted_label": "p",
            "template": "t",
            "score": 0.25,
        }
    )
    path = tmp_path / "rows.jsonl"

    assert write_rows(path, [full]) == 1
    assert list(read_rows(path)) == [full]
    assert json.loads(path.read_text())["score"] == 0.25


@given(text=TEXTS, label=st.none() | st.text(min_size=1), source=st.text())
def test_any_text_stays_on_its_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, label: str | None, source: str
) -> None:
    """Line ends and quotes in a text do not cut a row in two."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    made = row("1", text, label, source=source)
    write_rows(path, [made, made])

    assert list(read_rows(path)) == [made, made]


@given(data=st.binary(max_size=300))
def test_any_bytes_are_rows_or_a_line_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Whatever a file holds, reading it ends in rows or in one error of ours."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(data)
    found: list[Row] | str
    try:
        found = list(read_rows(path))
    except InvalidRows as error:
        found = str(error)

    assert f"{path}:" in found if isinstance(found, str) else all(r.text.strip() for r in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a"}', "field text"),
        ('{"id": "a", "text": " ", "label": "X", "origin": "seed"}', "white space"),
        ('{"id": "a", "text": "b", "label": "X", "origin": "rumour"}', "origin"),
        ('{"id": "a", "text": "b", "label": "X", "origin": "seed", "weight": -1}', "weight"),
        ("[]", "expected a row"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    """The message says file, line and field."""
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"id": "a", "text": "b", "label": null, "origin": "seed"}\n' + line)

    with pytest.raises(InvalidRows, match=f"rows.jsonl:3: .*{said}"):
        list(read_rows(path))


@pytest.mark.parametrize(("name", "said"), [("absent.jsonl", "found none"), ("", "a directory")])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str, said: str) -> None:
    """It is what is missing, and not room on a disk."""
    with pytest.raises(SourceUnreachable, match=f"{name}: expected a file of rows .*{said}"):
        list(read_rows(tmp_path / name))


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A generator that breaks half way changes no file, and leaves none behind."""
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row("old", "an old row")])

    def breaks() -> Iterator[Row]:
        yield row("new", "a new row")
        raise TrainingError

    with pytest.raises(TrainingError):
        write_rows(path, breaks())
    assert [r.id for r in read_rows(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_row_is_its_own_root() -> None:
    """Lineage begins with the row itself."""
    assert row("a", "b c").root == "a"
    assert not row("a", "b c", origin=Origin.NOISE, root="z").is_real
