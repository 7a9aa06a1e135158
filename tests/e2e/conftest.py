"""The daemon that most end-to-end tests share, and what must hold of its log when they are done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemons import Daemon, running_daemon
from tests.e2e.talk import CANARY, TOKEN, ask


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """A daemon with default settings, which every test leaves answering and with a clean log."""
    with running_daemon() as daemon:
        yield daemon
        assert ask(daemon.socket, "GET", "/healthz").status == 200
        check_log(daemon)


def check_log(daemon: Daemon) -> None:
    """The log holds no user's text, no token, and no traceback."""
    for forbidden in (CANARY, TOKEN, "Traceback", "a bug"):
        assert forbidden not in daemon.log
    assert "ERROR" not in daemon.log
