"""A daemon's life: start, readiness, signals, restart, and reasons not to start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.bundle import MANIFEST, MODEL, STARTER, TOKENIZER
from tests.daemons import ROOT, Daemon, clean_environment, running_daemon, short_directory, start
from tests.e2e.conftest import check_log
from tests.e2e.talk import PATIENCE_S, ask, post, wait_until
from tests.e2e.test_load import busy

SERVE = (sys.executable, "-m", "edge.cli", "serve")
QUESTION = {"text": "sum this article up"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short private directory."""
    with short_directory() as directory:
        yield directory


def run_serve(
    directory: Path, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected not to start."""
    return subprocess.run(
        [*SERVE, "--socket", str(directory / "api.sock"), *args],
        env=clean_environment(directory) | dict(env or {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a daemon said that could not start, for which exit code 3 stands; never a traceback."""
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return " ".join(done.stderr.split())  # wherever the lines were broken


def is_stopping(daemon: Daemon) -> bool:
    """Whether new connections are refused."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(daemon.socket)) != 0


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM] * 2])
def test_signal_drains_then_exits_0(signals: list[signal.Signals]) -> None:
    """Requests in flight get their answers; the socket's file goes; a second signal is no harm."""
    with running_daemon(env={"INTENTD_DRAIN_TIMEOUT_S": "100"}) as daemon:
        with busy(daemon, 100) as batches:
            for number in signals:
                daemon.process.send_signal(number)
                wait_until(lambda: is_stopping(daemon), "it takes no more connections")
            for connection in batches:
                assert len(connection.reply().json["predictions"]) == 100
                assert connection.is_closed()
        assert daemon.process.wait(PATIENCE_S) == 0
        assert not daemon.socket.exists()
        check_log(daemon)


@pytest.mark.parametrize(
    ("drain_s", "signals"), [("0", [signal.SIGTERM]), ("600", [signal.SIGINT, signal.SIGINT])]
)
def test_requests_that_outlast_the_drain_are_told(
    drain_s: str, signals: list[signal.Signals]
) -> None:
    """What is not done in time gets a 503 that says so, as when a person presses Ctrl-C twice."""
    with running_daemon(env={"INTENTD_DRAIN_TIMEOUT_S": drain_s}) as daemon:
        with busy(daemon, 256) as batches:
            for number in signals:
                daemon.process.send_signal(number)
                wait_until(lambda: is_stopping(daemon), "it takes no more connections")
            for connection in batches:
                reply = connection.reply()
                assert (reply.status, reply.code) == (503, "not_ready")
                assert int(reply.headers["retry-after"]) >= 1
        assert daemon.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in daemon.log


def test_idle_connections_do_not_delay_the_stop() -> None:
    """A client that keeps its connection open is not waited for."""
    env = {"INTENTD_DRAIN_TIMEOUT_S": "600"}
    with running_daemon(env=env) as daemon, socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(daemon.socket))
        assert ask(daemon.socket, "GET", "/healthz").status == 200
        assert daemon.stop() == 0


def test_restart_after_a_crash_needs_no_cleaning(directory: Path) -> None:
    """The socket that a killed daemon left is replaced."""
    with start(directory) as daemon:
        assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        assert daemon.socket.exists()
        with pytest.raises(ConnectionRefusedError):
            ask(daemon.socket, "GET", "/healthz")
    with start(directory) as daemon:
        assert post(daemon.socket, "/v1/classify", QUESTION).status == 200


def test_second_daemon_is_refused_and_the_first_goes_on(daemon: Daemon) -> None:
    """A live socket is never stolen; the message names the process that has it."""
    message = refused(run_serve(daemon.socket.parent))
    assert f"process {daemon.process.pid} already listens" in message
    assert "choose another socket" in message
    assert post(daemon.socket, "/v1/classify", QUESTION).status == 200


