"""The build: what goes in, what is left out and why, and when it says no."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.training.paraphrases import PAIRS
from tests.training.samples import (
    QUIET,
    collected,
    frozen,
    lines_of,
    real_rows,
    row,
    run_train,
    settings_for,
)
from training.build import PARTS, build
from training.errors import DataRefused, LeakFound, StageMissing
from training.rows import Origin, Row, write_rows


def built(work_dir: Path, *overrides: str) -> dict[str, Any]:
    """The counts of a build of what was collected."""
    fast = () if "build.suspects=true" in overrides else ("build.suspects=false",)
    counts: dict[str, Any] = build(settings_for(work_dir, *fast, *overrides), QUIET).manifest[
        "counts"
    ]
    return counts


def rows_in(work_dir: Path) -> list[dict[str, Any]]:
    """Of all three parts."""
    return [line for name in PARTS for line in lines_of(work_dir / "build" / name)]


def test_rows_become_three_parts_with_a_card(work_dir: Path) -> None:
    """Every row is somewhere, every class everywhere; the card counts real roots."""
    collected(work_dir, real_rows())
    counts = built(work_dir)

    assert (counts["train"], counts["dev"], counts["calibration"]) == (40, 4, 4)
    card = (work_dir / "build" / "CARD.md").read_text()
    assert "| REASON | 12 | 12 | 0 |" in card
    assert "no golden set is frozen" in card
    assert "corrections alone" in card


def test_the_label_sets_examples_are_seeds(work_dir: Path) -> None:
    """With what means none of the labels; they can be left out."""
    collected(work_dir, real_rows())
    built(work_dir, "build.seeds=true")
    found = Counter(r["origin"] for r in rows_in(work_dir))

    assert found["seed"] > 250
    assert any(r["label"] is None for r in rows_in(work_dir))


def test_conflicts_are_decided_and_listed(work_dir: Path) -> None:
    """The newest word wins, and the file tells what was said."""
    late = row("late", real_rows()[0].text, "REASON", created_utc="2026-11-23T00:00:00.000Z")
    collected(work_dir, [*real_rows(), late])
    counts = built(work_dir)
    (conflict,) = lines_of(work_dir / "build" / "conflicts.jsonl")

    assert (counts["conflicts"], conflict["label"]) == (1, "REASON")
    assert [said["id"] for said in conflict["said"]] == ["SUMMARIZE-0", "late"]


def test_erased_rows_and_their_children_never_enter(work_dir: Path) -> None:
    """Not from a file beside the collection either."""
    child = row("child", "why is a quite other thing so?", root="REASON-3", origin=Origin.SYNONYM)
    write_rows(work_dir / "more.jsonl", [child, *real_rows()])
    collected(work_dir, real_rows(), erased=["REASON-3"])
    built(work_dir, f"build.extra={json.dumps([str(work_dir / 'more.jsonl')])}")

    assert not {"REASON-3", "child"} & {r["id"] for r in rows_in(work_dir)}


def test_leaks_stop_the_build_with_the_pairs(work_dir: Path) -> None:
    """50 planted exact rows and 50 paraphrases: all, and at least 45; nothing is written."""
    golden = [row(f"g{n}", text, label) for n, (label, text, _) in enumerate(PAIRS)]
    frozen(work_dir, golden)
    planted = [row(f"x{n}", text, label) for n, (label, text, _) in enumerate(PAIRS)]
    planted += [row(f"p{n}", text, label) for n, (label, _, text) in enumerate(PAIRS)]
    collected(work_dir, [*real_rows(), *planted])
    with pytest.raises(LeakFound, match="expected no row that gives the golden set away"):
        built(work_dir)
    leaks = lines_of(work_dir / "build-leaks.jsonl")

    right = {leak["id"] for leak in leaks if leak["golden_id"][1:] == leak["id"][1:]}
    assert {f"x{n}" for n in range(50)} <= right
    assert len(right) >= 95
    assert all(leak["id"][0] in "xp" for leak in leaks)
    assert not (work_dir / "build").exists()


def test_leaks_can_be_left_out_instead(work_dir: Path) -> None:
    """Listed in the build, and the refusal's list goes away."""
    frozen(
        work_dir, [row("g1", real_rows()[0].text, "SUMMARIZE"), row("g2", "buy milk", "EXTRACT")]
    )
    collected(work_dir, real_rows())
    with pytest.raises(LeakFound):
        built(work_dir)
    counts = built(work_dir, "build.leaks=drop")

    assert counts["leaks_dropped"] >= 1
    assert "SUMMARIZE-0" not in {r["id"] for r in rows_in(work_dir)}
    assert not (work_dir / "build-leaks.jsonl").exists()


