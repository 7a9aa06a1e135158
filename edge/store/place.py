"""The directory that the databases live in: private, on a local file system, one daemon at a time.

Keeps a reserve of disk space too, to be given up when an erasure must be written on a full disk.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge.errors import StoreUnavailable

__all__ = [
    "RESERVE_BYTES",
    "Reserve",
    "create_private",
    "filesystem_type",
    "free_bytes",
    "fsync_directory",
    "lock_directory",
    "prepare_directory",
    "refuse_network",
    "rewrite",
    "size_or_zero",
    "sync_file",
]

RESERVE_BYTES = 4 * 2**20
REWRITE_BYTES = 2**20
MOUNTS = Path("/proc/self/mountinfo")
# WAL needs shared memory and working locks: https://www.sqlite.org/wal.html, "Overview", point 2.
NETWORK_TYPES = frozenset(
    {"9p", "afs", "ceph", "cifs", "glusterfs", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"}
)
NETWORK_FUSE = frozenset({"fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"})


def prepare_directory(directory: Path) -> None:
    """Make the directory if it is missing, for its owner alone.

    Raises:
        StoreUnavailable: It cannot be made, or is no directory.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"state_dir: expected a directory that can be written, found {error.strerror} at "
            f"{directory}; set state_dir, or the permissions"
        ) from error


def filesystem_type(directory: Path, mounts: Path = MOUNTS) -> str:
    """The kernel's name of the file system that holds `directory`; empty where it does not say."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    target, found = directory.resolve(), (0, "")
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if target.is_relative_to(point):
            found = max(found, (len(point.parts), right.split()[0]), key=lambda pair: pair[0])
    return found[1]


def refuse_network(kind: str, directory: Path) -> None:
    """Refuse file systems on which SQLite's write-ahead log is not safe.

    Raises:
        StoreUnavailable: It is one of those.
    """
    if kind in NETWORK_TYPES | NETWORK_FUSE:
        raise StoreUnavailable(
            f"state_dir: expected a local file system, found {kind} at {directory}; SQLite cannot "
            "keep corrections safe over a network: point state_dir at a local disk"
        )


def free_bytes(directory: Path) -> int:
    """Bytes that may still be written; 0 where the disk does not answer."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def size_or_zero(path: Path) -> int:
    """Bytes of a file; 0 where it is missing. Opens nothing: SQLite's locks stay."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def lock_directory(directory: Path, name: str) -> int:
    """Take `directory`/`name`.lock for this process; returns the descriptor that holds it.

    A file of its own: closing any descriptor of a database would drop SQLite's own locks.

    Raises:
        StoreUnavailable: Another process has it, or the file cannot be made.
    """
    try:
        held = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"expected to lock {directory}, found {error.strerror}; check the disk"
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise StoreUnavailable(
            f"expected {directory} to be free, found another process in it; stop that one, or set "
            "another state_dir"
        ) from error
    return held


def create_private(path: Path) -> None:
    """Make an empty file for its owner alone; one that is there is made private.

    Its name becomes durable with SQLite's first journal, which syncs the directory.
    """
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        path.chmod(0o600)
    else:
        os.close(made)


def fsync_directory(directory: Path) -> None:
    """Make names durable: a new, renamed or removed file is not until its directory is synced."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rewrite(path: Path) -> None:
    """Write a file over with what it holds, and sync it; one that is missing or empty stays so.

    After a sync that failed the kernel takes pages for clean that never reached the disk. SQLite
    would read such a write-ahead log, believe it durable, and build on it. Written anew it is.
    """
    size = size_or_zero(path)
    if not size:
        return
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for at in range(0, size, REWRITE_BYTES):
            os.pwrite(handle, os.pread(handle, REWRITE_BYTES, at), at)
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content and the length of a file durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Reserve:
    """Disk space kept for the day that the disk is full and somebody wants a text erased."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"

    def hold(self) -> bool:
        """Take the space if it is not held; False where there is not enough of it."""
        if self._is_held():
            return True
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, RESERVE_BYTES)
            finally:
                os.close(handle)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the space up."""
        self._path.unlink(missing_ok=True)

    def _is_held(self) -> bool:
        return size_or_zero(self._path) >= RESERVE_BYTES
