"""A working directory of the test's own, and the collector's databases."""

from __future__ import annotations

from collections.abc import Iterator
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
from tests.training.promotions import running_mlflow
from training.settings import load_settings
from training.tracking import Registry

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


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server for all tests; each has a model of its own."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables: they take a second to make."""
    folder = tmp_path_factory.mktemp("registry")
    Registry(load_settings(None, [f'work_dir="{folder}"', 'promote.model="none"']))
    return folder / "mlflow" / "mlflow.db"


@pytest.fixture
def sqlite_dir(work_dir: Path, empty_registry: Path) -> Path:
    """A working directory whose registry has its tables already."""
    (work_dir / "mlflow").mkdir()
    (work_dir / "mlflow" / "mlflow.db").write_bytes(empty_registry.read_bytes())
    return work_dir
