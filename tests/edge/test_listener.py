"""Tests for edge.listener: real sockets, real processes, real crashes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge.errors import CannotStart, SocketInUse
from edge.listener import MAX_PATH_BYTES, inherited_sockets, open_listener

HOLDER = """
import sys
from pathlib import Path
from edge.errors import SocketInUse
from edge.listener import open_listener
try:
    with open_listener(Path(sys.argv[1])):
        print("up", flush=True)
        sys.stdin.readline()
except SocketInUse as error:
    print("in use", error, flush=True)
"""


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="ls", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that opens the listener and keeps it until a line, or the end, of its stdin."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """What the process says first; waits for it."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def connects(path: Path) -> bool:
    """Whether somebody listens on `path`."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def mode_of(path: Path) -> int:
    """Permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The process's umask, for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_listens_and_removes_its_socket_on_close(short_dir: Path) -> None:
    """The happy path: reachable while open, gone afterwards, the lock file stays."""
    path = short_dir / "api.sock"
    with open_listener(path) as listener:
        assert listener.path == path
        assert connects(path)
    assert not path.exists()
    assert path.with_name("api.sock.lock").exists()


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_mode_is_exact_whatever_the_umask(short_dir: Path, mask: int) -> None:
    """Neither the socket nor the directory made for it depends on the umask."""
    path = short_dir / "made" / "api.sock"
    with umask(mask), open_listener(path, mode=0o660):
        assert mode_of(path) == 0o660
        assert mode_of(path.parent) == 0o750


def test_socket_is_born_private_and_unreachable(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bind and chmod the file is 0600, and nobody can connect to it."""
    path = short_dir / "api.sock"
    seen: list[tuple[int, bool]] = []
    chown = os.chown

    def spy(target: Path, uid: int, gid: int) -> None:
        seen.append((mode_of(target), connects(target)))
        chown(target, uid, gid)

    monkeypatch.setattr(os, "chown", spy)
    with umask(0), open_listener(path):
        assert seen == [(0o600, False)]


def test_no_observer_ever_sees_a_wider_mode(short_dir: Path) -> None:
    """A reader that polls during many starts sees 0600 or the final mode, nothing else."""
    path = short_dir / "api.sock"
    modes: set[int] = set()
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):
                modes.add(mode_of(path))
            connects(path)

    observer = threading.Thread(target=poll)
    observer.start()
    with umask(0):
        for _ in range(200):
            open_listener(path, mode=0o640).close()
    with open_listener(path, mode=0o640):
        assert connects(path)
        done.set()
        observer.join()
    assert modes <= {0o600, 0o640}


def test_group_owns_socket_and_new_directory(short_dir: Path) -> None:
    """The group can reach the socket, which takes the directory too."""
    group = 54321 if os.geteuid() == 0 else os.getgroups()[0]
    path = short_dir / "made" / "api.sock"
    with open_listener(path, group=str(group)):
        assert path.stat().st_gid == group
        assert path.parent.stat().st_gid == group


def test_unknown_group_is_refused_with_the_command_to_make_it(short_dir: Path) -> None:
    """A group that does not exist cannot be fixed by a restart."""
    with pytest.raises(CannotStart, match="groupadd --system no-such-group"):
        open_listener(short_dir / "api.sock", group="no-such-group")


def test_second_listener_is_refused_and_the_first_goes_on(short_dir: Path) -> None:
    """A live daemon's socket is never taken, and the message names its process."""
    path = short_dir / "api.sock"
    with holder(path) as process:
        assert first_line(process) == "up"
        with pytest.raises(SocketInUse, match=f"{path}: process {process.pid} already"):
            open_listener(path)
        assert connects(path)


def test_live_daemon_is_noticed_when_its_socket_file_was_deleted(short_dir: Path) -> None:
    """The lock speaks for a daemon that nobody can reach any more: two would share its model."""
    path = short_dir / "api.sock"
    with holder(path) as process:
        assert first_line(process) == "up"
        path.unlink()
        with pytest.raises(SocketInUse, match=f"process {process.pid} already"):
            open_listener(path)


def test_lock_file_deleted_while_being_locked_is_made_anew(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that has no name any more would keep nobody out."""
    path = short_dir / "api.sock"
    lock_path = short_dir / "api.sock.lock"
    flock = fcntl.flock
    deletions = iter([lock_path.unlink])

    def lock_after_deletion(fd: int, operation: int) -> None:
        next(deletions, lambda: None)()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lock_after_deletion)
    with open_listener(path), lock_path.open() as lock_file, pytest.raises(BlockingIOError):
        flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_live_socket_is_kept_when_its_lock_file_was_deleted(short_dir: Path) -> None:
    """The lock file is not the only witness: the kernel is asked whether anybody listens."""
    path = short_dir / "api.sock"
    with holder(path) as process:
        assert first_line(process) == "up"
        path.with_name("api.sock.lock").unlink()
        with pytest.raises(SocketInUse, match=f"process {process.pid} already"):
            open_listener(path)
        assert connects(path)


def test_live_socket_with_a_full_backlog_is_kept(short_dir: Path) -> None:
    """A daemon too busy to accept is alive."""
    path = short_dir / "api.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(SocketInUse, match="process unknown already"):
            open_listener(path)
        assert path.is_socket()


def test_live_socket_of_another_type_is_kept(short_dir: Path) -> None:
    """A datagram socket is somebody's too."""
    path = short_dir / "api.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(SocketInUse):
            open_listener(path)
        assert path.is_socket()


def test_socket_of_a_killed_process_is_replaced(short_dir: Path) -> None:
    """After SIGKILL the next start needs nobody's help, and can itself be killed."""
    path = short_dir / "api.sock"
    for _ in range(3):
        with holder(path) as process:
            assert first_line(process) == "up"
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert path.is_socket()
    with open_listener(path):
        assert connects(path)


def test_of_many_starting_at_once_exactly_one_listens(short_dir: Path) -> None:
    """A race over a stale socket has one winner, and the losers leave its socket alone."""
    path = short_dir / "api.sock"
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(path))
    with holder(path) as a, holder(path) as b, holder(path) as c, holder(path) as d:
        answers = [first_line(process) for process in (a, b, c, d)]
        assert sorted(answer[:6] for answer in answers) == ["in use", "in use", "in use", "up"]
        assert connects(path)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_not_a_socket_is_never_removed(short_dir: Path, kind: str) -> None:
    """A wrong path in a setting must not cost a file."""
    path = short_dir / "api.sock"
    target = short_dir / "target.sock"
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(target))
    make: dict[str, Any] = {
        "file": lambda: path.write_text("precious"),
        "directory": path.mkdir,
        "symlink": lambda: path.symlink_to(target),
    }
    make[kind]()
    before = path.lstat()
    with pytest.raises(CannotStart, match="expected a socket or nothing"):
        open_listener(path)
    assert path.lstat() == before


