"""Rows and settings that the training's tests are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from export.report import Reporter
from tests.commands import Done, run_command
from training.cli import main
from training.golden import freeze, open_log
from training.rows import Origin, Row, write_rows
from training.settings import GoldenSettings, Settings, load_settings
from training.stage import Stage

__all__ = [
    "ASKED",
    "LABELS",
    "QUIET",
    "THINGS",
    "collected",
    "frozen",
    "lines_of",
    "real_rows",
    "row",
    "run_train",
    "settings_for",
]

QUIET = Reporter(Console(quiet=True))
LABELS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
THINGS = (
    *("bridges", "tulips", "violins", "glaciers", "taxes", "turtles", "rockets", "bakeries"),
    *("chess", "windmills", "opera", "saddles", "coffee", "lighthouses", "fossils", "sailing"),
)
ASKED = {
    "SUMMARIZE": "sum up {} for me",
    "EXTRACT": "list prices of {}",
    "REASON": "why do {} matter?",
    "SEARCH_ONLY": "open photos of {}",
}


def row(id: str, text: str, label: str | None = "REASON", **changes: Any) -> Row:
    """A correction, unless told otherwise."""
    known: dict[str, Any] = {
        "origin": Origin.CORRECTION,
        "source": "a" * 16,
        "created_utc": "2026-11-22T10:00:00.000Z",
        "label_set": "s" * 64,
    }
    return Row(id=id, text=text, label=label, **known | changes)


def real_rows(per_class: int = 12, **changes: Any) -> list[Row]:
    """Distinct rows of every label, as several people might have sent them."""
    return [
        row(
            f"{label}-{n}",
            ASKED[label].format(THINGS[n]),
            label,
            **{"source": f"{n % 4:016}"} | changes,
        )
        for label in LABELS
        for n in range(per_class)
    ]


def settings_for(work_dir: Path, *overrides: str) -> Settings:
    """Without the label set's own examples, so that a test's rows are all there is."""
    plain = ["build.seeds=false", f"work_dir={json.dumps(str(work_dir))}"]
    return load_settings(None, [*plain, *overrides])


def collected(work_dir: Path, rows: Iterable[Row], erased: Iterable[str] = ()) -> None:
    """As if `collect` had run."""
    stage = Stage("collect", work_dir / "collect", {}, {}, ("rows.py",), live=True)

    def work(folder: Path) -> dict[str, Any]:
        (folder / "suppressed.txt").write_text("".join(f"{id}\n" for id in erased))
        return {"rows": write_rows(folder / "rows.jsonl", rows)}

    stage.run(work)


def frozen(work_dir: Path, rows: Iterable[Row]) -> None:
    """A golden set of these rows, as if two people had judged them alike."""
    log = open_log(work_dir)
    for one in rows:
        log.add_rows([one])
        for who in ("ann", "ben"):
            log.judge(one.id, who, one.label)
    freeze(work_dir, GoldenSettings(min_per_class=1))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run_train(work_dir: Path, *args: str, stdin: str = "") -> Done:
    """Run `intentd-train` on a working directory."""
    place = ("--work-dir", str(work_dir))
    return run_command(main, "intentd-train", *args, *place, env={}, stdin=stdin)
