"""Overwrites what pages of a SQLite file hold beside their rows.

SQLite overwrites what is deleted (`secure_delete`), but not what it moves: when it spreads rows
over other pages, a copy stays between a page's directory and its cells until something is written
over it. If the row is deleted later, nobody overwrites that copy.
Source: https://www.sqlite.org/fileformat2.html, section 1.6; `rebuildPage` in SQLite's btree.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge.store.database import PAGE_BYTES

__all__ = ["scrub"]

CHUNK_BYTES = 256 * PAGE_BYTES
FILE_HEADER_BYTES = 100
HEADER_BYTES = {0x02: 12, 0x05: 12, 0x0A: 8, 0x0D: 8}
"""Of a B-tree's page, by its first byte; an overflow page begins with a zero below 64 GB."""
FREE_BLOCK_HEADER_BYTES = 4

Span = tuple[int, int]


def scrub(path: Path) -> int:
    """Overwrite the unused part of every page with zeros, durably; rows are not touched.

    A power cut on the way does no harm. Takes no room on the disk.

    Args:
        path: A database whose write-ahead log is empty. This process must not have it open: its
            locks would be lost, and a page that it remembers would be written back as it was.

    Returns:
        How many pages held something.

    Raises:
        OSError: The disk did not take it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        changed = sum(_scrub_chunk(handle, at) for at in _chunks(os.fstat(handle).st_size))
        if changed:
            os.fsync(handle)
    finally:
        os.close(handle)
    return changed


def _chunks(size: int) -> range:
    return range(0, size, CHUNK_BYTES)


def _scrub_chunk(handle: int, at: int) -> int:
    chunk, changed = os.pread(handle, CHUNK_BYTES, at), 0
    for offset in range(0, len(chunk) - PAGE_BYTES + 1, PAGE_BYTES):
        page = chunk[offset : offset + PAGE_BYTES]
        spans = [
            span for span in _unused(page, is_first=at + offset == 0) if any(page[slice(*span)])
        ]
        for start, end in spans:
            os.pwrite(handle, bytes(end - start), at + offset + start)
        changed += bool(spans)
    return changed


def _unused(page: bytes, is_first: bool) -> Iterator[Span]:
    """Between directory and cells, and in the blocks that are free; none in a page of nonsense."""
    at = FILE_HEADER_BYTES if is_first else 0
    header = HEADER_BYTES.get(page[at])
    if header is None:
        return
    cells = _number(page, at + 5)
    gap = at + header + 2 * _number(page, at + 3)
    if gap <= cells <= PAGE_BYTES:
        yield gap, cells
        yield from _free_blocks(page, _number(page, at + 1), cells)


def _free_blocks(page: bytes, block: int, after: int) -> Iterator[Span]:
    """Each block names the next one, which lies behind it."""
    while after <= block <= PAGE_BYTES - FREE_BLOCK_HEADER_BYTES:
        after = block + _number(page, block + 2)
        if not block + FREE_BLOCK_HEADER_BYTES <= after <= PAGE_BYTES:
            return
        yield block + FREE_BLOCK_HEADER_BYTES, after
        block = _number(page, block)


def _number(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 2], "big")
