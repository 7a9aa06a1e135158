"""The store of bundles on this machine: taken in, kept by digest, pointed to, cleaned up.

It serves nothing and runs no model. Whatever moment the power goes, what it points to is complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from edge.bundle import Bundle, Manifest, read_bundle, read_manifest
from edge.errors import (
    BundleCorrupt,
    BundleIncompatible,
    BundleOlder,
    InvalidValue,
    NotFound,
)
from edge.models.ages import is_older, newer
from edge.models.archive import unpack
from edge.models.durable import disk_errors, sync_directory
from edge.models.entries import Readable
from edge.models.journal import JOURNAL, Journal, read_journal
from edge.models.listing import Version, describe
from edge.models.pointers import CURRENT, VERSIONS, Pointers

__all__ = ["VersionStore"]

INCOMING = "incoming"
LOCK = "lock"
PRIVATE = 0o700
MIN_PREFIX_CHARS = 6
DIGEST = re.compile(r"[0-9a-f]{64}")


class VersionStore:
    """Bundles under one directory of the daemon's. Safe among threads and processes.

    `edge.models.recovery.recover` comes first at every start. Each change is made under one file
    lock; verifying and copying are not, so that they may last.
    """

    def __init__(self, directory: Path) -> None:
        """Make the directories, if they are not there.

        Raises:
            StoreUnavailable: The disk refused.
        """
        self.directory = directory
        self._incoming = directory / INCOMING
        self._versions = directory / VERSIONS
        self.pointers = Pointers(directory)
        with disk_errors(directory):
            for path in (directory, self._incoming, self._versions):
                path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    def install(
        self,
        source: Path | Readable,
        *,
        allow_older: bool = False,
        trusted_keys: Path | None = None,
    ) -> Bundle:
        """Take a bundle in; until it is verified, nothing is written outside `incoming/`.

        To install what is there already changes nothing, and repairs it if it was damaged.

        Args:
            source: A directory, an archive file, or a stream of a tar or zip.
            allow_older: Take a version that is older than one taken before; it then counts as
                the newest, so that the way back stays open.
            trusted_keys: File or directory of public keys; given one, a signature is required.

        Raises:
            BundleCorrupt: It is not complete, or not what it claims to be.
            BundleUntrusted: It is not signed as required.
            BundleIncompatible: It is for another program or CPU.
            BundleOlder: It is older than what was taken before.
            InvalidSettings: The keys cannot be used.
            StoreUnavailable: The disk is full or broken.
        """
        with disk_errors(self.directory), self._staging() as staging:
            bundle = _verify(unpack(source, staging), trusted_keys)
            with self.lock():
                self._accept_age(bundle.manifest, allow_older)
                return self._publish(bundle, staging)

    def versions(self) -> list[Version]:
        """Every version, the one last installed first. Hashes are not checked: see `verify`."""
        found = [describe(self._versions / name, self.pointers) for name in self._digests()]
        return sorted(found, key=lambda version: version.installed_utc, reverse=True)

    def find(self, digest: str) -> Version:
        """The version of this digest, or of the only one that starts so.

        Raises:
            NotFound: There is none.
            InvalidValue: There are several, or these are too few digits to tell.
        """
        if len(digest) < MIN_PREFIX_CHARS:
            raise InvalidValue(f"digest: expected at least {MIN_PREFIX_CHARS} digits")
        names = [name for name in self._digests() if name.startswith(digest)]
        if len(names) > 1:
            raise InvalidValue(f"digest: {len(names)} models start so; give more of its digits")
        if not names:
            raise NotFound("digest: no such model is installed; intentd model list shows them")
        return describe(self._versions / names[0], self.pointers)

    def verify(self, digest: str) -> Bundle:
        """Read a version whole, and check every hash.

        Raises:
            BundleCorrupt: It is damaged, or not there.
            BundleIncompatible: It is not for this program.
        """
        bundle = read_bundle(self._versions / digest)
        if bundle.digest != digest:
            raise BundleCorrupt(
                f"{bundle.path}: expected the bundle of this digest, found {bundle.digest}; "
                "remove it, and install it again"
            )
        return bundle

    def remove(self, digest: str) -> None:
        """Take a version away for good; removing the previous one gives up the way back to it.

        Raises:
            NotFound: There is none of this digest.
            InvalidValue: It is served, on probation, or what a failed probation falls back to.
        """
        with disk_errors(self.directory), self._staging() as staging, self.lock():
            path, journal = self._versions / digest, self.pointers.journal()
            if digest in (self.current(), journal.pending, journal.last_good):
                raise InvalidValue("digest: this model is in use; activate another one first")
            if digest not in self._digests():
                raise NotFound("digest: no such model is installed; intentd model list shows them")
            if journal.previous == digest:  # the pointer first, then what it points to
                self.pointers.write(journal.model_copy(update={"previous": None}))
            path.rename(staging / digest)
            sync_directory(staging)
            sync_directory(self._versions)  # before its files go: half a version must not come back

    def current(self) -> str | None:
        """The digest that is served, or will be at the next start; None: the settings' bundle."""
        return self.pointers.current()

    def journal(self) -> Journal:
        """What is pending, last good and previous."""
        return self.pointers.journal()

    def begin(self, digest: str | None) -> None:
        """Point to a version, on probation until `commit` or `rollback`.

        The settings' own bundle (None) needs none: nothing lies below it to fall back to.

        Raises:
            BundleCorrupt: It is damaged.
            BundleIncompatible: It is not for this program.
            StoreUnavailable: The disk refused; what was served still is.
        """
        if digest is not None:
            self.verify(digest)
        with self.lock():
            if digest is None:
                self._settle_configured()
            else:
                self.pointers.begin(digest)

    def commit(self) -> None:
        """Keep the pending version; without one, nothing changes.

        Raises:
            StoreUnavailable: The disk refused; it stays pending.
        """
        with self.lock():
            self.pointers.commit()

    def rollback(self) -> str | None:
        """Point back: from a pending version to the last good one, else to the previous one.

        Returns:
            The digest that is pointed to now; None is the settings' own bundle.

        Raises:
            InvalidValue: There is nothing to go back to.
            BundleCorrupt: What it goes back to is damaged.
            StoreUnavailable: The disk refused; what was served still is.
        """
        with self.lock():
            journal, current = self.pointers.journal(), self.current()
            target = journal.last_good if journal.pending else journal.previous
            if target == current and not journal.pending:
                raise InvalidValue("there is no model to go back to; intentd model list shows them")
            if target is not None:
                self.verify(target)
            if journal.pending:
                self.pointers.abandon()
            else:
                self.pointers.settle(target, previous=current)
            return target

    def clean(self) -> None:
        """Remove what interrupted work left in `incoming/`; what still goes on is left alone.

        Raises:
            StoreUnavailable: The disk refused.
        """
        with disk_errors(self.directory), self.lock():
            for path in self._incoming.iterdir():
                with suppress(BlockingIOError), _hold(path):
                    shutil.rmtree(path, ignore_errors=True)
            for name in (CURRENT, JOURNAL):
                (self.directory / f"{name}.new").unlink(missing_ok=True)

    def _settle_configured(self) -> None:
        current, journal = self.current(), self.pointers.journal()
        if current is not None or journal.pending:
            self.pointers.settle(None, previous=journal.last_good if journal.pending else current)

    def _digests(self) -> list[str]:
        return [path.name for path in self._versions.iterdir() if DIGEST.fullmatch(path.name)]

    def _accept_age(self, manifest: Manifest, allow_older: bool) -> None:
        """Refuse what is older than what was taken before; note what is taken.

        Noted before the bundle appears: a cut between the two errs on the safe side.
        """
        journal = read_journal(self.directory) or self._rebuilt()
        newest = journal.newest.get(manifest.name)
        if newest is not None and is_older(manifest.version, newest) and not allow_older:
            raise BundleOlder(
                f"version: expected {manifest.name} {newest} or newer, found {manifest.version}; "
                "say --allow-older to go back to it on purpose"
            )
        if newest != manifest.version:
            update = {"newest": {**journal.newest, manifest.name: manifest.version}}
            self.pointers.write(journal.model_copy(update=update))

    def _rebuilt(self) -> Journal:
        """A damaged journal's stand-in: the newest versions are those that are installed."""
        newest: dict[str, str] = {}
        for manifest in filter(None, (version.manifest for version in self.versions())):
            known = newest.get(manifest.name, manifest.version)
            newest[manifest.name] = newer(known, manifest.version)
        return self.pointers.journal().model_copy(update={"newest": newest})

    def _publish(self, bundle: Bundle, staging: Path) -> Bundle:
        """Give a verified bundle its name, unless a sound one has it."""
        target = self._versions / bundle.digest
        if os.path.lexists(target):
            with suppress(BundleCorrupt, BundleIncompatible):
                return self.verify(bundle.digest)
            target.rename(staging / "damaged")
        bundle.path.rename(target)
        sync_directory(self._versions)
        return replace(bundle, path=target)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A directory in `incoming/` for one piece of work, locked as long as it goes on."""
        path = self._incoming / uuid.uuid4().hex
        with ExitStack() as work:
            with self.lock():  # so that `clean` meets no directory that is not held yet
                path.mkdir(mode=PRIVATE)
                work.callback(shutil.rmtree, path, ignore_errors=True)
                work.enter_context(_hold(path))
            yield path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One change at a time, among threads and processes; the kernel frees a dead one's lock."""
        descriptor = _open_lock(self.directory / LOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _open_lock(path: Path) -> int:
    """The lock's file; a disk that has become read-only is still to be started on."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY)


def _verify(path: Path, trusted_keys: Path | None) -> Bundle:
    """Read a bundle whole: who signed it first, since nothing else is worth reading without."""
    if trusted_keys is not None:
        from edge.models.trust import check_signature, read_trusted_keys  # loads cryptography

        check_signature(path, read_manifest(path), read_trusted_keys(trusted_keys))
    return read_bundle(path)


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Mark a directory as being worked in.

    Raises:
        BlockingIOError: Somebody else works there.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