def test_path_length_limit_is_exact(short_dir: Path) -> None:
    """The longest path that Linux takes works; one byte more is explained."""
    longest = short_dir / ("n" * (MAX_PATH_BYTES - len(str(short_dir)) - 1))
    with open_listener(longest):
        assert connects(longest)
    with pytest.raises(CannotStart, match="at most 107 bytes, this one has 108"):
        open_listener(longest.with_name(longest.name + "n"))


def test_missing_grandparent_is_explained(short_dir: Path) -> None:
    """Only the last directory is made; a mistyped path is not."""
    with pytest.raises(CannotStart, match="No such file or directory"):
        open_listener(short_dir / "typo" / "deeper" / "api.sock")


def test_world_writable_directory_is_refused(short_dir: Path) -> None:
    """Where anybody may rename files, anybody may put their socket in place of ours."""
    short_dir.chmod(0o777)
    with pytest.raises(CannotStart, match="chmod o-w"):
        open_listener(short_dir / "api.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_directory_planted_by_another_user_is_refused(short_dir: Path) -> None:
    """In /tmp, whoever comes first owns the name; clients must not be lured there."""
    short_dir.chmod(0o1777)
    planted = short_dir / "intentd-0"
    planted.mkdir()
    os.chown(planted, 12345, 12345)
    with pytest.raises(CannotStart, match="belongs to user id 12345"):
        open_listener(planted / "api.sock")


def test_close_leaves_a_successors_socket(short_dir: Path) -> None:
    """Only the file that we made is ours to remove."""
    path = short_dir / "api.sock"
    listener = open_listener(path)
    path.rename(short_dir / "moved.sock")
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        successor.listen()
        listener.close()
        assert connects(path)


def test_close_twice_and_after_the_server_closed_the_socket(short_dir: Path) -> None:
    """Uvicorn closes the sockets that it was given; our close comes after."""
    path = short_dir / "api.sock"
    listener = open_listener(path)
    listener.socket.close()
    listener.close()
    listener.close()
    assert not path.exists()


def test_failure_after_bind_leaves_no_socket_and_no_lock(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that fails half-way can be repeated at once."""
    path = short_dir / "api.sock"

    def fail(*_: object) -> None:
        raise PermissionError("chown is filtered")

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", fail)
        with pytest.raises(CannotStart, match="chown is filtered"):
            open_listener(path)
    assert not path.exists()
    with open_listener(path):
        assert connects(path)


ACTIVATED = """
import json, os, socket, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(json.loads(sys.argv[2]))
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
from edge.errors import CannotStart
from edge.listener import inherited_sockets
try:
    sockets = inherited_sockets()
except CannotStart as error:
    print(json.dumps({"error": str(error)}))
    sys.exit(error.exit_code)
print(json.dumps({
    "names": list(sockets),
    "inheritable": [s.get_inheritable() for s in sockets.values()],
    "left": [k for k in os.environ if k.startswith("LISTEN_")],
}), flush=True)
for s in sockets.values():
    connection, _ = s.accept()
    connection.sendall(b"hello")
"""


def activated(sock: socket.socket, **variables: str) -> subprocess.Popen[str]:
    """A process that inherits `sock` as descriptor 3, as systemd would have it."""
    command = [sys.executable, "-c", ACTIVATED, str(sock.fileno()), json.dumps(variables)]
    return subprocess.Popen(
        command, pass_fds=[sock.fileno()], stdout=subprocess.PIPE, text=True, env=_environment()
    )


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("LISTEN_")}


def test_inherited_socket_serves_and_its_file_stays(short_dir: Path) -> None:
    """Socket activation: named, closed on exec, the variables gone, the file systemd's."""
    path = short_dir / "api.sock"
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen()
        client.connect(str(path))
        with activated(sock, LISTEN_FDS="1", LISTEN_FDNAMES="api") as process:
            report = json.loads(first_line(process))
            assert client.recv(5) == b"hello"
        assert report == {"names": ["api"], "inheritable": [False], "left": []}
        assert path.is_socket()


def test_sockets_meant_for_another_process_are_ignored(short_dir: Path) -> None:
    """A child that inherited its parent's variables takes nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        with activated(sock, LISTEN_FDS="1", LISTEN_PID="1") as process:
            report = json.loads(first_line(process))
        assert report == {"names": [], "inheritable": [], "left": []}


@pytest.mark.parametrize(
    ("family", "kind", "listening"),
    [
        (socket.AF_UNIX, socket.SOCK_STREAM, False),
        (socket.AF_UNIX, socket.SOCK_DGRAM, False),
        (socket.AF_INET, socket.SOCK_STREAM, True),
    ],
)
def test_inherited_socket_of_the_wrong_kind_is_refused(
    family: int, kind: int, listening: bool
) -> None:
    """A .socket unit with the wrong Listen= line is named before anything is served."""
    with socket.socket(family, kind) as sock:
        if listening:
            sock.listen()
        with activated(sock, LISTEN_FDS="1", LISTEN_FDNAMES="api") as process:
            report = json.loads(first_line(process))
        assert process.returncode == CannotStart.exit_code
        assert "'api' (fd 3): expected a listening Unix stream socket" in report["error"]


@pytest.mark.parametrize(
    ("count", "names"), [("x", ""), ("-1", ""), ("2", "api"), ("2", "api:api"), ("1", "a:b")]
)
def test_malformed_activation_variables_are_refused(
    monkeypatch: pytest.MonkeyPatch, count: str, names: str
) -> None:
    """Counts and names must agree, and names must differ."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", names)
    with pytest.raises(CannotStart, match="LISTEN_FD"):
        inherited_sockets()


def test_without_activation_there_are_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon started by hand inherits nothing."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    assert inherited_sockets() == {}
