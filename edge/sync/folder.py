"""A directory or a prefix of an object store as a target; the only file importing fsspec.

One gzipped NDJSON object a batch: `<device>/<epoch>-<first>-<last>-<digest>.ndjson.gz`. An object
is there whole or not at all, is never changed, and no record is in two of them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.errors import InvalidSettings, Unavailable
from edge.sync.batch import Batch, compress
from edge.sync.target import Receipts, Seen
from edge.wire import RecordResult

__all__ = ["Folder"]

DIGEST_CHARS = 16
COUNTS = "counts.json"
EXPECTED = (
    "sync: upstream: expected https:// of a collector, s3://, or a path that begins with / or ~"
)
OBJECT_STORES = frozenset({"abfs", "az", "gcs", "gs", "s3", "s3a"})
"""Where writing an object is one step, and renaming is none."""
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)-[0-9a-f]+\.ndjson\.gz")
_DEVICE = re.compile(r"[A-Za-z0-9._:-]+")


class Folder:
    """One place for the batches of any number of devices."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        """Connects at the first call.

        Args:
            url: A path, `file://…`, `s3://bucket/prefix`, or what else fsspec knows.
            options: For the file system; none means those of the environment.

        Raises:
            InvalidSettings: A kind of place that is not known, or whose package is not installed;
                or a word that may be a host's name as well as a directory's.
        """
        from fsspec.core import url_to_fs

        if "://" not in url and not url.startswith(("/", "~")):
            raise InvalidSettings(f"{EXPECTED}, found {url!r}")
        self._url = url
        try:
            self._fs, root = url_to_fs(url, **(options or {}))
        except ImportError as error:
            raise InvalidSettings(
                f"sync: upstream: {url}: {error}; for S3: pip install 'intentd[s3]'"
            ) from error
        except ValueError as error:
            raise InvalidSettings(f"{EXPECTED}, found {url!r}: {error}") from error
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._held: dict[str, frozenset[str]] = {}

    def seen(self, device_id: str) -> Seen | None:
        """By the names of the device's objects."""
        return max((Seen(epoch, last) for epoch, _, last in self._ranges(device_id)), default=None)

    def deliver(self, batch: Batch) -> Sequence[RecordResult]:
        """Write the records that no object holds yet."""
        held = self._held_ids(batch)
        fresh = Batch(batch.sender, [one for one in batch.records if one.id not in held])
        if fresh.records:
            data = fresh.lines()
            self._write(self._path(batch.sender.device_id, _name(fresh, data)), compress(data))
        return [
            RecordResult(id=record_id, status="duplicate" if record_id in held else "accepted")
            for record_id in batch.ids
        ]

    def report(self, batch: Batch) -> None:
        """Write the numbers over those of the last time."""
        self._write(self._path(batch.sender.device_id, COUNTS), batch.lines())

    def receipts(self, after: int) -> Receipts | None:
        """A directory gives none."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, device_id: str, name: str) -> str:
        if not _DEVICE.fullmatch(device_id) or device_id.startswith("."):
            raise InvalidSettings(f"expected a device id that can be a name, found {device_id!r}")
        return f"{self._root}/{device_id}/{name}"

    def _names(self, device_id: str) -> list[str]:
        try:
            self._fs.invalidate_cache()  # another run may have written since
            found = self._fs.ls(self._path(device_id, ""), detail=False)
        except FileNotFoundError:
            return []
        except _failures() as error:
            raise self._unavailable(error) from error
        return [str(path).rsplit("/", 1)[-1] for path in found]

    def _ranges(self, device_id: str) -> list[tuple[int, int, int]]:
        """(epoch, first, last) of each object."""
        matches = (_NAME.fullmatch(name) for name in self._names(device_id))
        return [(int(m[1]), int(m[2]), int(m[3])) for m in matches if m]

    def _held_ids(self, batch: Batch) -> frozenset[str]:
        """The ids in the objects whose numbers reach into the batch's."""
        device_id = batch.sender.device_id
        ranges = _ranges_of(batch)
        held: frozenset[str] = frozenset()
        for name in self._names(device_id):
            if (match := _NAME.fullmatch(name)) and _meets(match, ranges):
                held |= self._ids_of(self._path(device_id, name))
        return held

    def _ids_of(self, path: str) -> frozenset[str]:
        if path not in self._held:
            try:
                lines = gzip.decompress(self._fs.cat_file(path)).splitlines()
            except _failures() as error:
                raise self._unavailable(error) from error
            self._held[path] = frozenset(json.loads(line)["id"] for line in lines)
        return self._held[path]

    def _write(self, path: str, data: bytes) -> None:
        """All or nothing; written again, it is the same."""
        try:
            if "file" in self._protocols:
                _write_durably(Path(path), data)
            elif self._protocols & OBJECT_STORES:
                self._fs.pipe_file(path, data)
            else:
                self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                self._fs.pipe_file(f"{path}.part", data)
                self._fs.mv(f"{path}.part", path)
        except _failures() as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self._url}: cannot be read or written: {error}; nothing was lost, the next run "
            "sends it"
        )


def _failures() -> tuple[type[Exception], ...]:
    """What a file system raises that cannot do it (S3's has its own parent), and half a file."""
    s3: Any = sys.modules.get("botocore.exceptions")
    return (OSError, EOFError, s3.BotoCoreError) if s3 else (OSError, EOFError)


def _ranges_of(batch: Batch) -> dict[int, tuple[int, int]]:
    """(first, last) number in each epoch; erasures have none, and do no harm twice."""
    ranges: dict[int, tuple[int, int]] = {}
    for record in batch.records:
        if record.seq is not None:
            epoch = record.fields["epoch"]
            low, high = ranges.get(epoch, (record.seq, record.seq))
            ranges[epoch] = (min(low, record.seq), max(high, record.seq))
    return ranges


def _meets(name: re.Match[str], ranges: dict[int, tuple[int, int]]) -> bool:
    epoch, first, last = (int(part) for part in name.groups())
    return epoch in ranges and first <= ranges[epoch][1] and last >= ranges[epoch][0]


def _name(batch: Batch, data: bytes) -> str:
    """Sorts by epoch and number; a batch that spans epochs goes by its newest."""
    digest = hashlib.sha256(data).hexdigest()[:DIGEST_CHARS]
    epoch, (first, last) = max(_ranges_of(batch).items(), default=(batch.sender.epoch, (0, 0)))
    return f"{epoch:06d}-{first:012d}-{last:012d}-{digest}.ndjson.gz"


def _write_durably(path: Path, data: bytes) -> None:
    """What is reported as delivered must outlive a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    for directory in (path.parent, path.parent.parent):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
