"""Who may connect is the kernel's decision, by the sockets' owner, group and mode: every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, running_daemon

APPS, ADMINS, STRANGER = 54321, 54322, 54323  # groups and users that no machine has
TIMES = 100
CONNECT = """
import json, os, socket, sys
uid, groups, times, *paths = json.loads(sys.argv[1])
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
heard = {}
for path in paths:
    heard[path] = {}
    for _ in range(times):
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
                said = "connected"
            except OSError as error:
                said = type(error).__name__
        heard[path][said] = heard[path].get(said, 0) + 1
print(json.dumps(heard))
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user, or give a socket to any group"
)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with a group for its apps and another one for its admins."""
    env = {"INTENTD_SOCKET_GROUP": str(APPS), "INTENTD_ADMIN_SOCKET_GROUP": str(ADMINS)}
    with running_daemon(env=env) as started:
        started.socket.parent.chmod(0o711)
        yield started


def connect(uid: int, groups: list[int], *paths: Path) -> list[dict[str, int]]:
    """What that user hears at each of the sockets, each tried a hundred times."""
    orders = json.dumps([uid, groups, TIMES, *map(str, paths)])
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, orders], capture_output=True, timeout=100, check=True
    )
    return list(json.loads(done.stdout).values())


@pytest.mark.parametrize(
    ("groups", "api", "admin"),
    [
        ([], False, False),
        ([APPS], True, False),
        ([ADMINS], False, True),
        ([STRANGER], False, False),
    ],
    ids=["nobody", "app", "admin", "stranger"],
)
def test_only_the_sockets_own_group_may_connect(
    daemon: Daemon, groups: list[int], api: bool, admin: bool
) -> None:
    """Another user, and another group, are refused a hundred times of a hundred."""
    heard = connect(STRANGER, groups, daemon.socket, daemon.admin_socket)

    words = {True: "connected", False: "PermissionError"}
    assert heard == [{words[may]: TIMES} for may in (api, admin)]
