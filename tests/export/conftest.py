"""What the export's tests share: a tiny encoder as `transformers` saves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models import TinyModel


@pytest.fixture(scope="session")
def encoder(tiny: Callable[[str], TinyModel]) -> Path:
    """A directory with seeded random weights: real architecture, 32 dimensions."""
    return tiny("encoder").source