def test_socket_is_for_owner_and_group_alone(directory: Path) -> None:
    """The directory is made private, and the socket has the mode that was asked for."""
    path = directory / "run" / "api.sock"
    for mode, args in ((0o660, ()), (0o600, ("--socket-mode", "0600"))):
        with started_at(path, *args):
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


@contextmanager
def started_at(path: Path, *args: str) -> Iterator[Daemon]:
    """A daemon whose socket lies in a directory that it makes itself."""
    with start(path.parent.parent, "--socket", str(path), *args) as daemon:
        yield daemon


class Manager:
    """A service manager's end of NOTIFY_SOCKET; `on_ready` runs the moment that READY=1 comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self.statuses: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._api = path.parent / "api.sock"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while (datagram := self._socket.recv(4096)) != b"end of test":
            self.heard += datagram.decode().splitlines()
            if b"READY=1" in datagram:
                self.statuses.append(ask(self._api, "GET", "/readyz").status)
                self.statuses.append(post(self._api, "/v1/classify", QUESTION).status)

    def close(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"end of test", str(self.path))
        self._thread.join(PATIENCE_S)
        self._socket.close()


@pytest.fixture
def manager(directory: Path) -> Iterator[Manager]:
    """A service manager that listens in the daemon's directory."""
    manager = Manager(directory / "notify")
    yield manager
    manager.close()


def test_service_manager_hears_ready_alive_and_stopping(directory: Path, manager: Manager) -> None:
    """READY=1 once a request is answered, pings while healthy, STOPPING=1 at the end."""
    env = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "150000"}
    with start(directory, env=env) as daemon:
        wait_until(lambda: manager.heard.count("WATCHDOG=1") >= 3, "three pings")
        assert daemon.stop() == 0
    wait_until(lambda: "STOPPING=1" in manager.heard, "the goodbye")
    assert manager.heard[0] == "READY=1"
    assert manager.heard.count("READY=1") == 1
    assert manager.statuses == [200, 200]


def test_daemon_that_cannot_start_never_says_ready(directory: Path, manager: Manager) -> None:
    """The service manager must not send traffic to it."""
    env = {"NOTIFY_SOCKET": str(manager.path)}
    refused(run_serve(directory, "--bundle", str(directory), env=env))
    assert manager.heard == []


def test_telemetry_of_the_framework_cannot_be_turned_on() -> None:
    """It would send exceptions and stack traces over the network, which the daemon never uses."""
    env = {
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    with running_daemon(env=env) as daemon:
        assert post(daemon.socket, "/v1/classify", QUESTION).status == 200
        assert daemon.stop() == 0
        assert "elemetry" not in daemon.log


LAUNCHER = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "api", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""
ACTIVATE = shutil.which("systemd-socket-activate")


def check_activated(directory: Path, *command: str) -> None:
    """Start `command`, which passes the socket `directory/passed.sock`; stop it; the file stays."""
    path = directory / "passed.sock"
    env = clean_environment(directory)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        wait_until(path.exists, "the launcher binds the socket")
        wait_until(lambda: accepts(path), "the launcher listens")
        assert post(path, "/v1/classify", QUESTION).status == 200
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, (directory / "log").read_text()
    assert path.exists()  # systemd's, which will start us again at the next connection
    assert not (directory / "api.sock").exists()


def accepts(path: Path) -> bool:
    """Whether somebody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_inherited_socket_is_served(directory: Path) -> None:
    """The protocol of sd_listen_fds(3), by a launcher of ten lines."""
    path = str(directory / "passed.sock")
    own = ("--socket", str(directory / "api.sock"))
    check_activated(directory, sys.executable, "-c", LAUNCHER, path, *SERVE, *own)


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed")
def test_systemd_socket_activation(directory: Path) -> None:
    """The same with systemd's own launcher, which starts the daemon at the first connection."""
    path, kept = str(directory / "passed.sock"), ("-E", "PYTHONPATH", "-E", "XDG_CONFIG_HOME")
    check_activated(directory, str(ACTIVATE), "-l", path, "--fdname=api", *kept, *SERVE)


def without(directory: Path, name: str) -> Path:
    """A copy of the starter bundle that lacks a file."""
    bundle = Path(shutil.copytree(STARTER, directory / "bundle"))
    (bundle / name).unlink()
    return bundle


def changed(directory: Path, name: str, data: bytes) -> Path:
    """A copy of the starter bundle in which a file holds something else."""
    bundle = without(directory, name)
    (bundle / name).write_bytes(data)
    return bundle


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        (MODEL, None, "model.onnx"),
        (MODEL, b"no graph", "model.onnx"),
        (TOKENIZER, b"{}", "tokenizer.json"),
        (MANIFEST, None, "manifest.json"),
        (MANIFEST, b"{", "manifest.json"),
        (MANIFEST, b'{"schema_version": 99}', "manifest.json"),
    ],
    ids=["no graph", "other graph", "other tokenizer", "no manifest", "half", "newer"],
)
def test_damaged_bundle_is_refused(
    directory: Path, name: str, data: bytes | None, hint: str
) -> None:
    """A bundle that is not what its manifest says is named, with the file and what to do."""
    bundle = without(directory, name) if data is None else changed(directory, name, data)
    message = refused(run_serve(directory, "--bundle", str(bundle)))
    assert hint in message
    assert not (directory / "api.sock").exists()


