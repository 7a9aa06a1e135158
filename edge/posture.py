"""What really confines a running daemon: its seccomp filter, capabilities, network, sockets.

A unit file promises; an old systemd ignores half of it without a word. So this reads what the
kernel says of a process. It changes nothing and needs no privilege; what it may not see is None.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Posture", "SocketFacts", "find_daemon", "read_posture", "read_socket", "weaknesses"]

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
UNIT_GROUPS = ("system.slice/intentd.service", "systemd/system.slice/intentd.service")
PEER = struct.Struct("iII")  # pid, uid, gid. Source: unix(7), SO_PEERCRED
PROBE_TIMEOUT_S = 1.0
SECCOMP_MODES = {"0": "off", "1": "strict", "2": "filter"}  # Source: proc(5), Seccomp
NOTHING: Mapping[str, str] = {}
# The kernel puts these into each new network namespace; none leads anywhere by itself.
# Source: ip-sysctl, fb_tunnels_only_for_init_net
INERT = frozenset(
    {
        "lo",
        "sit0",
        "tunl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "ip6tnl0",
        "ip6gre0",
    }
)


@dataclass(frozen=True, slots=True)
class SocketFacts:
    """Who may connect: whoever may write to the file."""

    path: str
    mode: str
    """Octal, such as 0660."""
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Posture:
    """One process; None means that it cannot be told from here."""

    pid: int
    uid: int | None = None
    seccomp: str | None = None
    """off, strict or filter."""
    no_new_privileges: bool | None = None
    capabilities: int | None = None
    """The effective set, as bits; 0 is none."""
    writes_executable_memory: bool | None = None
    """False when the kernel refuses memory that is writable and executable."""
    interfaces: tuple[str, ...] | None = None
    """The network interfaces that it sees; with `lo` alone it can reach nobody."""
    core_limit_bytes: int | None = None
    """How large a core dump may be; -1 is unlimited."""
    sockets: tuple[SocketFacts, ...] = field(default=())


def read_posture(
    pid: int | None = None, sockets: tuple[Path, ...] = (), proc: Path = PROC
) -> Posture:
    """Ask the kernel how a process is confined.

    Args:
        pid: The process; None is this one, the only one whose `writes_executable_memory` can be
            told.
        sockets: Files to look at; those that are not there are left out.
        proc: Where procfs is mounted.
    """
    here = os.getpid() if pid is None else pid
    status = _fields(proc / str(here) / "status")
    found = (read_socket(path) for path in sockets)
    return Posture(
        pid=here,
        uid=_number(status.get("Uid", "").split(), 10),
        seccomp=SECCOMP_MODES.get(status.get("Seccomp", "")),
        no_new_privileges=_flag(status.get("NoNewPrivs")),
        capabilities=_number(status.get("CapEff", "").split(), 16),
        writes_executable_memory=_may_write_code() if here == os.getpid() else None,
        interfaces=_interfaces(proc / str(here) / "net" / "dev"),
        core_limit_bytes=_core_limit(proc / str(here) / "limits"),
        sockets=tuple(facts for facts in found if facts is not None),
    )


def read_socket(path: Path) -> SocketFacts | None:
    """Mode and owner of a socket; None if there is none, or none that can be seen."""
    try:
        facts = path.stat()
    except OSError:
        return None
    if not stat.S_ISSOCK(facts.st_mode):
        return None
    return SocketFacts(str(path), f"{stat.S_IMODE(facts.st_mode):04o}", facts.st_uid, facts.st_gid)


def find_daemon(path: Path, cgroups: Path = CGROUPS) -> int | None:
    """The process that answers on the socket at `path`; None if it cannot be told.

    The kernel names who listens. Under socket activation that is systemd, process 1, whose unit's
    control group then lists the daemon first.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
            raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
        except OSError:
            return None
    pid: int = PEER.unpack(raw)[0]
    return pid if pid > 1 else _first_of_unit(cgroups)


def weaknesses(posture: Posture) -> list[str]:
    """What is not as strict as the shipped unit makes it, each with what that means."""
    opened = [one.path for one in posture.sockets if int(one.mode, 8) & 0o007]
    return [
        message
        for is_weak, message in (
            (posture.uid == 0, "it runs as root"),
            (posture.seccomp == "off", "no seccomp filter: any system call is allowed"),
            (posture.no_new_privileges is False, "it could gain privileges through setuid files"),
            (bool(posture.capabilities), "it holds capabilities"),
            (posture.writes_executable_memory is True, "memory may be writable and executable"),
            (_sees_network(posture), "it has a network and could send text away"),
            (posture.core_limit_bytes not in (0, None), "a core dump could write texts to disk"),
            (bool(opened), f"anybody may connect to {', '.join(opened)}"),
        )
        if is_weak
    ]


def _sees_network(posture: Posture) -> bool:
    return posture.interfaces is not None and not INERT.issuperset(posture.interfaces)


def _first_of_unit(cgroups: Path) -> int | None:
    for group in UNIT_GROUPS:
        try:
            pids = (cgroups / group / "cgroup.procs").read_text("ascii").split()
        except OSError:
            continue
        if (pid := _number(pids, 10)) is not None:
            return pid
    return None


def _fields(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return NOTHING
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _flag(value: str | None) -> bool | None:
    return None if value is None else value == "1"


def _number(words: list[str], base: int) -> int | None:
    """The first of these words."""
    try:
        return int(words[0], base)
    except (IndexError, ValueError):
        return None


def _interfaces(path: Path) -> tuple[str, ...] | None:
    names = _fields(path)
    # The two heading lines hold no name of their own, but bars.
    return tuple(sorted(name.strip() for name in names if "|" not in name)) if names else None


def _core_limit(path: Path) -> int | None:
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return None
    heading = "Max core file size"
    words = next((line[len(heading) :].split() for line in lines if line.startswith(heading)), [])
    return -1 if words[:1] == ["unlimited"] else _number(words, 10)


def _may_write_code() -> bool | None:
    """Whether this process may have memory that is writable and executable.

    Asking for a page of it tells of a seccomp filter (systemd's way) and of prctl(2) alike.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size, read_write_execute, private_anonymous = 4096, 0x7, 0x22  # Source: mmap(2), Linux
    address = libc.mmap(None, size, read_write_execute, private_anonymous, -1, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        return False
    libc.munmap(address, size)
    return True
