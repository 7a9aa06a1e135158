"""Plays systemd: opens the sockets of the .socket units, and starts daemons that inherit them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.daemons import (
    ROOT,
    Daemon,
    _wait_until_ready,
    clean_environment,
    short_directory,
)
from tests.systemd import launch
from tests.systemd.units import SHIPPED, allowed_calls, values

__all__ = ["Manager", "confinement", "managed_sockets", "unshared"]

NAMES = ("api", "admin")
SERVE = (sys.executable, "-m", "edge.cli", "serve")


@dataclass(frozen=True, slots=True)
class Manager:
    """Holds the sockets while daemons come and go."""

    directory: Path
    sockets: Mapping[str, socket.socket]

    @property
    def api(self) -> Path:
        """Where apps connect."""
        return self.directory / "api.sock"

    def start(
        self, orders: Mapping[str, Any] | None = None, prefix: Sequence[str] = (), **env: str
    ) -> Daemon:
        """Start a daemon on the sockets, and wait until it answers.

        Args:
            orders: Confinement, as `launch.py` understands it.
            prefix: A command that starts the launcher, such as `unshare -n`.
            env: Further variables.
        """
        fds = [listening.fileno() for listening in self.sockets.values()]
        told = {"fds": fds, "names": ":".join(self.sockets), **(orders or {})}
        command = [*prefix, sys.executable, launch.__file__, json.dumps(told), *SERVE]
        stdout_path, log_path = self.directory / "stdout", self.directory / "stderr"
        environment = clean_environment(self.directory) | {
            "RUNTIME_DIRECTORY": str(self.directory),
            "STATE_DIRECTORY": str(self.directory / "state"),
        }
        with stdout_path.open("wb") as out, log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=ROOT,
                env=environment | env,
                pass_fds=fds,
            )
        daemon = Daemon(self.api, process, stdout_path, log_path)
        _wait_until_ready(daemon)
        return daemon


@contextmanager
def managed_sockets(names: Sequence[str] = NAMES) -> Iterator[Manager]:
    """Listening sockets with the mode of the units, in a short directory; closed at the end."""
    with short_directory() as directory:
        sockets = {name: _listen(directory / f"{name}.sock", name) for name in names}
        try:
            yield Manager(directory, sockets)
        finally:
            for listening in sockets.values():
                listening.close()


def confinement(unit: Path = SHIPPED / "intentd.service", kills: bool = False) -> dict[str, Any]:
    """What `launch.py` must do to confine a program as the unit says."""
    return {
        "allowed": sorted(allowed_calls(unit)),
        "families": values(unit, "RestrictAddressFamilies")[0].split(),
        "mdwe": values(unit, "MemoryDenyWriteExecute") == ["yes"],
        "kills": kills,
    }


def unshared() -> list[str]:
    """The command that starts another one without a network, as PrivateNetwork= does."""
    return ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]


def _listen(path: Path, name: str) -> socket.socket:
    unit = SHIPPED / ("intentd.socket" if name == "api" else f"intentd-{name}.socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(int(values(unit, "SocketMode", "Socket")[0], 8))
    listening.listen(int(values(unit, "Backlog", "Socket")[0]))
    return listening
