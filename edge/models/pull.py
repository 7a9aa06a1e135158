"""Fetches a published bundle by its digest: resumes what broke off, keeps nothing that is wrong.

It runs in the admin's process, since the daemon has no network. It installs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.bundle import (
    MANIFEST,
    SIGNATURE,
    FileEntry,
    Manifest,
    manifest_digest,
    read_bundle,
    read_manifest,
)
from edge.errors import BundleCorrupt, InvalidValue, NotFound, Unavailable
from edge.models.durable import disk_errors
from edge.models.entries import LIMITS_BYTES
from edge.models.journal import Digest
from edge.models.remote import Remote, open_remote

__all__ = ["INDEX", "Index", "Progress", "Published", "pull_bundle", "read_index"]

INDEX = "index.json"
SCHEMA_VERSION = 1
MAX_INDEX_BYTES = 8 << 20
MAX_FAILURES = 5
MIN_PREFIX_CHARS = 6
FIRST_WAIT_S = 1.0

Progress = Callable[[int, int], None]
"""Told the bytes that are here, and the bytes in all."""


class Published(BaseModel):
    """One bundle of an index."""

    model_config = ConfigDict(frozen=True)  # later publishers may say more

    name: str
    version: str
    digest: Digest
    files: dict[str, FileEntry]
    created_utc: str
    signature: bool = False
    """Whether `manifest.sig` lies beside the manifest."""
    alias: str = ""
    """`production` or `staging`: what the publisher means it for, one bundle of a name each."""


class Index(BaseModel):
    """`index.json`, which the publisher writes."""

    model_config = ConfigDict(frozen=True)

    schema_version: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    bundles: tuple[Published, ...]


@dataclass(slots=True)
class _Download:
    """One pull, as far as it has come."""

    remote: Remote
    folder: Path
    progress: Progress
    first_wait_s: float
    total: int = 0
    done: int = 0


def read_index(location: str) -> tuple[Published, ...]:
    """What is published there, as the publisher wrote it; nothing of it is verified.

    Raises:
        InvalidValue: The address or the index cannot be used.
        NotFound: There is no index.
        SyncRefused: It may not be read.
        Unavailable: It cannot be read now.
    """
    with open_remote(location) as remote:
        return _read_index(remote)


def pull_bundle(
    location: str,
    digest: str,
    cache: Path,
    *,
    trusted_keys: Path | None = None,
    progress: Progress = lambda done, total: None,
    first_wait_s: float = FIRST_WAIT_S,
) -> Path:
    """Fetch a bundle, and verify it whole; returns its directory, `cache/DIGEST`.

    What breaks off is taken up again where it ended, in this call or in the next one. The manifest
    comes first: it must have the digest that was asked for, and names what the files must be.

    Args:
        location: Where `index.json` and `bundles/DIGEST/` lie.
        digest: Whole, or so much of it that one published bundle starts so. Only a whole one
            makes the place of publication irrelevant to trust.
        cache: A directory of the caller's; the bundle stays there for the caller to remove.
        trusted_keys: As for `VersionStore.install`; checked before the large files are fetched.
        progress: Called after every piece.
        first_wait_s: Wait after a failure; doubled for the next.

    Raises:
        BundleCorrupt: What came is not the bundle of this digest, or not signed as required.
        BundleIncompatible: It is for another program or CPU.
        InvalidValue: The address, the index or the digest cannot be used, or another process is
            pulling the same bundle.
        NotFound: No such bundle is published there.
        SyncRefused: It may not be read.
        Unavailable: The connection failed again and again; what came is kept for the next call.
        StoreUnavailable: The disk is full or broken.
    """
    with open_remote(location) as remote:
        found = _find(_read_index(remote), digest)
        return _pull(
            _Download(remote, cache / found.digest, progress, first_wait_s), found, trusted_keys
        )


def _pull(download: _Download, found: Published, trusted_keys: Path | None) -> Path:
    folder = download.folder
    with disk_errors(folder), _hold(folder):
        manifest = _pull_manifest(download, found, trusted_keys)
        download.total = sum(entry.size for entry in manifest.files.values())
        for name, entry in manifest.files.items():
            _pull_file(download, f"bundles/{found.digest}/{name}", folder / name, entry)
        read_bundle(folder)
    return folder


def _read_index(remote: Remote) -> tuple[Published, ...]:
    try:
        index = Index.model_validate_json(_read_small(remote, INDEX, MAX_INDEX_BYTES))
    except ValidationError as error:
        raise InvalidValue(
            f"{INDEX}: expected a list of bundles of schema_version {SCHEMA_VERSION}, found "
            f"something else ({error.errors(include_url=False)[0]['msg']}); check the address"
        ) from error
    return index.bundles


def _find(published: tuple[Published, ...], digest: str) -> Published:
    if len(digest) < MIN_PREFIX_CHARS:
        raise InvalidValue(f"digest: expected at least {MIN_PREFIX_CHARS} digits")
    found = {bundle.digest: bundle for bundle in published if bundle.digest.startswith(digest)}
    if not found:
        raise NotFound(f"digest: none of the {len(published)} bundles published there has it")
    if len(found) > 1:
        raise InvalidValue(f"digest: {len(found)} bundles start so; give more of its digits")
    return next(iter(found.values()))


def _pull_manifest(download: _Download, found: Published, trusted_keys: Path | None) -> Manifest:
    """Fetch the manifest and its signature, and believe them only then."""
    small = (MANIFEST, SIGNATURE) if found.signature else (MANIFEST,)
    (download.folder / SIGNATURE).unlink(missing_ok=True)
    for name in small:
        data = _read_small(download.remote, f"bundles/{found.digest}/{name}", LIMITS_BYTES[name])
        (download.folder / name).write_bytes(data)
    manifest = read_manifest(download.folder)
    if manifest_digest(manifest) != found.digest:
        raise BundleCorrupt(
            f"{MANIFEST}: expected the manifest of {found.digest}, found that of "
            f"{manifest_digest(manifest)}; tell the publisher"
        )
    if trusted_keys is not None:
        from edge.models.trust import check_signature, read_trusted_keys  # loads cryptography

        check_signature(download.folder, manifest, read_trusted_keys(trusted_keys))
    for name, entry in manifest.files.items():
        if entry.size > LIMITS_BYTES.get(name, -1):
            raise BundleCorrupt(
                f"{name[:80]!a}: expected a bundle's own files, found one more or a larger one"
            )
    return manifest


def _pull_file(download: _Download, name: str, path: Path, entry: FileEntry) -> None:
    """Fetch one file, if it is not here yet; bytes that are wrong are not kept."""
    part = path.with_name(f"{path.name}.part")
    if path.exists():
        path.replace(part)
    was_resumed = bool(_size(part))
    try:
        _persist(download, name, part, entry.size)
        if was_resumed and _sha256(part) != entry.sha256:  # begun elsewhere, or damaged: once more
            part.unlink()
            _persist(download, name, part, entry.size)
        if _sha256(part) != entry.sha256:
            raise BundleCorrupt(
                f"{name}: expected sha256 {entry.sha256}, found another; tell the publisher"
            )
    except BundleCorrupt:
        part.unlink()
        raise
    part.replace(path)
    download.done += entry.size


def _persist(download: _Download, name: str, part: Path, size: int) -> None:
    """Fetch a file whole, however often it breaks off, as long as some of it comes each time."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _append(download, name, part, size)
        except Unavailable:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= MAX_FAILURES:
                raise
            time.sleep(download.first_wait_s * 2 ** (failures - 1))


