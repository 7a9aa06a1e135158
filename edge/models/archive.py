"""Takes a bundle's files out of a tar, a zip or a directory, and lays them in a fresh directory.

It trusts nothing in them, and writes nowhere else. What the files say is checked afterwards.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.errors import BundleCorrupt
from edge.models.durable import sync_directory, write_file
from edge.models.entries import COPY_BYTES, LIMITS_BYTES, Admission, Entry, Readable, refuse
from edge.models.folder import read_folder
from edge.models.tarball import BLOCK_BYTES, read_tar
from edge.models.zipball import ZIP_MAGIC, read_zip

__all__ = ["unpack"]

MAX_ARCHIVE_BYTES = sum(LIMITS_BYTES.values()) + (1 << 20)
SPOOL = "archive"


def unpack(source: Path | Readable, staging: Path) -> Path:
    """Lay a bundle's files in a new directory within `staging`; returns that directory.

    Every file is fsynced and read-only, and so is the directory fsynced.

    Args:
        source: A directory, an archive file, or an archive as a stream.
        staging: An empty directory of the caller, who removes it.

    Raises:
        BundleCorrupt: The source is no archive of one bundle; some files may lie in `staging`.
        OSError: The disk refused.
    """
    target = staging / "bundle"
    target.mkdir(mode=0o700)
    if not isinstance(source, Path):
        _write_entries(_read_stream(source, staging / SPOOL), target)
    elif source.is_dir():
        _write_entries(read_folder(source), target)
    else:
        with os.fdopen(_open_file(source), "rb") as stream:
            _write_entries(_read_stream(stream, staging / SPOOL), target)
    sync_directory(target)
    return target


def _write_entries(entries: Iterator[Entry], target: Path) -> None:
    admission = Admission()
    for entry in entries:
        if entry.is_folder:
            admission.admit_folder(entry.path)
        else:
            write_file(target / admission.admit_file(entry.path, entry.size), entry.chunks)


def _open_file(path: Path) -> int:
    """An archive on this machine; a pipe or a device would be waited for without end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise BundleCorrupt(
            f"{path}: expected a bundle's directory or archive, cannot read it: {error.strerror}"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleCorrupt(
            f"{path}: expected a bundle's directory or archive, found a pipe or a device; "
            "give the file itself, or pipe it in"
        )
    return descriptor


def _read_stream(stream: Readable, spool: Path) -> Iterator[Entry]:
    """The entries, whichever of the two formats this is."""
    first = b""
    while len(first) < BLOCK_BYTES and (data := stream.read(BLOCK_BYTES - len(first))):
        first += data
    if first.startswith(ZIP_MAGIC):
        yield from _read_spooled(first, stream, spool)
    elif len(first) < BLOCK_BYTES:
        refuse(f"expected a tar or a zip, found {len(first)} bytes")
    else:
        yield from read_tar(stream, first)


def _read_spooled(first: bytes, stream: Readable, spool: Path) -> Iterator[Entry]:
    """A zip is read from its end, which a stream does not have: it is copied first."""
    descriptor = os.open(spool, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        spool.unlink()  # it is gone with its descriptor, whatever happens
        file.write(first)
        size = len(first)
        while data := stream.read(COPY_BYTES):
            size += len(data)
            if size > MAX_ARCHIVE_BYTES:
                refuse(f"expected at most {MAX_ARCHIVE_BYTES} bytes, found more")
            file.write(data)
        file.flush()
        yield from read_zip(file)
