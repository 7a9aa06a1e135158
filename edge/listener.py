"""The Unix socket's ownership: who may bind a path, with which permissions, who may remove it.

It never takes a socket from a live process, deletes nothing but sockets, and knows no HTTP.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import stat
import struct
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edge.errors import CannotStart, SocketInUse

__all__ = ["MAX_PATH_BYTES", "Listener", "inherited_sockets", "open_listener"]

# Source: unix(7). sun_path has 108 bytes; the last is for the NUL that other programs expect.
MAX_PATH_BYTES = 107
DIRECTORY_MODE = 0o750
BACKLOG = 128
PROBE_TIMEOUT_S = 1.0
PEER = struct.Struct("iII")  # pid, uid, gid. Source: unix(7), SO_PEERCRED
FIRST_INHERITED_FD = 3  # Source: sd_listen_fds(3), SD_LISTEN_FDS_START


@dataclass(slots=True)
class Listener:
    """A listening socket, the file it is reached by, and the lock that makes it ours.

    `close` is safe to call twice, and after uvicorn has closed the socket at its shutdown.
    """

    path: Path  # absolute; what clients connect to
    socket: socket.socket  # AF_UNIX, SOCK_STREAM, listening
    _lock_fd: int = field(repr=False)
    _identity: tuple[int, int] | None = field(repr=False)  # device and inode of our file
    _closed: bool = field(default=False, repr=False)

    def close(self) -> None:
        """Remove our own socket file (never a successor's), stop listening, release the lock."""
        if self._closed:
            return
        self._closed = True
        if _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)
        self.socket.close()
        os.close(self._lock_fd)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_listener(path: Path, mode: int = 0o660, group: str | None = None) -> Listener:
    """Bind and listen on `path`, in an order that leaves no moment of wider permissions.

    A lock file beside the socket (`api.sock.lock`, never deleted) decides between daemons. The
    kernel drops the lock when its holder dies, so a crash leaves nothing to clean up by hand.

    Args:
        path: Where clients connect; its directory is made with mode 0750 if only that is missing.
        mode: Permission bits of the socket file; whoever may write to it may connect.
        group: Name or number of the group that owns the file; None leaves the process's own.

    Returns:
        The listener; close it to remove the file.

    Raises:
        SocketInUse: A live process owns the path.
        CannotStart: The path, the directory, the group or the permissions cannot be used.
    """
    path = path.absolute()  # not resolve(): a symlink in its place must be seen and refused
    if (length := len(os.fsencode(path))) > MAX_PATH_BYTES:
        raise CannotStart(
            f"{path}: a socket path holds at most {MAX_PATH_BYTES} bytes, this one has {length};"
            " choose a shorter one such as /run/intentd/api.sock"
        )
    try:
        return _open(path, mode, _group_id(group))
    except OSError as error:
        raise CannotStart(f"{path}: cannot listen there: {error}") from error


def inherited_sockets() -> dict[str, socket.socket]:
    """The sockets that systemd opened for us, by the name that their `.socket` unit gives them.

    They belong to systemd: their files have its permissions and must outlive us, so nothing here
    unlinks them. The variables are removed from the environment, lest a child process takes the
    descriptors for its own.

    Returns:
        Name → listening socket; empty when the process was not socket-activated.

    Raises:
        CannotStart: The variables are malformed, or a descriptor is no listening Unix socket.
    """
    count = os.environ.pop("LISTEN_FDS", "0")
    pid = os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()):
        return {}
    if not count.isdecimal():
        raise CannotStart(f"LISTEN_FDS: expected a number of sockets, found {count!r}")
    fds = range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + int(count))
    labels = names.split(":") if names else ["unknown"] * len(fds)
    if len(labels) != len(fds) or len(set(labels)) != len(labels):
        raise CannotStart(
            f"LISTEN_FDNAMES: expected {len(fds)} different names, found {names!r};"
            " give each .socket unit its own FileDescriptorName="
        )
    return {label: _adopt(fd, label) for label, fd in zip(labels, fds, strict=True)}


