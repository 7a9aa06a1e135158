"""The steps that put the service in place, or take it away: first as a list, then carried out.

What `--dry-run` prints is the very list that is carried out. A file that a person changed is kept,
and the data in /var/lib/intentd and /etc/intentd is never touched.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import CannotStart
from edge.service_units import (
    COLLECTOR,
    UNITS,
    Condition,
    Manager,
    ServiceFile,
    condition_of,
    render,
    service_files,
)

__all__ = ["Keep", "Remove", "Request", "Run", "Step", "Write", "carry_out", "plan_install"]
__all__ += ["plan_uninstall"]

GROUPS = ("intentd", "intentd-admin")
STATE = "/var/lib/intentd"
COMMAND_TIMEOUT_S = 600.0  # starting waits until a large model is warm
BACKUP = ".before-intentd"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be installed or removed, and where."""

    manager: Manager
    executable: Path
    root: Path = Path("/")
    """The directory that stands for `/`; with another one no command is run."""
    replace: bool = False
    """Whether files that were changed by hand are replaced too; a copy is kept beside each."""
    with_collector: bool = False

    def place(self, file: ServiceFile) -> Path:
        """Where the file lies under `root`."""
        return self.root / file.target.relative_to("/")


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file; the old one is kept beside it if a person had changed it."""

    path: Path
    text: str
    mode: int
    was: Condition

    def __str__(self) -> str:
        aside = f", the old one to {self.path.name}{BACKUP}" if _needs_copy(self.was) else ""
        return f"write  {self.path} ({self.was.value}{aside})"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file."""

    path: Path

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave a file as it is, because a person changed it."""

    path: Path

    def __str__(self) -> str:
        return (
            f"keep   {self.path} (changed by hand: move the changes to a drop-in, with "
            f"`systemctl edit {self.path.name}`, or give --replace)"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"run    {' '.join(self.argv)}"


Step = Write | Remove | Keep | Run


def plan_install(request: Request) -> list[Step]:
    """What to do so that the service runs as shipped; only harmless commands if it already does."""
    steps: list[Step] = []
    for file in _files(request):
        path, text = request.place(file), render(file, request.executable)
        was = condition_of(path, text)
        if was is Condition.CHANGED and not request.replace:
            steps.append(Keep(path))
        elif was is not Condition.CURRENT:
            steps.append(Write(path, text, file.mode, was))
    if request.root != Path("/"):
        return steps
    replaced = {step.path.name for step in steps if isinstance(step, Write) and _replaces(step)}
    return [*steps, *(Run(argv) for argv in _start_commands(request, replaced))]


def plan_uninstall(request: Request) -> list[Step]:
    """What to do so that nothing of the service is left but its data."""
    steps: list[Step] = []
    for file in _files(request):
        path = request.place(file)
        was = condition_of(path, render(file, request.executable))
        if was is Condition.CHANGED and not request.replace:
            steps.append(Keep(path))
        elif was is not Condition.MISSING:
            steps.append(Remove(path))
    if request.root != Path("/") or not steps:
        return steps
    stop = [Run(argv) for argv in _stop_commands(request)]
    reload = [] if request.manager is Manager.INIT else [Run(("systemctl", "daemon-reload"))]
    return [*stop, *steps, *reload]


def carry_out(steps: Sequence[Step]) -> Iterator[Step]:
    """Do the steps in order, and hand each back when it is done.

    Raises:
        CannotStart: A command failed or is not there; the steps before it stand, and doing all of
            them again is safe.
        OSError: A file cannot be written.
    """
    for step in steps:
        if isinstance(step, Write):
            _write(step)
        elif isinstance(step, Remove):
            step.path.unlink(missing_ok=True)
        elif isinstance(step, Run):
            _run(step)
        yield step


def _files(request: Request) -> list[ServiceFile]:
    """The collector's unit also when it is there: it is updated and removed with the others."""
    files = service_files(request.manager, with_collector=True)
    wanted = request.with_collector
    return [
        file for file in files if file.source != COLLECTOR or wanted or request.place(file).exists()
    ]