def test_a_golden_row_that_was_erased_stops_the_build(work_dir: Path) -> None:
    """It is to be frozen anew without it."""
    frozen(
        work_dir, [row("g1", "what is one and one?", "REASON"), row("g2", "buy milk", "EXTRACT")]
    )
    collected(work_dir, real_rows(), erased=["g1"])

    with pytest.raises(DataRefused, match="golden freeze"):
        built(work_dir)


def test_suspects_are_listed_and_kept(work_dir: Path) -> None:
    """A wrong label is for a person to see; nothing is deleted."""
    odd = row("odd", "why do canals matter?", "SEARCH_ONLY")
    collected(work_dir, [*real_rows(), odd])
    built(work_dir, "build.suspects=true")

    assert "odd" in {s["id"] for s in lines_of(work_dir / "build" / "suspects.jsonl")}
    assert "odd" in {r["id"] for r in rows_in(work_dir)}


def test_near_duplicates_of_one_label_are_one(work_dir: Path) -> None:
    """The first of them stays."""
    twin = row("twin", "sum up bridges for me now", "SUMMARIZE")
    collected(work_dir, [*real_rows(), twin])

    assert built(work_dir)["near_duplicates"] == 1
    assert "twin" not in {r["id"] for r in rows_in(work_dir)}


@pytest.mark.parametrize(
    ("rows", "overrides", "said"),
    [
        (real_rows()[:12], (), "none of EXTRACT, REASON, SEARCH_ONLY"),
        (real_rows()[:12], ("build.intents=''",), "found 1 (SUMMARIZE)"),
        ([], ("build.intents=''",), "found 0"),
        ([*real_rows(), row("o", "dance", "DANCE")], (), "'DANCE' (1 rows)"),
        ([*real_rows(), row("o", "why so?", label_set="t" * 64)], (), "label set"),
    ],
)
def test_rows_that_make_no_data_set_are_refused(
    work_dir: Path, rows: list[Row], overrides: tuple[str, ...], said: str
) -> None:
    """Empty classes, one class, strange labels, mixed label sets: one line, nothing written."""
    collected(work_dir, rows)
    with pytest.raises(DataRefused) as caught:
        built(work_dir, *overrides)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in work_dir.iterdir()) == ["collect"]


@pytest.mark.parametrize(
    ("setting", "odd"),
    [
        ("build.unknown_labels=drop", row("odd", "dance", "DANCE")),
        ("build.mixed_label_sets=drop", row("odd", "why so?", label_set="t" * 64)),
    ],
)
def test_what_is_refused_can_be_left_out(work_dir: Path, setting: str, odd: Row) -> None:
    """By a setting, and it is counted."""
    collected(work_dir, [*real_rows(), odd])
    counts = built(work_dir, setting)

    assert "odd" not in {r["id"] for r in rows_in(work_dir)}
    assert list(counts["dropped"].values()) == [1]


def test_the_same_inputs_give_the_same_bytes_and_are_skipped(work_dir: Path) -> None:
    """A forced build makes what was there."""
    collected(work_dir, real_rows())
    settings = settings_for(work_dir)
    first = build(settings, QUIET).manifest

    assert build(settings, QUIET).skipped
    assert build(settings, QUIET, force=True).manifest["outputs"] == first["outputs"]


def test_nothing_collected_is_said(work_dir: Path) -> None:
    """With the command to run."""
    with pytest.raises(StageMissing, match="intentd-train collect"):
        built(work_dir)


def test_a_full_disk_is_one_line(work_dir: Path) -> None:
    """The stage's folder cannot be made; exit code 3, and what was there stays."""
    collected(work_dir, real_rows())
    (work_dir / ".build.partial").write_text("a file where the folder is to be")
    done = run_train(work_dir, "build", "--set", "build.seeds=false")

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "intentd-train: " in done.stderr


def test_the_command_says_no_with_exit_code_1(work_dir: Path) -> None:
    """An honest no is not a usage error."""
    collected(work_dir, real_rows()[:12])
    done = run_train(work_dir, "build", "--set", "build.seeds=false")

    assert done.returncode == 1
    assert done.stderr.startswith("intentd-train: build: expected rows of")
