"""Which version is served: the link `current`, and the journal beside it, moved step by step.

Every step is one rename and leaves a state that `reconcile` understands. It looks into no bundle.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge.models.durable import disk_errors, sync_directory
from edge.models.journal import Journal, read_journal, write_journal

__all__ = ["CURRENT", "VERSIONS", "Pointers"]

CURRENT = "current"
VERSIONS = "versions"
LINK = re.compile(rf"{VERSIONS}/([0-9a-f]{{64}})/?")


class Pointers:
    """The pointers of one store. The caller holds its lock; None is the settings' own bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def current(self) -> str | None:
        """The digest that is served, or will be at the next start."""
        try:
            target = str((self.directory / CURRENT).readlink())
        except OSError:  # none, or no link: then it points to nothing of ours
            return None
        match = LINK.fullmatch(target)
        return match[1] if match else None

    def journal(self) -> Journal:
        """The journal; where it is damaged, what can be known without it."""
        return read_journal(self.directory) or Journal(last_good=self.current())

    def write(self, journal: Journal) -> None:
        """Raises StoreUnavailable where the disk refuses; the old journal stands."""
        write_journal(self.directory, journal)

    def begin(self, digest: str) -> None:
        """Put a version on probation: what was served stays known as the last good one."""
        journal = self.journal()
        last_good = journal.last_good if journal.pending else self.current()
        self.write(
            journal.model_copy(update={"pending": digest, "tries": 0, "last_good": last_good})
        )
        self.switch(digest)

    def commit(self) -> None:
        """End the probation: the pending version is the good one, the one before it the previous.

        To commit what is not pending changes nothing.
        """
        journal = self.journal()
        if journal.pending:
            changes = {"previous": journal.last_good, "last_good": journal.pending}
            if journal.last_good == journal.pending:  # activated again: what was before it stays
                changes.pop("previous")
            self.write(journal.model_copy(update={**changes, "pending": None, "tries": 0}))

    def abandon(self) -> None:
        """End the probation the other way: the last good version is served again."""
        journal = self.journal()
        self.switch(journal.last_good)
        self.write(journal.model_copy(update={"pending": None, "tries": 0}))

    def settle(self, digest: str | None, previous: str | None) -> None:
        """Serve this one, without probation."""
        journal = self.journal()
        changes = {"pending": None, "tries": 0, "last_good": digest, "previous": previous}
        self.switch(digest)
        self.write(journal.model_copy(update=changes))

    def switch(self, digest: str | None) -> None:
        """Turn the link, in one step, and have that on the disk.

        Raises:
            StoreUnavailable: The disk refused; the link is as it was.
        """
        if digest == self.current():
            return
        link, fresh = self.directory / CURRENT, self.directory / f"{CURRENT}.new"
        with disk_errors(self.directory):
            fresh.unlink(missing_ok=True)
            if digest is None:
                link.unlink()
            else:
                fresh.symlink_to(f"{VERSIONS}/{digest}")
                fresh.replace(link)
            sync_directory(self.directory)

    def reconcile(self) -> Journal:
        """The journal, made to agree with the link: what was begun by halves is undone.

        Without a version on probation the link says what is served, since an admin may turn it.
        """
        journal, current = self.journal(), self.current()
        if journal.pending and journal.pending != current:
            self.abandon()
        elif not journal.pending and journal.last_good != current:
            changes = {"last_good": current, "previous": journal.last_good}
            self.write(journal.model_copy(update=changes))
        return self.journal()