def _append(download: _Download, name: str, part: Path, size: int) -> None:
    """Fetch what is missing of a file.

    Raises:
        BundleCorrupt: There is more of it than there should be.
        Unavailable: It broke off.
    """
    if _size(part) > size:
        part.unlink()
    offset = _size(part)
    if offset == size:
        part.touch()  # a file may be empty
        return
    with download.remote.open(name, offset) as (start, chunks), part.open("ab") as file:
        if start > offset:
            raise Unavailable(f"{name}: the server sent a part that was not asked for")
        file.truncate(start)
        for chunk in chunks:
            file.write(chunk)
            start += len(chunk)
            if start > size:
                raise BundleCorrupt(f"{name}: expected {size} bytes, found more; tell its maker")
            download.progress(download.done + start, download.total)
    if start < size:
        raise Unavailable(f"{name}: broke off after {start} of {size} bytes; try again")


def _read_small(remote: Remote, name: str, limit: int) -> bytes:
    data = b""
    with remote.open(name, 0) as (_, chunks):
        for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise InvalidValue(f"{name}: expected at most {limit} bytes, found more")
    return data


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """One pull of a bundle at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidValue(
                "digest: another process is pulling this bundle; wait for it"
            ) from error
        yield
    finally:
        os.close(descriptor)
