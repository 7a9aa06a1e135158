"""`edge.posture`: what the kernel says of a process, and what follows from it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.posture import Posture, SocketFacts, find_daemon, read_posture, read_socket, weaknesses
from tests.daemons import ROOT, short_directory
from tests.systemd.units import needs

STRICT = Posture(
    pid=7,
    uid=994,
    seccomp="filter",
    no_new_privileges=True,
    capabilities=0,
    writes_executable_memory=False,
    interfaces=("lo", "sit0"),
    core_limit_bytes=0,
    sockets=(SocketFacts("/run/intentd/api.sock", "0660", 0, 994),),
)
STATUS = "Name:\tpython3\nUid:\t994\t994\t994\t994\nCapEff:\t0000000000000400\n"
STATUS += "NoNewPrivs:\t1\nSeccomp:\t2\n"
NET = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets
    lo:       0       0    0
  eth0:       0       0    0
"""
LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \n"
LIMITS += "Max core file size        {}                    0                    bytes     \n"


def fake_proc(root: Path, core: str = "0") -> Path:
    """The files of process 7."""
    (root / "7" / "net").mkdir(parents=True)
    (root / "7" / "status").write_text(STATUS)
    (root / "7" / "net" / "dev").write_text(NET)
    (root / "7" / "limits").write_text(LIMITS.format(core))
    return root


def test_kernels_words_are_understood(tmp_path: Path) -> None:
    """Every field of a process that is not this one."""
    assert read_posture(7, proc=fake_proc(tmp_path)) == Posture(
        pid=7,
        uid=994,
        seccomp="filter",
        no_new_privileges=True,
        capabilities=0x400,
        writes_executable_memory=None,
        interfaces=("eth0", "lo"),
        core_limit_bytes=0,
    )


def test_unlimited_core_is_minus_one(tmp_path: Path) -> None:
    """As in the kernel's own interface."""
    assert read_posture(7, proc=fake_proc(tmp_path, "unlimited")).core_limit_bytes == -1


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Another user's process may be hidden; nothing is made up, and nothing is called weak."""
    posture = read_posture(7, proc=tmp_path)
    assert posture == Posture(pid=7)
    assert weaknesses(posture) == []


def test_this_process_is_described_by_the_kernel_itself() -> None:
    """The real files of procfs have the form that is expected."""
    posture = read_posture()
    assert (posture.pid, posture.uid) == (os.getpid(), os.getuid())
    for name in ("seccomp", "no_new_privileges", "capabilities", "writes_executable_memory"):
        assert getattr(posture, name) is not None, name
    assert posture.interfaces
    assert posture.core_limit_bytes is not None


@pytest.mark.parametrize("forbidden", [True, False])
def test_writable_code_is_told_by_trying(forbidden: bool) -> None:
    """Under PR_SET_MDWE (as under systemd's filter) it is refused, and the posture says so."""
    script = "import ctypes; from edge.posture import read_posture\n"
    if forbidden:
        script += "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): raise SystemExit('no such prctl')\n"
    script += "print(read_posture().writes_executable_memory)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    if "no such prctl" in done.stderr:
        pytest.skip("PR_SET_MDWE needs Linux 6.3")
    assert done.stdout.strip() == str(not forbidden), done.stderr


def test_strict_posture_has_no_weakness() -> None:
    """Fallback tunnels, which the kernel puts into every namespace, lead nowhere."""
    assert weaknesses(STRICT) == []


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("uid", 0, "root"),
        ("seccomp", "off", "seccomp"),
        ("no_new_privileges", False, "setuid"),
        ("capabilities", 1, "capabilities"),
        ("writes_executable_memory", True, "executable"),
        ("interfaces", ("eth0", "lo"), "network"),
        ("core_limit_bytes", -1, "core dump"),
        ("sockets", (SocketFacts("/x/api.sock", "0666", 0, 0),), "/x/api.sock"),
    ],
)
def test_each_weakness_is_named(field: str, value: object, word: str) -> None:
    """Alone, and in words that say what it means."""
    facts = {name: getattr(STRICT, name) for name in Posture.__slots__} | {field: value}
    (found,) = weaknesses(Posture(**facts))
    assert word in found


def test_listening_process_is_found_through_its_socket(tmp_path: Path) -> None:
    """The kernel remembers who listens; where nobody does, there is nobody."""
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path = directory / "s"
        assert find_daemon(path) is None
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o640)
        assert find_daemon(path) == os.getpid()
        facts = read_socket(path)
        assert facts == SocketFacts(str(path), "0640", os.getuid(), os.getgid())
    assert read_socket(tmp_path) is None


@needs("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="a process namespace of its own needs root")
def test_daemon_behind_systemds_socket_is_found_in_its_control_group(tmp_path: Path) -> None:
    """Process 1 listens then; the unit's control group says who answers."""
    group = tmp_path / "system.slice" / "intentd.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("4242\n4243\n")
    script = f"""
import os, socket
from pathlib import Path
from edge.posture import find_daemon
assert os.getpid() == 1
path = Path({str(tmp_path)!r}) / "s"
listening = socket.socket(socket.AF_UNIX); listening.bind(str(path)); listening.listen()
print(find_daemon(path, Path({str(tmp_path)!r})), find_daemon(path, Path("/nowhere")))
"""
    command = ["unshare", "-p", "-f", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["4242", "None"], done.stderr
