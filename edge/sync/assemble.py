"""Puts a run together from its settings: which target, which redaction. It starts nothing."""

from __future__ import annotations

from edge.errors import InvalidSettings
from edge.sync.batch import Batch
from edge.sync.outgoing import Preparer
from edge.sync.redact import Redactor
from edge.sync.settings import SyncSettings
from edge.sync.state import SyncState
from edge.sync.target import Target
from edge.sync.token import read_token

__all__ = ["make_preparer", "open_target", "show"]


def open_target(settings: SyncSettings) -> Target:
    """The collector or directory that is configured.

    Raises:
        InvalidSettings: None is, or it cannot be used.
    """
    if not settings.upstream:
        raise InvalidSettings(
            f"sync is off: no upstream is configured, and nothing leaves this box; to turn it on, "
            f"set upstream under [sync] in {settings.config} (intentd sync --preview shows first "
            "what would be sent)"
        )
    if _is_collector(settings.upstream):
        from edge.sync.upstream import Collector, check_url

        check_url(settings.upstream)  # before the token is read
        return Collector(settings.upstream, read_token(settings.token_file), settings.ca_file)
    from edge.sync.folder import Folder

    return Folder(settings.upstream)


def make_preparer(settings: SyncSettings, state: SyncState) -> Preparer:
    """What decides which bytes of a record leave."""
    redactor = Redactor(settings.deny, settings.regions)
    return Preparer(settings.tier, redactor, state.read_key)


def show(settings: SyncSettings, batch: Batch) -> bytes:
    """The bytes that would leave, before compression; without an upstream as for a collector."""
    if settings.upstream and not _is_collector(settings.upstream):
        return batch.lines()
    return batch.body() + b"\n"


def _is_collector(upstream: str) -> bool:
    return upstream.startswith(("http://", "https://"))
