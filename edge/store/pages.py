"""Reads rows straight off the pages of a damaged SQLite file, without SQLite and without an index.

Every table row lives whole on a leaf page and its overflow chain, so rows survive damage to the
schema, to inner pages and to each other. It knows no table: whoever calls says what a row must look
like. Source: https://www.sqlite.org/fileformat2.html, sections 1.6, 2 and 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from edge.store.database import PAGE_BYTES

__all__ = ["Value", "read_rows"]

Value = int | float | str | bytes | None
FILE_HEADER_BYTES = 100
TABLE_LEAF = 0x0D
LEAF_HEADER_BYTES = 8
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
MAX_LOCAL = PAGE_BYTES - 35
MIN_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
OVERFLOW_BYTES = PAGE_BYTES - 4
INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  # by serial type
UNREADABLE = (IndexError, ValueError, struct.error)  # what nonsense in a page leads to


def read_rows(database: Path, wal: Path) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """Every row that can still be decoded, as (rowid, columns), in no order; some may be nonsense.

    Args:
        database: The file; nobody else may have it open.
        wal: Its write-ahead log, which may be missing; committed pages in it count.
    """
    pages = _read_pages(database, wal)
    for number, page in pages.items():
        start = FILE_HEADER_BYTES if number == 1 else 0
        if len(page) == PAGE_BYTES and page[start] == TABLE_LEAF:
            yield from _leaf_rows(pages, page, start)


def _read_pages(database: Path, wal: Path) -> dict[int, bytes]:
    data = database.read_bytes()
    pages = {
        at // PAGE_BYTES + 1: data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)
    }
    return pages | _committed_pages(wal.read_bytes() if wal.exists() else b"")


def _committed_pages(log: bytes) -> dict[int, bytes]:
    """The newest version of each page that a whole transaction wrote."""
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    salts = log[16:24]
    for at in range(WAL_HEADER_BYTES, len(log), FRAME_HEADER_BYTES + PAGE_BYTES):
        header = log[at : at + FRAME_HEADER_BYTES]
        page = log[at + FRAME_HEADER_BYTES : at + FRAME_HEADER_BYTES + PAGE_BYTES]
        if len(page) < PAGE_BYTES or header[8:16] != salts:
            break
        number, pages_after_commit = struct.unpack(">II", header[:8])
        pending[number] = page
        if pages_after_commit:
            committed |= pending
            pending.clear()
    return committed


def _leaf_rows(
    pages: dict[int, bytes], page: bytes, start: int
) -> Iterator[tuple[int, tuple[Value, ...]]]:
    n_cells = min(int.from_bytes(page[start + 3 : start + 5], "big"), PAGE_BYTES // 4)
    for index in range(n_cells):
        at = start + LEAF_HEADER_BYTES + 2 * index
        try:
            yield _cell(pages, page, int.from_bytes(page[at : at + 2], "big"))
        except UNREADABLE:
            continue


def _cell(pages: dict[int, bytes], page: bytes, at: int) -> tuple[int, tuple[Value, ...]]:
    size, at = _varint(page, at)
    rowid, at = _varint(page, at)
    if size <= MAX_LOCAL:
        return rowid, _decode(page[at : at + size])
    local = MIN_LOCAL + (size - MIN_LOCAL) % OVERFLOW_BYTES
    local = local if local <= MAX_LOCAL else MIN_LOCAL
    following = int.from_bytes(page[at + local : at + local + 4], "big")
    rest = _overflow(pages, following, size - local)
    return rowid, _decode(page[at : at + local] + rest)


def _overflow(pages: dict[int, bytes], number: int, size: int) -> bytes:
    parts: list[bytes] = []
    wanted = -(-size // OVERFLOW_BYTES)
    if wanted > len(pages):
        raise ValueError("longer than the file")
    for _ in range(wanted):
        page = pages.get(number, b"")
        number = int.from_bytes(page[:4], "big")
        parts.append(page[4:])
    return b"".join(parts)[:size]


def _decode(payload: bytes) -> tuple[Value, ...]:
    header_size, at = _varint(payload, 0)
    body, values = header_size, []
    while at < header_size:
        serial, at = _varint(payload, at)
        value, body = _value(payload, body, serial)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, at: int, serial: int) -> tuple[Value, int]:
    if serial == 0:
        return None, at
    if serial in (8, 9):
        return serial - 8, at
    if serial in (10, 11):
        raise ValueError("a serial type that no file holds")
    size = 8 if serial == 7 else INTEGER_BYTES[serial] if serial < 7 else (serial - 12) // 2
    data, after = payload[at : at + size], at + size
    if len(data) < size:
        raise ValueError("shorter than it says")
    if serial < 7:
        return int.from_bytes(data, "big", signed=True), after
    if serial == 7:
        return struct.unpack(">d", data)[0], after
    return (data.decode("utf-8") if serial % 2 else data), after


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64 if value >> 63 else 0), at + 9
