"""What a change of bundle means for those who ask: labels, window, thresholds, template.

It compares manifests, and judges none: whether to go on is the admin's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.bundle import Manifest, Task

__all__ = ["Change", "ManifestDiff", "compare_manifests"]


@dataclass(frozen=True, slots=True)
class Change:
    """A value before and after."""

    name: str
    """Of the manifest's field, or `thresholds.LABEL`."""
    old: str | float | None
    new: str | float | None


@dataclass(frozen=True, slots=True)
class ManifestDiff:
    """From one bundle to another, as a client notices it."""

    labels_added: tuple[str, ...]
    """Labels that answers can carry from now on, with the default label set."""
    labels_vanished: tuple[str, ...]
    """Labels that answers will not carry any more."""
    fixes_labels: bool
    """Requests could bring their own labels and templates, and cannot any more."""
    frees_labels: bool
    """The other way round."""
    changes: tuple[Change, ...]

    @property
    def breaks_clients(self) -> bool:
        """Whether a request that was answered before may be refused, or never get its label."""
        return self.fixes_labels or bool(self.labels_vanished)


# What a client notices; parity, metrics, hashes and the like are the bundle's own business.
FIELDS = ("name", "version", "task", "max_tokens", "hypothesis_template", "activation", "threshold")


def compare_manifests(
    old: Manifest, new: Manifest, default_labels: Sequence[str] = ()
) -> ManifestDiff:
    """What changes for clients.

    Args:
        old: What is served.
        new: What is to be served.
        default_labels: The labels that a bundle without fixed ones is asked for.
    """
    before, after = _labels(old, default_labels), _labels(new, default_labels)
    changes = [
        Change(name, _plain(getattr(old, name)), _plain(getattr(new, name)))
        for name in FIELDS
        if getattr(old, name) != getattr(new, name)
    ]
    for label in (label for label in after if label in before):
        pair = _threshold(old, label), _threshold(new, label)
        if pair[0] != pair[1]:
            changes.append(Change(f"thresholds.{label}", *pair))
    return ManifestDiff(
        labels_added=tuple(label for label in after if label not in before),
        labels_vanished=tuple(label for label in before if label not in after),
        fixes_labels=_is_fixed(new) and not _is_fixed(old),
        frees_labels=_is_fixed(old) and not _is_fixed(new),
        changes=tuple(changes),
    )


def _is_fixed(manifest: Manifest) -> bool:
    return manifest.task is Task.SEQUENCE_CLASSIFICATION


def _labels(manifest: Manifest, default_labels: Sequence[str]) -> tuple[str, ...]:
    """What answers carry: an NLI model's own labels (`entailment` …) are none of that."""
    return manifest.labels if _is_fixed(manifest) else tuple(default_labels)


def _threshold(manifest: Manifest, label: str) -> float:
    return manifest.thresholds.get(label, manifest.threshold)


def _plain(value: object) -> str | float | None:
    return value if isinstance(value, int | float) or value is None else str(value)
