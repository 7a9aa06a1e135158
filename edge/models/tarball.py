"""Reads a flat, uncompressed tar from a stream, strictly: what it does not know, it refuses.

Headers are parsed by hand, since the standard library's filters were passed by more than once
(CVE-2025-4517 and its followers). Links, devices, sparse files, long names and pax paths have no
code here that could honour them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from edge.models.entries import COPY_BYTES, LIMITS_BYTES, Entry, Readable, read_exactly, refuse

__all__ = ["BLOCK_BYTES", "pack_tar", "packed_bytes", "read_tar"]

BLOCK_BYTES = 512
MAGICS = (b"ustar\x0000", b"ustar  \x00")  # POSIX, GNU
REGULAR, FOLDER, PAX = (b"0", b"\x00"), b"5", b"x"
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"g": "a global pax header",
    b"K": "a GNU long link",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}
PAX_KEYS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})
"""What ordinary programs write, and nobody here reads; `path`, `size` and the like would matter."""
PAX_PREFIXES = ("SCHILY.xattr.", "LIBARCHIVE.")
MAX_PAX_BYTES = 64 << 10
MAX_HEADERS = 32
MAX_PADDING_BYTES = 1 << 20  # tar fills its last record with zeros: 10 kB, unless told otherwise


def read_tar(stream: Readable, first: bytes = b"") -> Iterator[Entry]:
    """The entries, in their order; each one's chunks must be read before the next is asked for.

    Args:
        stream: The archive.
        first: Its first block, if it was read already.

    Raises:
        BundleCorrupt: Anything but regular files and folders, or a damaged archive.
    """
    for _ in range(MAX_HEADERS):
        block = first or read_exactly(stream, BLOCK_BYTES)
        first = b""
        if not any(block):
            _check_end(stream)
            return
        entry = _entry(block, stream)
        if entry is not None:
            yield entry
            read_exactly(stream, -entry.size % BLOCK_BYTES)
    refuse(f"expected at most {MAX_HEADERS} entries, found more")


def pack_tar(folder: Path) -> Iterator[bytes]:
    """A bundle's directory as a tar: the same bytes for the same files, whoever packs them.

    Raises:
        OSError: A file cannot be read, or changes meanwhile.
    """
    for name in LIMITS_BYTES:
        path = folder / name
        if not path.exists():
            continue
        with path.open("rb") as file:
            head = tarfile.TarInfo(name)
            head.size = path.stat().st_size
            yield head.tobuf(tarfile.USTAR_FORMAT)
            left = head.size
            while left:
                data = file.read(min(left, COPY_BYTES))
                if not data:
                    raise OSError(f"{path}: became shorter while it was read; try again")
                left -= len(data)
                yield data
            yield bytes(-head.size % BLOCK_BYTES)
    yield bytes(2 * BLOCK_BYTES)


def packed_bytes(folder: Path) -> int:
    """How long the tar of a bundle's directory will be."""
    paths = (folder / name for name in LIMITS_BYTES)
    sizes = (path.stat().st_size for path in paths if path.exists())
    return sum(BLOCK_BYTES + size + -size % BLOCK_BYTES for size in sizes) + 2 * BLOCK_BYTES


def _entry(block: bytes, stream: Readable) -> Entry | None:
    """What this header announces; None for one that only describes the next."""
    _check_header(block)
    kind, size = block[156:157], _octal(block[124:136])
    path, _, rest = block[:100].partition(b"\x00")
    if any(rest) or any(block[345:500]):
        refuse("expected short names, found one that goes on elsewhere in its header")
    if kind == PAX:
        _check_pax(stream, size)
        return None
    if kind == FOLDER and size == 0:
        return Entry(path, 0, iter(()), is_folder=True)
    if kind not in REGULAR:
        refuse(f"expected regular files only, found {KINDS.get(kind, 'an entry of no known kind')}")
    return Entry(path, size, _chunks(stream, size))


def _check_header(block: bytes) -> None:
    if block[257:265] not in MAGICS:
        refuse("expected an uncompressed tar (ustar) or a zip, found something else")
    summed = sum(block[:148]) + sum(b" " * 8) + sum(block[156:])
    if _octal(block[148:156]) != summed:
        refuse("a header's checksum is wrong")


def _octal(field: bytes) -> int:
    digits = field.strip(b" \x00")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        refuse("a header holds no number where one belongs")
    return int(digits, 8)


def _check_pax(stream: Readable, size: int) -> None:
    """Step over a pax header, if nothing in it changes what the next entry is."""
    if size > MAX_PAX_BYTES:
        refuse(f"expected a pax header of at most {MAX_PAX_BYTES} bytes, found {size}")
    records = read_exactly(stream, size)
    read_exactly(stream, -size % BLOCK_BYTES)
    while records:
        length, _, _ = records.partition(b" ")
        if not length.isdigit() or not len(length) + 2 <= int(length[:6]) <= len(records):
            refuse("a pax header is damaged")
        record, records = records[len(length) + 1 : int(length)], records[int(length) :]
        key = record.partition(b"=")[0].decode("utf-8", errors="replace")
        if key not in PAX_KEYS and not key.startswith(PAX_PREFIXES):
            refuse(f"expected no pax header that changes an entry, found {key[:40]!a}")


def _chunks(stream: Readable, size: int) -> Iterator[bytes]:
    while size:
        data = stream.read(min(size, COPY_BYTES))
        if not data:
            refuse(f"it breaks off: {size} bytes are missing")
        size -= len(data)
        yield data


def _check_end(stream: Readable) -> None:
    """Two blocks of zeros end a tar; what follows them may only be more zeros."""
    if any(read_exactly(stream, BLOCK_BYTES)):
        refuse("something follows its end")
    padding = 0
    while data := stream.read(COPY_BYTES):
        padding += len(data)
        if any(data) or padding > MAX_PADDING_BYTES:
            refuse("something follows its end")
