"""`edge.models.diff`: what a client notices when one bundle takes another's place."""

from __future__ import annotations

from typing import Any

from edge.bundle import Task
from edge.models.diff import Change, compare_manifests
from tests.edge.models.bundles import manifest

NLI: dict[str, Any] = {
    "task": Task.ZERO_SHOT_NLI,
    "labels": ("contradiction", "neutral", "entailment"),
    "entailment_id": 2,
    "contradiction_id": 0,
    "hypothesis_template": "This is {}.",
}


def test_same_manifest_changes_nothing() -> None:
    """And breaks nobody."""
    found = compare_manifests(manifest(), manifest())

    assert (found.labels_added, found.labels_vanished, found.changes) == ((), (), ())
    assert not found.breaks_clients


def test_labels_that_come_and_go_are_named_in_order() -> None:
    """A vanished label breaks those who wait for it; a new one does not."""
    old = manifest(labels=("A", "B", "C"))
    found = compare_manifests(old, manifest(labels=("D", "B")))

    assert found.labels_added == ("D",)
    assert found.labels_vanished == ("A", "C")
    assert found.breaks_clients
    assert not compare_manifests(old, manifest(labels=("A", "B", "C", "D"))).breaks_clients


def test_fixed_labels_in_place_of_free_ones_break_clients() -> None:
    """Requests with labels of their own are refused from then on."""
    found = compare_manifests(manifest(**NLI), manifest(labels=("A", "B")), ["A", "X"])

    assert found.fixes_labels
    assert not found.frees_labels
    assert found.breaks_clients
    assert (found.labels_added, found.labels_vanished) == (("B",), ("X",))
    assert Change("task", "zero-shot-nli", "sequence-classification") in found.changes
    assert Change("hypothesis_template", "This is {}.", None) in found.changes


def test_free_labels_in_place_of_fixed_ones_break_nobody_who_keeps_them() -> None:
    """The label set decides then; the model's own words are nobody's labels."""
    found = compare_manifests(manifest(), manifest(**NLI), ["A", "B", "C"])

    assert found.frees_labels
    assert not found.breaks_clients
    assert found.labels_added == ("C",)


def test_thresholds_are_compared_as_they_apply() -> None:
    """A label's own, or the bundle's."""
    old = manifest(threshold=0.5)
    new = manifest(threshold=0.5, thresholds={"A": 0.5, "B": 0.7})

    assert compare_manifests(old, new).changes == (Change("thresholds.B", 0.5, 0.7),)


def test_a_smaller_window_is_told() -> None:
    """Longer texts are cut where they were not."""
    found = compare_manifests(manifest(max_tokens=1024), manifest(max_tokens=512))

    assert found.changes == (Change("max_tokens", 1024, 512),)
