"""`edge.daemon` inside this process: the order of its start, and what it does with its sockets.

Its life as a process (signals, restarts, sockets from systemd) is in tests/e2e/test_life.py.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from edge import daemon as module
from edge import notify
from edge.daemon import serve
from edge.errors import BundleCorrupt, InvalidLabelSet, SocketInUse
from edge.listener import open_listener
from edge.protocol import ConnectionLimits
from edge.service import open_predictor
from edge.settings import Settings
from tests.daemons import short_directory

PATIENCE_S = 30.0


class Diary:
    """A service, a service manager and a server, which write down what happens to them."""

    def __init__(self, fails: bool = False) -> None:
        self.lines: list[str] = []
        self._fails = fails

    async def warm_up(self) -> None:
        """The first inference."""
        self.lines.append("warm")
        if self._fails:
            raise RuntimeError("the model cannot run")

    async def begin(self) -> None:
        """The admin's socket takes connections."""
        self.lines.append("accepting admins")

    async def go_on(self, start: object) -> None:
        """What the last run left is gone on with."""
        self.lines.append("going on")

    def is_healthy(self) -> bool:
        """Always."""
        return True

    def write(self, line: str) -> Any:
        """A function that writes this line."""
        return lambda *_: self.lines.append(line)


def start(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the server's start, with uvicorn's own replaced by a line in the diary."""

    async def listen(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        diary.lines.append("accepting")
        self.started = True

    monkeypatch.setattr(uvicorn.Server, "startup", listen)
    monkeypatch.setattr(notify, "ready", diary.write("ready"))
    config = uvicorn.Config(cast(Any, None))
    admin = cast(module._AdminServer, diary)
    desk = SimpleNamespace(begin=diary.go_on)
    life = module._Life(cast(Any, diary), cast(Any, desk), cast(Any, None))
    server = module._Server(config, life, admin, diary.write("announced"))
    asyncio.run(server.startup())


def test_ready_is_said_after_a_warm_inference_and_when_connections_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service manager sends traffic at READY=1, and the first request must be as fast as any."""
    diary = Diary()
    start(diary, monkeypatch)
    assert diary.lines == [
        "warm",
        "accepting",
        "going on",
        "accepting admins",
        "ready",
        "announced",
    ]


def test_model_that_cannot_run_is_never_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It loaded, but its first inference failed: nobody is told otherwise."""
    diary = Diary(fails=True)
    with pytest.raises(RuntimeError, match="cannot run"):
        start(diary, monkeypatch)
    assert diary.lines == ["warm"]


def test_socket_is_taken_before_the_model_is_loaded(tmp_path: Path) -> None:
    """A second daemon must fail in milliseconds, not after it took the memory of a second model."""
    with short_directory() as directory:
        settings = Settings(socket=directory / "s", bundle=tmp_path / "missing")
        with open_listener(directory / "s"), pytest.raises(SocketInUse):
            serve(settings, print)


def test_failed_start_leaves_no_socket() -> None:
    """Clients of a daemon that never was see "no such file", not a connection that hangs."""
    with short_directory() as directory:
        settings = Settings(socket=directory / "s", bundle=directory / "missing")
        with pytest.raises(BundleCorrupt):
            serve(settings, print)
        assert not (directory / "s").exists()


def test_predictor_is_what_the_settings_say(tmp_path: Path) -> None:
    """Bundle and intents are each named by the error that they cause."""
    with pytest.raises(InvalidLabelSet, match="nowhere"):
        open_predictor(Settings(intents=tmp_path / "nowhere.toml"))
    assert open_predictor(Settings()).label_set.names


def test_inherited_sockets_are_told_apart_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone one needs no name and is for apps; the admin's is never taken for it."""
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as admin:
        for passed in ({"admin": admin, "api": one}, {"unknown": one, "admin": admin}):
            monkeypatch.setattr(module, "inherited_sockets", lambda passed=passed: dict(passed))
            with module._sockets(Settings(socket=Path("/nowhere/s"))) as sockets:
                assert (sockets.api, sockets.admin) == (one, admin)


@pytest.mark.parametrize("name", ["api", "admin"])
def test_socket_that_is_not_inherited_is_our_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit may pass only one of the two; whatever we opened is gone at the end."""
    with socket.socket(socket.AF_UNIX) as passed, short_directory() as directory:
        monkeypatch.setattr(module, "inherited_sockets", lambda: {name: passed})
        own = {"api": "admin.sock", "admin": "api.sock"}[name]
        with module._sockets(Settings(socket=directory / "api.sock")) as sockets:
            assert passed is getattr(sockets, name)
            assert [p.name for p in directory.glob("*.sock")] == [own]
        assert not list(directory.glob("*.sock"))


def test_cores_are_never_dumped() -> None:
    """They would hold texts."""
    script = (
        "import resource; from edge import daemon;"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)); daemon._forbid_core_dumps();"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=PATIENCE_S)
    assert done.stdout == b"0\n", done.stderr


def test_log_is_one_line_an_event_on_stderr() -> None:
    """Standard output is for the line that programs wait for; uvicorn's start and stop are ours."""
    script = (
        "import logging; from edge.daemon import configure_logging; configure_logging('info');"
        "logging.getLogger('intentd').info('one'); logging.getLogger('intentd').debug('two');"
        "logging.getLogger('uvicorn.error').info('three')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.stdout, done.stderr) == ("", "INFO intentd: one\n")


def test_the_web_framework_is_left_for_while_the_model_loads() -> None:
    """Its import takes as long as the starter: one after the other they cost 0.2 s of a start."""
    code = "import sys, edge.daemon; print('fastapi' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_no_heavy_library_comes_in_unasked() -> None:
    """sqlite-utils takes pandas where it finds it: 75 MB for nothing."""
    code = (
        "import sys, edge.daemon, edge.admin, edge.api;"
        "sys.exit(' '.join({'pandas', 'pyarrow', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_bundle_on_its_way_to_the_admins_socket_makes_room_for_nobody() -> None:
    """It may be large and its disk slow; on the apps' socket who is slow does make room."""
    apps = ConnectionLimits()
    admins = module._for_admins(apps)

    assert admins.grace_s >= admins.body_timeout_s > apps.body_timeout_s > apps.grace_s
