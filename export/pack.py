"""Puts a bundle in its place: written beside it, fsynced, verified, then moved by rename.

It knows files only; what is in them was decided before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edge.bundle import Bundle, Manifest, read_bundle, seal_bundle

__all__ = ["pack_bundle"]

COPY_BYTES = 1 << 20


def pack_bundle(out: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write a bundle to `out`, replacing the one that is there.

    Until the new bundle is whole and verified, `out` is not touched. A reader sees the old
    bundle, the new one, or for the instant between two renames none; never a mixture.

    Args:
        out: The bundle's directory.
        manifest: Sealed here: hashes and sizes are filled in.
        files: By name, as bytes, or as a file that is copied.

    Raises:
        BundleCorrupt: The files do not make a bundle.
        OSError: The disk refused; `out` is as it was.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir(mode=0o755)
        for name, data in files.items():
            _write(fresh / name, data)
        seal_bundle(fresh, manifest)
        _sync_directory(fresh)
        _swap(fresh, out, Path(scratch) / "old")
    return read_bundle(out)


def _write(path: Path, data: bytes | Path) -> None:
    with path.open("wb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            with data.open("rb") as original:
                shutil.copyfileobj(original, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _swap(fresh: Path, out: Path, old: Path) -> None:
    """Move `out` aside and `fresh` into its place; on failure put the old one back."""
    had_one = out.exists()
    if had_one:
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if had_one:
            old.rename(out)
        raise
    _sync_directory(out.parent)
    if had_one:
        shutil.rmtree(old)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
