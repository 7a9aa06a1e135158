"""What people said last of each text, in memory, so that an answer never waits for the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sys import intern

from edge.store.keys import override_key
from edge.store.records import Correction, Override

__all__ = ["Overrides"]


class Overrides:
    """Newest word per (text, label set). One thread changes it, any thread reads it.

    As many as there are texts that people judged, about 300 bytes each (measured 2026-11-22).
    """

    def __init__(self) -> None:
        self._newest: dict[tuple[bytes, str], Override] = {}

    def load(self, corrections: Iterable[Correction]) -> None:
        """Begin anew from all corrections, oldest first."""
        fresh: dict[tuple[bytes, str], Override] = {}
        for correction in corrections:
            _put(fresh, correction)
        self._newest = fresh

    def note(self, correction: Correction) -> None:
        """Take in a correction that is newer than all the others."""
        _put(self._newest, correction)

    def find(self, text_key: bytes, label_set: str) -> Override | None:
        """What holds for a text under a label set."""
        return self._newest.get((text_key, label_set))

    def __iter__(self) -> Iterator[Override]:
        return iter(list(self._newest.values()))


def _put(newest: dict[tuple[bytes, str], Override], correction: Correction) -> None:
    key = override_key(correction.text, correction.content)
    label_set = intern(correction.label_set)  # few different ones; each row brings its own copy
    label = None if correction.label is None else intern(correction.label)
    newest[key, label_set] = Override(key, label_set, label, correction.id)
