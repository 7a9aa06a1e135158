"""Starts a program as systemd would: sockets from descriptor 3 on, and the unit's confinement.

Run as `python launch.py ORDERS PROGRAM ARGS…`, where ORDERS is JSON; it ends in exec, so the pid
that its parent knows is the program's. What systemd alone can do (a root of its own, a dynamic
user) is not imitated.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import sys
from collections.abc import Sequence
from typing import Any

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65  # Source: prctl(2)
MDWE_REFUSE_EXEC_GAIN = 1
LAST_CAPABILITY = 63
FIRST_FD = 3
ABOVE_ALL = 64
CLONE_NEW = 0x7E020080  # the flags of clone(2) that make a namespace
LIBC = ctypes.CDLL(None, use_errno=True)


def main(orders: dict[str, Any], command: Sequence[str]) -> None:
    """Do as ordered, then become the program."""
    environment = dict(os.environ)
    if fds := orders.get("fds"):
        hand_over(fds)
        environment |= {
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": orders["names"],
            "LISTEN_PID": str(os.getpid()),
        }
    if "allowed" in orders:
        confine(orders)
    os.execvpe(command[0], list(command), environment)


def hand_over(fds: Sequence[int]) -> None:
    """Put the descriptors at 3, 4, …, in this order."""
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD, ABOVE_ALL) for fd in fds]
    for number, fd in enumerate(parked, FIRST_FD):
        os.dup2(fd, number, inheritable=True)
        os.close(fd)


def confine(orders: dict[str, Any]) -> None:
    """No capabilities, no new privileges, no core, no writable code, and the filter."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for what is not ours: no harm
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if orders["mdwe"] and LIBC.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
        sys.exit(f"PR_SET_MDWE: {os.strerror(ctypes.get_errno())}")
    load_filter(orders)


def load_filter(orders: dict[str, Any]) -> None:
    """What SystemCallFilter=, RestrictAddressFamilies= and RestrictNamespaces= come to."""
    import pyseccomp  # type: ignore[import-untyped]

    refused = pyseccomp.KILL_PROCESS if orders["kills"] else pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(refused)
    special = {"socket", "clone", "clone3", "unshare", "setns"}
    for call in set(orders["allowed"]) - special:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, call) >= 0:
            rules.add_rule(pyseccomp.ALLOW, call)
    for family in orders["families"]:
        number = int(getattr(socket, family))
        rules.add_rule(pyseccomp.ALLOW, "socket", pyseccomp.Arg(0, pyseccomp.EQ, number))
    no_namespace = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_NEW, 0)
    rules.add_rule(pyseccomp.ALLOW, "clone", no_namespace)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # as systemd: its flags lie in memory
    rules.load()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
