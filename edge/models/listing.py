"""One version of the store as people and programs are shown it; it reads manifests, not models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.bundle import Manifest, read_manifest
from edge.errors import BundleCorrupt, BundleIncompatible
from edge.models.pointers import Pointers

__all__ = ["Version", "describe"]


@dataclass(frozen=True, slots=True)
class Version:
    """One bundle of the store, as its manifest describes it."""

    digest: str
    path: Path
    manifest: Manifest | None
    """None if it cannot be read any more; `problem` says why."""
    problem: str | None
    size: int
    """Bytes of its files, by the manifest."""
    installed_utc: str
    """ISO 8601, `Z`."""
    is_current: bool
    is_pending: bool
    is_previous: bool


def describe(path: Path, pointers: Pointers) -> Version:
    """What its manifest and the pointers say of one version; hashes are not checked."""
    digest, journal = path.name, pointers.journal()
    manifest, problem = None, None
    try:
        manifest = read_manifest(path)
    except (BundleCorrupt, BundleIncompatible) as error:
        problem = str(error)
    installed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Version(
        digest=digest,
        path=path,
        manifest=manifest,
        problem=problem,
        size=sum(entry.size for entry in manifest.files.values()) if manifest else 0,
        installed_utc=installed.isoformat(timespec="seconds").replace("+00:00", "Z"),
        is_current=digest == pointers.current(),
        is_pending=digest == journal.pending,
        is_previous=digest == journal.previous,
    )
