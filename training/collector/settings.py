"""The collector's settings, and where its database lies; only this module reads the environment.

The command line declares each as an option; here are the defaults, the ranges and what goes
together with what.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InvalidSettings

__all__ = ["DATABASE_VARIABLE", "Settings", "default_database"]

DATABASE_VARIABLE = "COLLECTOR_DATABASE"
"""Names the database without showing its password in the list of processes.

Not INTENTD_…: those are the daemon's settings, and it refuses the ones that it does not know.
"""
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_PORT = 65535
LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How one `serve` behaves. Frozen, and picklable: each process gets a copy."""

    database: str
    """A SQLAlchemy URL, or a plain `postgresql://` one."""
    host: str = "127.0.0.1"
    port: int = 8470
    processes: int = 1
    """Processes that share the port; more than one needs PostgreSQL."""
    threads: int = 8
    """Batches that one process works on at once; also its connections to the database."""
    waiting: int = 64
    """Requests that one process holds at once; more are turned away with 503."""
    max_body_bytes: int = 4 << 20
    """Largest body as it comes, compressed or not."""
    max_decompressed_bytes: int = 32 << 20
    """Largest body once it is decompressed."""
    max_records: int = 5000
    """Most records in one batch."""
    body_timeout_s: float = 60.0
    """Seconds a device may take to send its body."""
    rate_per_minute: float = 120.0
    """Requests a minute that one device may make of one process; 0 means as many as it likes."""
    burst: int = 60
    """Requests that a device which was quiet may make at once."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    """A reverse proxy speaks TLS, so that plain HTTP on this address is meant."""
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Refuse what cannot work or would be unsafe.

        Raises:
            InvalidSettings: Half a TLS pair, plain HTTP for the network, processes without
                PostgreSQL, or a limit that lets nothing through.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidSettings("TLS: expected --tls-cert and --tls-key, found only one of them")
        if self.tls_cert is None and not self.behind_proxy and not _is_loopback(self.host):
            raise InvalidSettings(
                f"--host {self.host}: expected TLS, for tokens and texts would cross the network "
                "in the clear; give --tls-cert and --tls-key, or say --behind-proxy if a reverse "
                "proxy speaks TLS"
            )
        if self.processes > 1 and self.database.startswith("sqlite"):
            raise InvalidSettings(
                f"--processes {self.processes}: SQLite has one writer; use one process, or a "
                "postgresql:// database"
            )
        if min(self.processes, self.threads, self.waiting, self.burst, self.max_records) < 1:
            raise InvalidSettings("processes, threads, waiting, burst, records: expected 1 or more")
        if not 0 <= self.port <= MAX_PORT:
            raise InvalidSettings(f"port: expected 0 to {MAX_PORT}, found {self.port}")
        if self.log_level not in LOG_LEVELS:
            raise InvalidSettings(
                f"log level: expected {', '.join(LOG_LEVELS)}, found {self.log_level!r}"
            )


def default_database(environ: Mapping[str, str] | None = None) -> str:
    """`$COLLECTOR_DATABASE`, else a SQLite file in the state directory.

    That is `$STATE_DIRECTORY` (systemd), `$XDG_STATE_HOME/intentd` or `~/.local/state/intentd`.
    """
    environment = os.environ if environ is None else environ
    if given := environment.get(DATABASE_VARIABLE):
        return given
    return f"sqlite:///{_state_directory(environment) / 'collector.db'}"


def _state_directory(environ: Mapping[str, str]) -> Path:
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])  # systemd may pass several
    if xdg := environ.get("XDG_STATE_HOME"):
        return Path(xdg) / "intentd"
    home = environ.get("HOME")
    return Path(home) / ".local/state/intentd" if home else Path("/var/lib/intentd")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOCAL_NAMES
