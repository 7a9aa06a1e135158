"""What goes together, what is refused, and where the database lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.errors import InvalidSettings
from edge.settings import load_settings
from training.collector.database import database_url
from training.collector.settings import DATABASE_VARIABLE, Settings, default_database

SQLITE = "sqlite:////x.db"
POSTGRESQL = "postgresql://u@h/d"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "nas.local"])
def test_plain_http_never_leaves_the_machine_by_accident(host: str) -> None:
    """TLS, or a proxy that was said to be there."""
    with pytest.raises(InvalidSettings, match="TLS"):
        Settings(SQLITE, host=host)

    Settings(SQLITE, host=host, behind_proxy=True)
    Settings(SQLITE, host=host, tls_cert=Path("c"), tls_key=Path("k"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plain_http_is_fine_on_the_machine_itself(host: str) -> None:
    """A loopback address reaches nobody else."""
    assert Settings(SQLITE, host=host).host == host


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls_cert": Path("c")}, "--tls-key"),
        ({"tls_key": Path("k")}, "--tls-cert"),
        ({"processes": 2}, "PostgreSQL|postgresql"),
        ({"threads": 0}, "1 or more"),
        ({"max_records": 0}, "1 or more"),
        ({"log_level": "loud"}, "debug"),
        ({"port": 70_000}, "port"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(changes: dict[str, Any], words: str) -> None:
    """Before anything listens."""
    with pytest.raises(InvalidSettings, match=words):
        Settings(SQLITE, **changes)


def test_several_processes_are_fine_on_postgresql() -> None:
    """It has many writers."""
    assert Settings(POSTGRESQL, processes=4).processes == 4


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"COLLECTOR_DATABASE": POSTGRESQL, "HOME": "/h"}, POSTGRESQL),
        ({"STATE_DIRECTORY": "/s:/t", "HOME": "/h"}, "sqlite:////s/collector.db"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "sqlite:////x/intentd/collector.db"),
        ({"HOME": "/h"}, "sqlite:////h/.local/state/intentd/collector.db"),
        ({}, "sqlite:////var/lib/intentd/collector.db"),
    ],
)
def test_the_database_is_found_where_the_system_keeps_state(
    environ: dict[str, str], expected: str
) -> None:
    """The variable, systemd, XDG, home, root."""
    assert default_database(environ) == expected


def test_the_variable_does_no_harm_to_the_daemon_on_the_same_machine() -> None:
    """It knows every INTENTD_… variable, and refuses to start where one is not its own."""
    load_settings(environ={DATABASE_VARIABLE: POSTGRESQL, "HOME": "/nowhere"})


@pytest.mark.parametrize("address", ["mysql://h/d", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_another_database_is_refused(address: str) -> None:
    """The message shows what one looks like, and not what was given: it may hold a password."""
    with pytest.raises(InvalidSettings, match="postgresql://"):
        database_url(address)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_psycopg(scheme: str) -> None:
    """The one driver that is installed."""
    assert database_url(f"{scheme}://u@h/d").drivername == "postgresql+psycopg"
