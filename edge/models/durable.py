"""Files and directories that outlive a power cut: written, fsynced, then named.

It knows nothing of bundles. A full or broken disk is one error here, whatever was being written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.errors import StoreUnavailable

__all__ = ["disk_errors", "replace_file", "sync_directory", "write_file"]

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})
READ_ONLY = 0o444


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Tell what the disk refuses from every other error.

    Raises:
        StoreUnavailable: The disk is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise StoreUnavailable(
            f"{path}: expected to write a model, but {os.strerror(error.errno or 0)}; "
            "nothing was changed: free some room (intentd model remove), then try again"
        ) from error


def write_file(path: Path, chunks: Iterable[bytes], mode: int = READ_ONLY) -> None:
    """Make a new file, and have it on the disk before this returns.

    Raises:
        OSError: The disk refused, or there is something at `path` already.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        for chunk in chunks:
            _write_all(descriptor, chunk)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place of another: a reader, or a power cut, sees the one or the other.

    Raises:
        OSError: The disk refused; the old file is as it was.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        write_file(fresh, [data], 0o600)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
