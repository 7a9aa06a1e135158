"""What to serve after a start: the version pointed to, or the last good one if that one failed.

It runs before the model is loaded, and always finds a complete and verified bundle, or says why
there is none. A disk that is full or read-only does not stop it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.bundle import Bundle, read_bundle
from edge.errors import BundleCorrupt, BundleIncompatible, StoreUnavailable
from edge.models.journal import Journal
from edge.models.pointers import Pointers
from edge.models.versions import VersionStore

__all__ = ["MAX_TRIES", "Recovery", "recover"]

MAX_TRIES = 2
"""Starts that a version on probation gets: it must fall before systemd gives up after five."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to start on."""

    bundle: Bundle
    digest: str | None
    """Its name in the store; None for the settings' own bundle."""
    on_probation: bool
    """Whether it still has to prove itself: the probation starts again."""
    notes: tuple[str, ...]
    """What was wrong and was put right, for the log."""


def recover(store: VersionStore, configured: Path) -> Recovery:
    """Finish or undo what was interrupted, and choose what to start on.

    Call it once a start: each call counts as one try of the version on probation. After
    `MAX_TRIES` of them that did not end in a commit, it is given up.

    Args:
        store: The store.
        configured: The bundle that the settings name; served where no version is.

    Raises:
        BundleCorrupt: No version can be used, and neither can the configured bundle.
        BundleIncompatible: The same; it is for another program.
    """
    notes: list[str] = []
    try:
        store.clean()
    except StoreUnavailable as error:
        notes.append(str(error))
    with store.lock():
        journal = _count_try(store.pointers, notes)
        for digest in _order(journal, store.current()):
            try:
                bundle = read_bundle(configured) if digest is None else store.verify(digest)
            except (BundleCorrupt, BundleIncompatible) as error:
                if digest is None:
                    raise
                notes.append(f"{error}; another model is served instead")
                continue
            _settle(store.pointers, journal, digest)
            on_probation = digest is not None and digest == journal.pending
            return Recovery(bundle, digest, on_probation, tuple(notes))
    raise AssertionError("the configured bundle is the last in every order")


def _count_try(pointers: Pointers, notes: list[str]) -> Journal:
    """The journal as this start leaves it: one try more, or the pending version given up."""
    try:
        journal = pointers.reconcile()
        if not journal.pending:
            return journal
        if journal.tries < MAX_TRIES:
            pointers.write(journal.model_copy(update={"tries": journal.tries + 1}))
        else:
            notes.append(
                f"model {journal.pending} was started {journal.tries} times without being "
                "committed; the last good one is served again"
            )
            pointers.abandon()
        return pointers.journal()
    except StoreUnavailable as error:
        # Tries that cannot be counted could go on for ever, so the pending version gets none.
        notes.append(f"{error}; only models known to be good are served")
        journal = pointers.journal()
        current = journal.last_good if journal.pending else pointers.current()
        return journal.model_copy(update={"pending": None, "last_good": current})


def _order(journal: Journal, current: str | None) -> list[str | None]:
    """What to try, best first; the settings' own bundle (None) ends it."""
    first = current if journal.pending else journal.last_good
    wanted = [first, journal.last_good, journal.previous, None]
    return wanted[: wanted.index(None) + 1]


def _settle(pointers: Pointers, journal: Journal, digest: str | None) -> None:
    """Point to what is served; where the disk refuses, the next start decides again."""
    if digest == (journal.pending or journal.last_good):
        return
    previous = None if digest == journal.previous else journal.previous
    try:
        pointers.settle(digest, previous)
    except StoreUnavailable:
        return