@pytest.mark.parametrize(
    ("args", "env", "hint"),
    [
        (["--intents", "/nowhere/intents.toml"], {}, "/nowhere/intents.toml"),
        (["--bundle", "/nowhere"], {}, "/nowhere"),
        ([], {"INTENTD_QUEUE_SIZ": "1"}, "did you mean queue_size?"),
        ([], {"INTENTD_QUEUE_SIZE": "0"}, "queue_size: expected 1 to 65536, found 0"),
        ([], {"INTENTD_QUEUE_SIZE": "many"}, "queue_size"),
        ([], {"INTENTD_IDLE_TIMEOUT_S": "nan"}, "idle_timeout_s"),
        ([], {"INTENTD_SOCKET_MODE": "0999"}, "socket_mode"),
        ([], {"INTENTD_SOCKET_GROUP": "no-such-group"}, "groupadd --system no-such-group"),
        ([], {"INTENTD_SPINNING": "maybe"}, "expected true or false"),
        ([], {"INTENTD_LOG_LEVEL": "loud"}, "log_level: expected one of debug, info"),
        ([], {"INTENTD_SOCKET": "/tmp/" + "x" * 120}, None),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, (list, dict)) else "",
)
def test_settings_that_cannot_work_are_refused(
    directory: Path, args: list[str], env: dict[str, str], hint: str | None
) -> None:
    """The message names the setting, what was expected and what was found."""
    if hint is None:
        done = subprocess.run(
            SERVE,
            env=clean_environment(directory) | env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert "107" in refused(done)
        return
    assert hint in refused(run_serve(directory, *args, env=env))


def test_intents_that_cannot_be_read_are_refused(directory: Path) -> None:
    """An intents file is checked before anything is served."""
    path = directory / "intents.toml"
    path.write_text('schema_version = 1\nname = "x"\nversion = "1"\n[[intents]]\nnmae = "A"\n')
    message = refused(run_serve(directory, "--intents", str(path)))
    assert str(path) in message
    assert "unknown key 'nmae'" in message


def test_path_in_the_way_is_not_deleted(directory: Path) -> None:
    """Only sockets that nobody serves are removed; a file is somebody's."""
    (directory / "api.sock").write_text("somebody's work")
    assert "move it away" in refused(run_serve(directory))
    assert (directory / "api.sock").read_text() == "somebody's work"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")
def test_socket_belongs_to_the_group_that_is_set(directory: Path) -> None:
    """Who may connect is decided by the file's group."""
    with start(directory, env={"INTENTD_SOCKET_GROUP": "1"}) as daemon:
        assert daemon.socket.stat().st_gid == 1
