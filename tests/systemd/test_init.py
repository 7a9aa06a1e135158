"""The init script, for machines without systemd: a real daemon, started and stopped by it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.posture import read_posture
from tests.daemons import ROOT, clean_environment, short_directory
from tests.e2e.talk import post
from tests.systemd.units import SHIPPED, needs

SCRIPT = SHIPPED / "init" / "intentd"
pytestmark = needs("setsid", "tr")


class Machine:
    """A directory in which the script finds and leaves everything."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "intentd"
        self.program.write_text(f"#!{sys.executable}\nfrom edge.cli import main\nmain()\n")
        self.program.chmod(0o755)

    @property
    def api(self) -> Path:
        """Where apps connect."""
        return self.directory / "run" / "api.sock"

    @property
    def pid(self) -> int:
        """What the script knows of the daemon."""
        return int((self.directory / "run" / "pid").read_text("ascii"))

    def run(self, verb: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The script with one word."""
        environment = clean_environment(self.directory) | {
            "SERVICE_PROGRAM": str(self.program),
            # As root it changes to this user, who must be able to read this Python.
            "SERVICE_USER": "root",
            "SERVICE_ADMINS": "root",
            "SERVICE_CONFIG": str(self.directory),
            "SERVICE_RUN": str(self.directory / "run"),
            "SERVICE_STATE": str(self.directory / "state"),
            "SERVICE_LOG": str(self.directory / "log"),
        }
        return subprocess.run(
            ["sh", str(SCRIPT), verb],
            cwd=ROOT,
            env=environment | env,
            capture_output=True,
            text=True,
            timeout=100,
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine on which nothing runs in the end."""
    with short_directory() as directory:
        machine = Machine(directory)
        yield machine
        machine.run("stop")


def test_start_status_restart_stop(machine: Machine) -> None:
    """Each says what it did, is safe to repeat, and exits as init expects."""
    assert machine.run("status").returncode == 3
    started = machine.run("start")
    log = machine.directory / "log"
    assert started.returncode == 0, started.stderr + log.read_text("utf-8")
    assert post(machine.api, "/v1/classify", {"text": "find it"}).status == 200
    assert "runs already" in machine.run("start").stdout
    assert machine.run("status").returncode == 0
    first = machine.pid
    assert machine.run("restart").returncode == 0
    assert machine.pid != first
    posture = read_posture(machine.pid, (machine.api,))
    assert posture.core_limit_bytes == 0
    assert posture.sockets[0].mode == "0660"
    if os.geteuid() == 0:
        assert posture.interfaces is not None
        assert "eth0" not in posture.interfaces
    assert machine.run("stop").returncode == 0
    assert not machine.api.exists()
    assert "does not run" in machine.run("stop").stdout


def test_failed_start_says_where_to_look(machine: Machine) -> None:
    """And exits 1, at once and not after the time that a slow CPU may take."""
    done = machine.run("start", INTENTD_BUNDLE="/nowhere")
    assert done.returncode == 1
    assert str(machine.directory / "log") in done.stderr
    assert "/nowhere" in (machine.directory / "log").read_text("utf-8")


def test_strangers_process_is_never_killed(machine: Machine) -> None:
    """The daemon may write its pid file; a hijacked one could name any process of the system."""
    (machine.directory / "run").mkdir()
    (machine.directory / "run" / "pid").write_text(f"{os.getpid()}\n")
    assert "does not run" in machine.run("stop").stdout


def test_unknown_word_is_told_the_known_ones(machine: Machine) -> None:
    """Exit code 2, as for every wrong use."""
    done = machine.run("dance")
    assert (done.returncode, "start|stop|restart" in done.stderr) == (2, True)
