"""Reads a bundle's directory as if it were an archive: its own files, opened once, never by link.

Files that are no part of a bundle are left alone: file managers put theirs everywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.errors import BundleCorrupt
from edge.models.entries import COPY_BYTES, LIMITS_BYTES, Entry, refuse

__all__ = ["read_folder"]


def read_folder(path: Path) -> Iterator[Entry]:
    """The entries for the files of a bundle that are there.

    Raises:
        BundleCorrupt: A file is a link, a device or unreadable, or changes while it is read.
    """
    folder = _open(path, os.O_DIRECTORY)
    try:
        for name in LIMITS_BYTES:
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError as error:  # a link: ELOOP
                raise _unreadable(path / name, error) from error
            try:
                yield _entry(path / name, file)
            finally:
                os.close(file)
    finally:
        os.close(folder)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BundleCorrupt:
    return BundleCorrupt(
        f"{path}: expected a bundle's regular file or directory, cannot read it as one: "
        f"{error.strerror}; copy the whole bundle again"
    )


def _entry(path: Path, file: int) -> Entry:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        refuse(f"expected regular files only, found something else at {path}")
    return Entry(os.fsencode(path.name), found.st_size, _chunks(path, file, found.st_size))


def _chunks(path: Path, file: int, size: int) -> Iterator[bytes]:
    while data := os.read(file, min(size + 1, COPY_BYTES)):
        size -= len(data)
        if size < 0:
            break
        yield data
    if size:
        refuse(f"{path} changed while it was read")
