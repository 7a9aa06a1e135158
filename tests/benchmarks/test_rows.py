"""The rows as data: each can be run, and each reach stands on the side that it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from benchmarks.__main__ import FAILED, QUICK_ROWS, QUICK_SKIP, _status, main
from benchmarks.contenders import CONTENDERS
from benchmarks.daemon_rows import Crowd
from benchmarks.figures import Finding, Reach, Spread
from benchmarks.races import STARTER, Race, Side
from benchmarks.random_models import NAMES
from benchmarks.report import Record
from benchmarks.rows import ROWS, Row
from benchmarks.works import WORKS


def finding(value: float) -> Finding:
    """One whose quick bound is 1."""
    return Finding("", "", "", Spread.of([value]), "×", Reach(4.0, quick=1.0))


def _parts(row: object) -> Iterator[object]:
    """A row, and all that it is made of."""
    yield row
    if isinstance(row, tuple):
        children = list(row)
    elif hasattr(row, "__dataclass_fields__"):
        children = [getattr(row, field.name) for field in fields(row)]  # type: ignore[arg-type]
    else:
        return
    for child in children:
        yield from _parts(child)


def test_every_row_has_a_name_of_its_own() -> None:
    """`--only` could not tell them apart otherwise."""
    names = [row.name for row in ROWS]

    assert len(set(names)) == len(names)
    assert set(QUICK_ROWS) <= set(names)
    assert set(QUICK_SKIP) <= set(CONTENDERS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_can_be_run(row: Row) -> None:
    """It has a runner, a known model, known contenders and works."""
    assert callable(row.measure)
    race = row.race if isinstance(row, Crowd) else row
    assert getattr(race, "model") in (STARTER, *NAMES)  # noqa: B009 — rows share no base class
    sides = [part for part in _parts(row) if isinstance(part, Side)]
    assert {side.contender for side in sides} <= set(CONTENDERS)
    assert {side.work for side in sides} <= set(WORKS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_quick_bound_is_never_the_stricter_one(row: Row) -> None:
    """A noisy machine must not fail what a quiet one meets."""
    for reach in (part for part in _parts(row) if isinstance(part, Reach)):
        if reach.quick is not None:
            slack = reach.bound - reach.quick
            assert slack >= 0 if reach.at_least else slack <= 0


def test_a_quick_run_judges_something_of_each_of_its_rows() -> None:
    """A row without a bound would cost time and say nothing."""
    for row in ROWS:
        if row.name in QUICK_ROWS and row.name != "repeat":
            reaches = [part for part in _parts(row) if isinstance(part, Reach)]
            assert any(reach.quick is not None for reach in reaches), row.name


def test_no_race_is_against_itself() -> None:
    """Two sides with one name would share their laps."""
    races = [row.race if isinstance(row, Crowd) else row for row in ROWS]
    for race in (race for race in races if isinstance(race, Race)):
        keys = [race.ours.key, *(other.side.key for other in race.others)]
        assert len(set(keys)) == len(keys), race.name


def test_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` measures nothing."""
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split()[0] == ROWS[0].name


@pytest.mark.parametrize(
    ("findings", "missing", "status"),
    [
        ((finding(2.0),), "", 0),
        ((finding(0.5),), "", 1),
        ((), "no such data", 1),
        ((), f"{FAILED}a peer died", 1),
    ],
)
def test_a_quick_run_fails_on_what_is_wrong_with_us(
    findings: tuple[Finding, ...], missing: str, status: int
) -> None:
    """A ratio that fell behind, a row that failed, or nothing at all; a full run reports it."""
    record = Record("x", findings, "", "", 0.0, 0.0, is_quick=True, missing=missing)

    assert _status([record], is_quick=True) == status
    assert _status([record], is_quick=False) == (status if missing else 0)


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(SystemExit):
        main(["--only", "nonsense"])

    assert "b-short" in capsys.readouterr().err
