"""The files that make intentd a service: which, where they go, and who wrote what is there.

It reads and compares; it writes nothing and runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge import __version__
from edge.errors import CannotStart, InvalidValue

__all__ = [
    "COLLECTOR",
    "UNITS",
    "Condition",
    "Manager",
    "ServiceFile",
    "check_executable",
    "condition_of",
    "drop_ins",
    "find_executable",
    "find_manager",
    "render",
    "service_files",
    "shipped_directory",
]

SHIPPED_EXECUTABLE = "/opt/intentd/bin/intentd"
"""What the shipped files start; it is replaced by the path of the program that installs them."""
SYSTEMD_UNITS = Path("/etc/systemd/system")
UNITS = ("intentd.socket", "intentd-admin.socket", "intentd.service")
COLLECTOR = "intentd-collect.service"
# Source: systemd's NEWS. 235 brought DynamicUser= with StateDirectory=; what came later is ignored
# by older versions, which costs strictness but no function.
OLDEST_SYSTEMD = 235
# Source: systemd.exec(5), ProtectHome= and PrivateTmp=
HIDDEN_EVER = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 — to be refused
# InaccessiblePaths=, NoExecPaths= and PrivateDevices= of the full unit
HIDDEN_TOO = (
    *("/boot", "/dev", "/etc", "/export", "/media", "/mnt", "/run", "/srv", "/var"),
    *("/volume1", "/volume2"),
)
_STAMP = re.compile(r"# intentd [^ \n]+ sha256:([0-9a-f]{64})\n")
_VERSION = re.compile(r"^systemd (\d+)")


class Manager(StrEnum):
    """What starts services on this machine."""

    SYSTEMD = "systemd"
    OLD_SYSTEMD = "old-systemd"
    """Before 235, as on Synology's DSM: a plain unit, and the daemon opens its own sockets."""
    INIT = "init"
    """Scripts in /etc/init.d."""


class Condition(StrEnum):
    """How a file on this machine compares with the one that would be installed."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"
    """As some version of intentd wrote it, for this program or another."""
    CHANGED = "changed by hand"


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """One file, as shipped and as installed."""

    source: str
    """Relative to `shipped_directory()`."""
    target: Path
    mode: int = 0o644


def service_files(manager: Manager, with_collector: bool = False) -> list[ServiceFile]:
    """What is installed for this manager."""
    if manager is Manager.INIT:
        return [ServiceFile("init/intentd", Path("/etc/init.d/intentd"), 0o755)]
    if manager is Manager.OLD_SYSTEMD:
        return [ServiceFile("plain/intentd.service", SYSTEMD_UNITS / "intentd.service")]
    names = [*UNITS, "intentd-sync.service", "intentd-sync.timer"]
    names += [COLLECTOR] if with_collector else []
    users = ServiceFile("intentd.sysusers", Path("/etc/sysusers.d/intentd.conf"))
    return [users, *(ServiceFile(name, SYSTEMD_UNITS / name) for name in names)]


def shipped_directory() -> Path:
    """Where the files lie: in the package when installed from a wheel, else in the checkout.

    Raises:
        CannotStart: Neither is there.
    """
    package = Path(__file__).parent
    for directory in (package / "systemd", package.parent / "systemd"):
        if (directory / "intentd.service").is_file():
            return directory
    raise CannotStart(
        f"expected the unit files in {package / 'systemd'}, found none; install intentd again"
    )


def render(file: ServiceFile, executable: Path) -> str:
    """The file's text for this program, with a last line that proves that we wrote it."""
    text = (shipped_directory() / file.source).read_text("utf-8")
    body = text.replace(SHIPPED_EXECUTABLE, str(executable))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"{body}# intentd {__version__} sha256:{digest}\n"


def condition_of(path: Path, wanted: str) -> Condition:
    """Compare the file at `path` with the text that is wanted there."""
    if path.is_symlink():  # `systemctl mask`, or somebody's own arrangement
        return Condition.CHANGED
    try:
        found = path.read_text("utf-8")
    except FileNotFoundError:
        return Condition.MISSING
    except ValueError:
        return Condition.CHANGED
    if found == wanted:
        return Condition.CURRENT
    body, stamp = found[: found.rfind("\n", 0, -1) + 1], _STAMP.search(found)
    is_ours = stamp is not None and stamp[1] == hashlib.sha256(body.encode()).hexdigest()
    return Condition.OUTDATED if is_ours else Condition.CHANGED


def drop_ins(unit: Path) -> list[Path]:
    """What the admin added to a unit, in the order in which systemd reads it."""
    return sorted(unit.with_name(unit.name + ".d").glob("*.conf"))


def find_executable() -> Path:
    """The command `intentd` of the environment that runs now.

    Raises:
        CannotStart: There is none beside this Python.
    """
    beside = Path(sys.executable).with_name("intentd")
    if not beside.is_file():
        raise CannotStart(
            f"expected the command {beside}, found none; name it with --executable, "
            "or install intentd with pip into its own environment"
        )
    return beside


def check_executable(executable: Path, manager: Manager) -> None:
    """Refuse a program that the service could not run.

    Raises:
        InvalidValue: It is not there, or it lies where the units let nothing be run; so may its
            interpreter.
    """
    if not executable.is_absolute() or not os.access(executable, os.X_OK):
        raise InvalidValue(
            f"{executable}: expected the absolute path of a program; see --executable"
        )
    if " " in str(executable) or "%" in str(executable):
        raise InvalidValue(f"{executable}: a unit's path has no space and no %; install elsewhere")
    places = _hidden_by(manager)
    for path in _needed(executable):
        if hiding := next((place for place in places if path.is_relative_to(place)), None):
            raise InvalidValue(
                f"{path}: the service may run nothing in {hiding}; make an environment with the "
                "system's Python (python3 -m venv /opt/intentd), and install intentd there"
            )


def find_manager() -> Manager:
    """What starts services here.

    Raises:
        CannotStart: Nothing that is known; a container is then the way.
    """
    if Path("/run/systemd/system").is_dir():
        return Manager.SYSTEMD if _systemd_version() >= OLDEST_SYSTEMD else Manager.OLD_SYSTEMD
    if Path("/etc/init.d").is_dir():
        return Manager.INIT
    raise CannotStart(
        "expected systemd or /etc/init.d, found neither; run intentd as a container (docs/nas.md)"
    )


def _hidden_by(manager: Manager) -> tuple[str, ...]:
    if manager is Manager.INIT:
        return ()
    return HIDDEN_EVER if manager is Manager.OLD_SYSTEMD else HIDDEN_EVER + HIDDEN_TOO


def _needed(executable: Path) -> list[Path]:
    """The program, its interpreter, and what links between them pass through."""
    found = [executable, executable.resolve()]
    try:
        with executable.open("rb") as script:
            first = script.readline(4096).decode("utf-8", "replace").strip()
    except OSError:
        return found
    if first.startswith("#!"):
        interpreter = Path(first[2:].split()[0])
        found += [interpreter, interpreter.resolve()]
    return found


def _systemd_version() -> int:
    """0 when it cannot be told, which chooses the plain unit."""
    command = shutil.which("systemctl")
    if command is None:
        return 0
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = _VERSION.match(done.stdout)
    return int(found[1]) if found else 0
