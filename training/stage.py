"""A stage of the training: a folder with a manifest that names what it was made of, by hash.

A stage runs in a folder of its own, which takes its place in one rename: half a stage is no stage.
One whose inputs, settings and code are unchanged is skipped. It knows nothing of what stages do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from training.errors import StageBusy, StageMissing

__all__ = ["MANIFEST", "Outcome", "Stage", "read_manifest", "require", "sha256_of"]

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
PACKAGE = Path(__file__).parent

Counts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of a stage came to."""

    manifest: dict[str, Any]
    skipped: bool
    """Nothing had changed, so nothing was done."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage is made of."""

    name: str
    folder: Path
    inputs: Mapping[str, Path]
    """Name → file or folder. One that is missing is an error."""
    config: Mapping[str, Any]
    """The settings that its output depends on."""
    code: tuple[str, ...]
    """Files and folders of this package that its output depends on."""
    versions: tuple[str, ...] = ()
    """Distributions whose versions the manifest names."""
    resumable: bool = False
    """Whether an interrupted run finds its files again: its folder is then kept."""
    live: bool = False
    """Whether what it reads is not in files: it always runs, and keeps what came out the same."""
    identity: dict[str, Any] = field(default_factory=dict, init=False, compare=False)

    def needs(self) -> dict[str, Any]:
        """What decides whether the stage is still good, as its manifest holds it."""
        if not self.identity:
            self.identity.update(
                inputs={name: sha256_of(path) for name, path in sorted(self.inputs.items())},
                config=json.loads(json.dumps(dict(self.config), default=str)),
                code=_code_digest(self.code),
            )
        return self.identity

    def is_current(self) -> bool:
        """Whether its folder holds what a run now would make, as it was written."""
        if self.live:
            return False
        found = _manifest(self.folder)
        return found is not None and _matches(found, self.needs()) and _is_whole(self.folder, found)

    def run(self, work: Callable[[Path], Counts], *, force: bool = False) -> Outcome:
        """Run the stage, unless it is current.

        Args:
            work: Gets an empty folder (or what an interrupted run left, if `resumable`) and fills
                it; returns the counts that the manifest is to hold.
            force: Run it in any case.

        Raises:
            StageBusy: Another process runs a stage in this directory.
            TrainingError: From `work`; the folder of the stage is as it was.
            OSError: The same.
        """
        with _alone(self.folder.parent):
            _recover(self.folder)
            if not force and self.is_current():
                return Outcome(read_manifest(self.folder), skipped=True)
            return self._run(work)

    def _run(self, work: Callable[[Path], Counts]) -> Outcome:
        partial = self.folder.with_name(f".{self.name}.partial")
        if not self.resumable:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return self._finish(partial, work)
        finally:
            if not self.resumable:
                shutil.rmtree(partial, ignore_errors=True)

    def _finish(self, partial: Path, work: Callable[[Path], Counts]) -> Outcome:
        started = time.monotonic()
        counts = work(partial)
        manifest = {
            "stage": self.name,
            "schema_version": SCHEMA_VERSION,
            **self.needs(),
            "outputs": _outputs(partial),
            "created_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": round(time.monotonic() - started, 3),
            "counts": dict(counts),
            "versions": {name: metadata.version(name) for name in ("intentd", *self.versions)},
        }
        before = _manifest(self.folder)
        if before is not None and self.live and before["outputs"] == manifest["outputs"]:
            return Outcome(before, skipped=True)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        _replace(self.folder, partial)
        return Outcome(manifest, skipped=False)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A stage's manifest.

    Raises:
        StageMissing: There is none that can be read, or it is of a newer program.
    """
    found = _manifest(folder)
    if found is None:
        raise StageMissing(
            f"{folder}: expected what `intentd-train {folder.name}` writes, found no readable "
            f"{MANIFEST}; run it first"
        )
    if found["schema_version"] != SCHEMA_VERSION:
        raise StageMissing(
            f"{folder / MANIFEST}: expected schema_version {SCHEMA_VERSION}, found "
            f"{found['schema_version']}; run `intentd-train {folder.name}` again"
        )
    return found


def require(folder: Path, name: str) -> Path:
    """An output of a finished stage, unchanged since.

    Raises:
        StageMissing: It is missing, or was changed by hand.
    """
    expected = read_manifest(folder)["outputs"].get(name)
    path = folder / name
    if expected is None or not path.is_file() or sha256_of(path) != expected:
        raise StageMissing(
            f"{path}: expected the file that `intentd-train {folder.name}` wrote, found "
            f"{'another' if path.is_file() else 'none'}; run it again with --force"
        )
    return path


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file; of a folder, over its files' names and hashes.

    Raises:
        StageMissing: There is nothing.
    """
    if path.is_dir():
        lines = [f"{sha256_of(p)} {p.relative_to(path)}\n" for p in _files(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise StageMissing(f"{path}: expected a file, found none; run the stage before") from None


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    keys = {"stage", "schema_version", "inputs", "config", "outputs", "counts"}
    return found if isinstance(found, dict) and keys <= found.keys() else None


def _matches(found: dict[str, Any], needs: dict[str, Any]) -> bool:
    return found["schema_version"] == SCHEMA_VERSION and all(
        found.get(name) == value for name, value in needs.items()
    )


def _is_whole(folder: Path, found: dict[str, Any]) -> bool:
    return bool(_outputs(folder) == found["outputs"])


def _outputs(folder: Path) -> dict[str, str]:
    own = folder / MANIFEST  # that of a bundle in it is an output as any other
    return {str(p.relative_to(folder)): sha256_of(p) for p in _files(folder) if p != own}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@cache
def _code_digest(code: tuple[str, ...]) -> str:
    """sha256 of the sources that a stage depends on: a changed rule makes its output stale."""
    digest = hashlib.sha256()
    for name in code:
        path = PACKAGE / name
        for file in (
            [path]
            if path.is_file()
            else sorted(p for p in path.rglob("*.*ml")) + sorted(path.rglob("*.py"))
        ):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone(work_dir: Path) -> Iterator[None]:
    """Let no other process run a stage in this directory; the lock ends with the process.

    Raises:
        StageBusy: One does.
    """
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(work_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageBusy(
                f"{work_dir}: expected to be alone here, found another intentd-train at work; wait "
                "for its end, or take another --work-dir"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _replace(folder: Path, new: Path) -> None:
    """`new` becomes `folder`. What is left if the power goes in between, `_recover` puts right."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    _fsync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _recover(folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.replace(folder)


def _fsync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
