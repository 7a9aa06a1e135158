"""Which model the daemon starts on: what the store says, what it falls back to, else the settings'.

It imports no web framework, so that the model loads while that is imported.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from edge.errors import CannotStart, EdgeError, StoreUnavailable
from edge.ledger import DIRECTORY_MODE
from edge.models.recovery import recover
from edge.models.versions import VersionStore
from edge.predictor import Predictor
from edge.service import open_predictor
from edge.settings import Settings

__all__ = ["Start", "start_on"]

log = logging.getLogger("intentd.models")


@dataclass(frozen=True, slots=True)
class Start:
    """What the daemon starts on."""

    store: VersionStore | None
    """None where the disk refused: then there is the settings' bundle alone."""
    key: str | None
    """The digest in the store of what answers; None is the settings' bundle."""
    on_probation: bool = False


def start_on(settings: Settings) -> tuple[Start, Predictor]:
    """Choose what to serve, and load it. Once a start: it counts as a try of what is on probation.

    Returns:
        What was chosen, and the model, which nobody but the slot may keep: else its memory stays.

    Raises:
        CannotStart: Neither a version of the store nor the settings' bundle can be used.
    """
    with suppress(OSError):  # the store would make it too, but for others to read
        settings.state_dir.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    try:
        store = VersionStore(settings.models_dir)
        recovery = recover(store, settings.bundle)
    except (StoreUnavailable, OSError) as error:
        log.warning("models cannot be installed: %s", error)
        return Start(None, None), open_predictor(settings)
    for note in recovery.notes:
        log.warning("%s", note)
    try:
        predictor = open_predictor(settings, recovery.bundle)
    except CannotStart as error:
        if recovery.digest is None:
            raise
        log.error("%s; another model is served instead", error)
        return _start_otherwise(settings, store, recovery.on_probation)
    return Start(store, recovery.digest, recovery.on_probation), predictor


def _start_otherwise(
    settings: Settings, store: VersionStore, on_probation: bool
) -> tuple[Start, Predictor]:
    """The version that recovery chose is whole, and cannot be loaded: take the one before it."""
    if on_probation:
        try:
            key = store.rollback()
            if key is not None:
                return Start(store, key), open_predictor(settings, store.verify(key))
        except EdgeError as error:
            log.error("%s; the settings' bundle is served instead", error)
    return Start(store, None), open_predictor(settings)
