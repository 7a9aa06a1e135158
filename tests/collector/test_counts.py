"""Boxes that send numbers alone: kept once each, shown beside the corrections, never among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.collector.boxes import Box, erasure, record, run_cli


def count(label: str | None, corrections: int, confirmations: int = 0) -> dict[str, Any]:
    """Of one label, as a box sends it."""
    return {"label": label, "corrections": corrections, "confirmations": confirmations}


def reported(address: str) -> dict[str, tuple[int, int]]:
    """What `stats` shows of the numbers."""
    rows = json.loads(run_cli(address, "stats", "--json").stdout)["reported"]
    return {row["label"]: (row["corrections"], row["confirmations"]) for row in rows}


def test_numbers_said_again_are_the_same_numbers(address: str, box: Box, other_box: Box) -> None:
    """All that a box holds replaces what it held; boxes are added up."""
    box.send([], tier="counts", counts=[count("A", 2, 1), count(None, 3)])
    for _ in range(2):
        box.send([], tier="counts", counts=[count("A", 4, 1)])
    other_box.send([], tier="counts", counts=[count("A", 10), count("A", 1), count("B", 0, 7)])

    assert reported(address) == {"A": (15, 1), "B": (0, 7)}
    shown = run_cli(address, "stats").stdout
    assert "tier counts" in shown
    assert "0 corrections, 0 parked" in shown


def test_numbers_survive_erasures_and_end_with_the_first_correction(address: str, box: Box) -> None:
    """A box that changed its tier is not counted twice."""
    box.send([], tier="counts", counts=[count("A", 2)])
    box.send([erasure(record()["id"])], tier="counts")
    assert reported(address) == {"A": (2, 0)}

    box.send([record()])
    assert reported(address) == {}


def test_numbers_go_when_all_of_a_device_is_erased(address: str, box: Box) -> None:
    """They are all that it ever sent."""
    box.send([], tier="counts", counts=[count("A", 2)])

    run_cli(address, "erase", "--device", box.device)

    assert reported(address) == {}


@pytest.mark.parametrize(
    "bad", [count("A", -1), count("\0", 1), {"label": "A"}, 7, count("A", 2**63)]
)
def test_numbers_that_are_none_are_malformed(box: Box, bad: Any) -> None:
    """Nothing of the batch is kept."""
    assert box.post([], tier="counts", counts=[bad]).status_code == 400
