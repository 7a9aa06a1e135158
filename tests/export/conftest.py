"""What the tests share: tiny models as `transformers` saves them, with and without outliers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.models import TinyModel, missing
from tests.outliers import GAIN, Kind, write_model


@pytest.fixture(scope="session")
def encoder(tiny: Callable[[str], TinyModel]) -> Path:
    """A directory with seeded random weights: real architecture, 32 dimensions."""
    return tiny("encoder").source


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives a small NLI model with planted outliers: `planted(kind, seed, gain)`."""
    root = tmp_path_factory.mktemp("planted")

    @cache
    def get(kind: Kind, seed: int, gain: float = GAIN) -> Path:
        if reason := missing(f"nli-{kind}"):
            pytest.skip(reason)
        return write_model(kind, seed, root / f"{kind}-{seed}-{gain:g}", gain=gain)

    return get
