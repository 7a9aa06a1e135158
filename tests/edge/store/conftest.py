"""Stores in a directory of their own, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.store import CorrectionStore, PredictionLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CorrectionStore]:
    """An empty store in `tmp_path`."""
    opened = CorrectionStore.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def predictions(tmp_path: Path) -> Iterator[PredictionLog]:
    """An empty prediction log in `tmp_path`."""
    opened = PredictionLog.open(tmp_path)
    yield opened
    opened.close()
