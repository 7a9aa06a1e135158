"""A directory, or a prefix of an object store, that files are laid in; only here is fsspec used.

A file is there whole or not at all. It knows nothing of bundles.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.errors import InvalidConfig, PlaceUnreachable

__all__ = ["Place"]

OBJECT_STORES = frozenset({"abfs", "az", "gcs", "gs", "s3", "s3a"})
"""Where writing an object is one step, and renaming is none."""
NOT_WRITTEN_TO = ("http", "https")
PIECE_BYTES = 1 << 20
LOCK = ".publish.lock"


class Place:
    """Where boxes look. Every method raises PlaceUnreachable where it cannot be read or written."""

    def __init__(self, location: str) -> None:
        """Connects at the first call.

        Args:
            location: A path, `file://…`, `s3://bucket/prefix`, or what else fsspec can write.

        Raises:
            InvalidConfig: It is none of these, or the package for it is not installed.
        """
        from fsspec.core import url_to_fs

        scheme = location.partition("://")[0] if "://" in location else "file"
        if scheme in NOT_WRITTEN_TO or not location:
            raise InvalidConfig(
                f"publish.to: expected a directory or s3://…, found {location or 'nothing'!r}; for "
                "a web server, publish to the directory that it serves"
            )
        try:
            self._files: Any
            self._files, root = url_to_fs(location)
        except (ImportError, ValueError) as error:
            raise InvalidConfig(
                f"publish.to: expected a directory or s3://…, found {location!r}: {error}; for S3: "
                "pip install 'intentd[s3]'"
            ) from None
        self._root = str(root).rstrip("/")
        self._is_local = scheme == "file"
        self._is_object_store = scheme in OBJECT_STORES
        self.location = Path(self._root).as_uri() if self._is_local else location.rstrip("/")
        """As `intentd model pull` takes it."""

    def read(self, name: str) -> bytes | None:
        """A small file; None if there is none."""
        with self._reaching(name):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def sha256(self, name: str) -> str | None:
        """Of a file (hex), as it lies there; None if there is none."""
        digest = hashlib.sha256()
        with self._reaching(name):
            try:
                with self._files.open(self._path(name), "rb") as stream:
                    while piece := stream.read(PIECE_BYTES):
                        digest.update(piece)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def write(self, name: str, source: bytes | Path) -> None:
        """Lay a file there in one step, in the place of the one that was there."""
        with self._reaching(name):
            if self._is_local:
                _write_durably(Path(self._path(name)), source)
            elif self._is_object_store:
                self._send(self._path(name), source)
            else:
                self._files.makedirs(self._path(name).rsplit("/", 1)[0], exist_ok=True)
                self._send(f"{self._path(name)}.part", source)
                self._files.mv(f"{self._path(name)}.part", self._path(name))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let nobody else on this machine publish there; an object store knows no such lock."""
        if not self._is_local:
            yield
            return
        with self._reaching(LOCK):
            Path(self._root).mkdir(parents=True, exist_ok=True)
            descriptor = os.open(Path(self._root) / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _send(self, path: str, source: bytes | Path) -> None:
        if isinstance(source, bytes):
            self._files.pipe_file(path, source)
        else:
            self._files.put_file(str(source), path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        try:
            self._files.invalidate_cache()  # another publisher may have written since
            yield
        except _failures() as error:
            raise PlaceUnreachable(
                f"{self.location}/{name}: expected to read and write there, found: {error}; what "
                "was published before is as it was; repeat the call then"
            ) from None


def _failures() -> tuple[type[Exception], ...]:
    """What a file system raises that cannot do it; S3's has its own parent."""
    s3: Any = sys.modules.get("botocore.exceptions")
    return (OSError, s3.BotoCoreError) if s3 else (OSError,)


def _write_durably(path: Path, source: bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            _copy(source, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    for directory in (path.parent, path.parent.parent):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy(source: bytes | Path, target: Any) -> None:
    if isinstance(source, bytes):
        target.write(source)
        return
    with source.open("rb") as original:
        shutil.copyfileobj(original, target, PIECE_BYTES)
