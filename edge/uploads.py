"""A bundle on its way to the daemon: a directory, an archive file or a stream, piece by piece.

It holds one piece at a time in memory, and judges no archive; the daemon does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle import read_manifest
from edge.errors import InvalidValue
from edge.models.tarball import pack_tar, packed_bytes

if TYPE_CHECKING:
    from edge.models.entries import Readable

__all__ = ["Upload", "open_upload"]

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """An archive's bytes, to be read once."""

    pieces: Iterator[bytes]
    size: int | None
    """Bytes in all; None if nobody knows."""


@contextmanager
def open_upload(source: Path | Readable) -> Iterator[Upload]:
    """What to send, until the end of the block.

    Args:
        source: A bundle's directory, a tar or zip file, or one of these as a stream.

    Raises:
        BundleCorrupt: A directory without a readable manifest.
        BundleIncompatible: A directory whose bundle is for another program.
        InvalidValue: No such file, or neither a file nor a directory.
    """
    if not isinstance(source, Path):
        yield Upload(_pieces(source), None)
    elif source.is_dir():
        read_manifest(source)  # what is no bundle at all need not travel to be refused
        yield Upload(pack_tar(source), packed_bytes(source))
    else:
        with os.fdopen(_open(source), "rb") as file:
            yield Upload(_pieces(file), os.fstat(file.fileno()).st_size)


def _open(path: Path) -> int:
    """A regular file; a pipe would be waited for without end."""
    expected = f"{path}: expected a bundle's directory, a .tar or a .zip"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidValue(f"{expected}, cannot read it: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidValue(f"{expected}, found a pipe or a device; pipe it in, and say -")
    return descriptor


def _pieces(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