def _adopt(fd: int, name: str) -> socket.socket:
    try:
        adopted = socket.socket(fileno=fd)
        adopted.set_inheritable(False)
        listening = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotStart(f"inherited socket {name!r} (fd {fd}): {error}") from error
    if (adopted.family, adopted.type, listening) != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
        raise CannotStart(
            f"inherited socket {name!r} (fd {fd}): expected a listening Unix stream socket,"
            f" found {adopted!r}; use ListenStream= with a path in the .socket unit"
        )
    return adopted


def _group_id(group: str | None) -> int:
    """The group's number; -1, which chown takes for "leave it", when none is asked for."""
    if not group:
        return -1
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CannotStart(
            f"socket group {group!r} does not exist; create it (groupadd --system {group}),"
            " or name another"
        ) from None


def _open(path: Path, mode: int, gid: int) -> Listener:
    _make_directory(path.parent, gid)
    with ExitStack() as undo:
        lock_fd = _lock(path)
        undo.callback(os.close, lock_fd)
        _remove_stale(path)
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _bind(sock, path, mode, gid)
        undo.pop_all()
    return Listener(path, sock, lock_fd, _identity(path))


def _make_directory(directory: Path, gid: int) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _check_directory(directory)
    else:
        os.chown(directory, -1, gid)
        # Not mkdir's own mode: the umask cuts that, and may shut the group out.
        directory.chmod(DIRECTORY_MODE)


def _check_directory(directory: Path) -> None:
    """Refuse a directory in which another user could replace the socket by theirs."""
    facts, entry = directory.stat(), directory.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise CannotStart(f"{directory}: expected a directory for the socket, found a file")
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        raise CannotStart(
            f"{directory}: every user may replace files here; chmod o-w it,"
            " or choose another directory"
        )
    anyone_may_create = bool(directory.parent.stat().st_mode & stat.S_IWOTH)
    if anyone_may_create and entry.st_uid not in (0, os.geteuid()):
        raise CannotStart(
            f"{directory}: it belongs to user id {entry.st_uid}, who may have put it there to catch"
            " our clients; remove it, or choose another directory"
        )


def _lock(path: Path) -> int:
    """Take the lock beside the socket; the descriptor holds it until the process ends."""
    lock_path = path.with_name(path.name + ".lock")
    while True:
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise SocketInUse(_in_use(path, holder)) from None
        facts = os.fstat(fd)
        if _identity(lock_path) == (facts.st_dev, facts.st_ino):
            break
        os.close(fd)  # somebody deleted the file between open and flock: this lock guards nothing
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _remove_stale(path: Path) -> None:
    """Remove what a crashed daemon left, after asking the kernel whether anybody listens there.

    The lock alone does not tell: somebody may have deleted its file under a running daemon.
    """
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise CannotStart(f"{path}: expected a socket or nothing, found another file; move it away")
    if (holder := _listening_pid(path)) is not None:
        raise SocketInUse(_in_use(path, holder))
    path.unlink()


def _listening_pid(path: Path) -> str | None:
    """The process that listens on `path`; "unknown" if it cannot be told; None if nobody does.

    Only ECONNREFUSED proves that: a full backlog, or a socket of another type, is a live one.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return None if error.errno == errno.ECONNREFUSED else "unknown"
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    pid, _uid, _gid = PEER.unpack(credentials)
    return str(pid) if pid else "unknown"


def _bind(sock: socket.socket, path: Path, mode: int, gid: int) -> None:
    """Bind, set owner and mode, then listen.

    Two things each keep the door shut until the mode is right. Before listen(2) the kernel refuses
    every connect; and the file is born 0600, because on Linux bind(2) gives it the permissions of
    the descriptor, less the umask.
    """
    os.fchmod(sock.fileno(), 0o600)
    sock.bind(str(path))
    try:
        os.chown(path, -1, gid)
        path.chmod(mode)
        if (found := stat.S_IMODE(path.lstat().st_mode)) != mode:
            raise CannotStart(
                f"{path}: asked for mode {mode:04o}, the file system gave {found:04o};"
                " put the socket where permissions are kept, such as /run"
            )
        sock.listen(BACKLOG)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _in_use(path: Path, pid: str) -> str:
    return (
        f"{path}: process {pid} already listens here; stop it (systemctl stop intentd),"
        " or choose another socket"
    )