def _start_commands(request: Request, replaced: set[str]) -> Iterator[tuple[str, ...]]:
    """Idempotent commands; `replaced` names the files that were there before in another form."""
    if request.manager is Manager.SYSTEMD:
        yield ("systemd-sysusers", "/etc/sysusers.d/intentd.conf")
        yield ("systemctl", "daemon-reload")
        yield from _restart_commands(replaced)
        yield ("systemctl", "enable", "--now", *UNITS)
        if request.with_collector:
            yield ("systemctl", "enable", "--now", COLLECTOR)
        return
    yield from _account_commands()
    yield ("install", "-d", "-m", "0700", "-o", GROUPS[0], "-g", GROUPS[0], STATE)
    if request.manager is Manager.OLD_SYSTEMD:
        yield ("systemctl", "daemon-reload")
        yield ("systemctl", "enable", "intentd.service")
        yield ("systemctl", "restart" if replaced else "start", "intentd.service")
        return
    if shutil.which("update-rc.d"):
        yield ("update-rc.d", "intentd", "defaults")
    yield ("/etc/init.d/intentd", "restart" if replaced else "start")


def _restart_commands(replaced: set[str]) -> Iterator[tuple[str, ...]]:
    """What runs starts anew; the sockets stay open unless they changed, so nobody is refused."""
    if sockets := sorted(name for name in replaced if name.endswith(".socket")):
        yield ("systemctl", "stop", "intentd.service")
        yield ("systemctl", "try-restart", *sockets)
    if units := sorted(name for name in replaced if name.endswith((".service", ".timer"))):
        yield ("systemctl", "try-restart", *units)


def _account_commands() -> Iterator[tuple[str, ...]]:
    """Make the groups and the user that are not there yet, with what the machine has for it."""
    missing = [name for name in GROUPS if not _has_group(name)]
    if not missing:
        return
    if shutil.which("useradd"):
        yield from (("groupadd", "--system", name) for name in missing)
        shell = "/usr/sbin/nologin"
        user = ("--system", "--gid", GROUPS[0], "--groups", GROUPS[1], "--no-create-home")
        yield ("useradd", *user, "--home-dir", STATE, "--shell", shell, GROUPS[0])
    else:  # busybox
        yield from (("addgroup", "-S", name) for name in missing)
        yield ("adduser", "-S", "-D", "-H", "-h", STATE, "-G", GROUPS[0], GROUPS[0])
        yield ("addgroup", *GROUPS)


def _stop_commands(request: Request) -> Iterator[tuple[str, ...]]:
    if request.manager is Manager.SYSTEMD:
        units = [*UNITS, "intentd-sync.timer", "intentd-sync.service"]
        units += [COLLECTOR] if any(f.source == COLLECTOR for f in _files(request)) else []
        yield ("systemctl", "disable", "--now", *units)
    elif request.manager is Manager.OLD_SYSTEMD:
        yield ("systemctl", "stop", "intentd.service")
        yield ("systemctl", "disable", "intentd.service")
    else:
        yield ("/etc/init.d/intentd", "stop")
        if shutil.which("update-rc.d"):
            yield ("update-rc.d", "intentd", "remove")


def _has_group(name: str) -> bool:
    with suppress(KeyError):
        return bool(grp.getgrnam(name))
    return False


def _replaces(step: Write) -> bool:
    return step.was is not Condition.MISSING


def _needs_copy(was: Condition) -> bool:
    return was is Condition.CHANGED


def _write(step: Write) -> None:
    """Whole or not at all: a unit cut in half could start with half of its confinement."""
    step.path.parent.mkdir(parents=True, exist_ok=True)
    if _needs_copy(step.was):
        step.path.replace(step.path.with_name(step.path.name + BACKUP))
    new = step.path.with_name(f".{step.path.name}.new")
    new.write_text(step.text, "utf-8")
    new.chmod(step.mode)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(step.path)


def _run(step: Run) -> None:
    try:
        done = subprocess.run(  # noqa: S603 — our own words, and no shell
            step.argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotStart(f"{' '.join(step.argv)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise CannotStart(
            f"{' '.join(step.argv)}: expected exit code 0, found {done.returncode}: {said[0]}; "
            "`journalctl -u intentd` may say more; it is safe to run this command again"
        )
