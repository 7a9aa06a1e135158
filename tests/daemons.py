"""Starts real daemons for tests: `python -m edge.cli serve` as a child process, on a short socket.

They wait for the line that says ready, with a deadline, and stop only the process they started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

__all__ = ["Daemon", "clean_environment", "running_daemon", "short_directory", "start"]

ROOT = Path(__file__).resolve().parents[1]
READY_DEADLINE_S = 60.0  # half a second when the machine is idle
STOP_DEADLINE_S = 30.0
POLL_S = 0.02
READY_MARK = " answers on "
OURS = (
    "INTENTD_",
    "LISTEN_",
    "NOTIFY_SOCKET",
    "PYTHONUNBUFFERED",  # it would hide a missing flush
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "WATCHDOG_",
    "XDG_",
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that answers, until `stop` or the end of the `with` block."""

    socket: Path
    process: subprocess.Popen[bytes]
    stdout_path: Path
    log_path: Path

    @property
    def admin_socket(self) -> Path:
        """Where the admin connects."""
        return self.socket.with_name("admin.sock")

    @property
    def state_dir(self) -> Path:
        """Where it keeps corrections, unless it was told otherwise."""
        return self.socket.parent / "intentd"

    @property
    def stdout(self) -> str:
        """What it printed so far: the line that says ready, and the one to try."""
        return self.stdout_path.read_text("utf-8")

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self.log_path.read_text("utf-8")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit status; safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no stop within {STOP_DEADLINE_S} s\n{self.log}") from None

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start(socket_dir: Path, *args: str, env: Mapping[str, str] | None = None) -> Daemon:
    """Start a daemon on `socket_dir/api.sock` and wait until it says that it answers.

    Args:
        socket_dir: A short directory (see `short_directory`); its output goes there too.
        args: Further options of `intentd serve`, such as `"--bundle", str(path)`.
        env: Variables beside those of `clean_environment`.

    Raises:
        AssertionError: It ended, or did not get ready in time; the message holds its log.
    """
    socket = socket_dir / "api.sock"
    stdout_path, log_path = socket_dir / "stdout", socket_dir / "stderr"
    command = [sys.executable, "-m", "edge.cli", "serve", "--socket", str(socket), *args]
    with stdout_path.open("wb") as out, log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            cwd=ROOT,
            env=clean_environment(socket_dir) | dict(env or {}),
        )
    daemon = Daemon(socket, process, stdout_path, log_path)
    _wait_until_ready(daemon)
    return daemon


@contextmanager
def running_daemon(*args: str, env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """A daemon in a directory of its own, stopped and swept away at the end."""
    with short_directory() as directory, start(directory, *args, env=env) as daemon:
        yield daemon


@contextmanager
def short_directory() -> Iterator[Path]:
    """A private directory whose path leaves room for a socket's name (107 bytes in all)."""
    directory = Path(tempfile.mkdtemp(prefix="itd-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without what would configure a daemon; all it keeps is in `home`.

    As root the config file is /etc/intentd/intentd.toml all the same.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return kept | {
        "XDG_CONFIG_HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "XDG_STATE_HOME": str(home),
        "PYTHONPATH": python_path,
    }


def _wait_until_ready(daemon: Daemon) -> None:
    deadline = time.monotonic() + READY_DEADLINE_S
    while READY_MARK not in daemon.stdout:
        status = daemon.process.poll()
        if status is not None:
            raise AssertionError(f"the daemon ended with status {status}\n{daemon.log}")
        if time.monotonic() > deadline:
            daemon.process.kill()
            daemon.process.wait()
            raise AssertionError(f"not ready within {READY_DEADLINE_S} s\n{daemon.log}")
        time.sleep(POLL_S)
