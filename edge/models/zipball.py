"""Reads a flat zip strictly: one directory, no gaps, and both headers of each file in agreement.

Parsed by hand: a zip tells everything twice, and readers that believe one half of it are what
hostile archives are made for. Encryption, Zip64 and methods other than deflate have no code here.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from edge.models.entries import COPY_BYTES, Entry, read_exactly, refuse

__all__ = ["ZIP_MAGIC", "read_zip"]

ZIP_MAGIC = b"PK\x03\x04"
# Source: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.9, 4.3.12 and 4.3.16.
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
CENTRAL_MAGIC, END_MAGIC, DESCRIPTOR_MAGIC = b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08"
STORED, DEFLATED = 0, 8
HAS_DESCRIPTOR = 1 << 3
KNOWN_FLAGS = HAS_DESCRIPTOR | 0b110 | 1 << 11  # how hard it was deflated; names in UTF-8
MAX_ENTRIES = 16
MAX_DIRECTORY_BYTES = 64 << 10
MAX_RATIO = 100  # weights and vocabularies compress by 10 at most; a bomb by 1,000
FREE_BYTES = 1 << 20  # small files may compress as they like


@dataclass(frozen=True, slots=True)
class _File:
    """What the central directory says of one file."""

    path: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


def read_zip(file: BinaryIO) -> Iterator[Entry]:
    """The entries, in the order in which they lie in the archive.

    All headers are checked before the first entry is given.

    Raises:
        BundleCorrupt: Anything but plain files and folders, or an archive that contradicts itself.
    """
    files, directory = _read_directory(file)
    position = 0
    starts: list[int] = []
    for found in sorted(files, key=lambda found: found.offset):
        start = _check_local(file, found, position)
        position = _check_descriptor(file, found, start + found.packed)
        starts.append(start)
    if position != directory:
        refuse("something lies between its files and its directory")
    for found, start in zip(sorted(files, key=lambda found: found.offset), starts, strict=True):
        yield Entry(found.path, found.size, _chunks(file, found, start), _is_folder(found))


def _read_directory(file: BinaryIO) -> tuple[list[_File], int]:
    """The central directory, and where it starts."""
    length = file.seek(0, os.SEEK_END)
    if length < END.size:
        refuse("it breaks off")
    end = length - END.size
    magic, *disks, size, offset, comment = END.unpack(_at(file, end, END.size))
    if magic != END_MAGIC or comment:
        refuse("expected the directory's end, found something behind it")
    count = disks[3]
    if disks != [0, 0, count, count] or offset + size != end or size > MAX_DIRECTORY_BYTES:
        refuse("its directory is damaged, or of a kind that bundles do not need")
    if count > MAX_ENTRIES:
        refuse(f"expected at most {MAX_ENTRIES} entries, found {count}")
    data = _at(file, offset, size)
    files: list[_File] = []
    for _ in range(count):
        found, data = _parse_central(data)
        files.append(found)
    if data:
        refuse("its directory holds more than it says")
    return files, offset


def _parse_central(data: bytes) -> tuple[_File, bytes]:
    """The next file of the directory, and what follows it."""
    if len(data) < CENTRAL.size:
        refuse("its directory holds less than it says")
    head = CENTRAL.unpack_from(data)
    magic, _, _, flags, method, _, _, crc, packed, size, *lengths = head[:13]
    end = CENTRAL.size + sum(lengths)
    if magic != CENTRAL_MAGIC or len(data) < end:
        refuse("its directory is damaged")
    path = data[CENTRAL.size : CENTRAL.size + lengths[0]]
    found = _File(path, flags, method, crc, packed, size, offset=head[16], mode=head[15] >> 16)
    _check_kind(found)
    return found, data[end:]


def _check_kind(found: _File) -> None:
    """Refuse what is neither plain file nor folder, and what grows too much."""
    if found.flags & ~KNOWN_FLAGS:
        refuse("expected plain files, found an encrypted or patched one")
    if found.method not in (STORED, DEFLATED):
        refuse(f"expected deflate, found compression method {found.method}")
    if stat.S_IFMT(found.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse("expected regular files only, found a link or a device")
    if found.size > FREE_BYTES + MAX_RATIO * found.packed:
        refuse(f"expected files compressed by at most {MAX_RATIO}, found one that grows by more")
    if found.method == STORED and found.size != found.packed:
        refuse("a file's two sizes contradict each other")
    if _is_folder(found) and found.size:
        refuse("expected empty entries for folders, found one with content")


def _is_folder(found: _File) -> bool:
    return found.path.endswith(b"/") or stat.S_ISDIR(found.mode)


def _check_local(file: BinaryIO, found: _File, position: int) -> int:
    """Compare a file's own header with the directory's; returns where its data starts."""
    if found.offset != position:
        refuse("expected its files side by side, found a gap or an overlap")
    head = LOCAL.unpack(_at(file, position, LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size, n_path, n_extra = head
    path = read_exactly(file, n_path)
    told = (crc, packed, size)
    later = bool(flags & HAS_DESCRIPTOR) and told == (0, 0, 0)
    same = (magic, path, flags, method) == (ZIP_MAGIC, found.path, found.flags, found.method)
    if not (same and (later or told == (found.crc, found.packed, found.size))):
        refuse("a file's own header and the directory contradict each other")
    return position + LOCAL.size + int(n_path) + int(n_extra)


def _check_descriptor(file: BinaryIO, found: _File, position: int) -> int:
    """Step over the descriptor behind a file's data, if there is one; returns where it ends."""
    if not found.flags & HAS_DESCRIPTOR:
        return position
    data = _at(file, position, 12)
    if data[:4] == DESCRIPTOR_MAGIC:
        data = data[4:] + read_exactly(file, 4)
        position += 4
    if struct.unpack("<3L", data) != (found.crc, found.packed, found.size):
        refuse("a file's descriptor and the directory contradict each other")
    return position + 12


def _chunks(file: BinaryIO, found: _File, start: int) -> Iterator[bytes]:
    """The file's content, never more of it than was announced."""
    crc = 0
    left = found.size
    for data in _inflated(file, found, start):
        left -= len(data)
        if left < 0:
            refuse("a file holds more than was announced")
        crc = zlib.crc32(data, crc)
        yield data
    if left or crc != found.crc:
        refuse("a file is damaged: its size or its checksum is wrong")


def _inflated(file: BinaryIO, found: _File, start: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if found.method == DEFLATED else None
    file.seek(start)
    left = found.packed
    while left:
        data = read_exactly(file, min(left, COPY_BYTES))
        left -= len(data)
        if inflate is None:
            yield data
            continue
        while data:
            try:
                yield inflate.decompress(data, COPY_BYTES)
            except zlib.error:
                refuse("a file is damaged: it cannot be inflated")
            data = inflate.unconsumed_tail
    if inflate is not None and (not inflate.eof or inflate.unused_data):
        refuse("a file is damaged: its end is not where it belongs")


def _at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return read_exactly(file, size)
