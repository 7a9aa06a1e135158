"""A working directory of the test's own, and the collector's databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collector.conftest import (  # noqa: F401 - pytest finds fixtures by their names here
    address,
    box,
    client,
    client_of,
    database,
    postgresql,
    postgresql_address,
    postgresql_schema,
    sqlite_emptied,
    sqlite_schema,
    sqlite_shared,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """Where stages write."""
    path = tmp_path / "train"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def clinc150() -> Path:
    """CLINC150's file, where this machine has it."""
    path = DATA / "clinc150" / "data_full.json"
    if not path.exists():
        pytest.skip(f"no CLINC150: expected {path.name} in ../shared/data/clinc150")
    return path
