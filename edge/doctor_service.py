"""What `intentd doctor` finds of the installed bundles, and of what confines the running daemon."""

from __future__ import annotations

from dataclasses import asdict

from edge.bundle import read_bundle
from edge.checks import Check, Verdict
from edge.errors import BundleCorrupt, BundleIncompatible
from edge.models.pointers import VERSIONS, Pointers
from edge.posture import find_daemon, read_posture, weaknesses
from edge.settings import Settings

__all__ = ["check_models", "check_posture"]


def check_models(settings: Settings) -> Check:
    """The bundle that is served from the store, every hash included."""
    directory = settings.models_dir
    pointers = Pointers(directory)
    current = pointers.current()
    facts: dict[str, object] = {"path": str(directory), "current": current}
    try:
        found = sorted(path.name for path in (directory / VERSIONS).iterdir())
    except OSError as error:
        facts["installed"] = 0
        detail = f"{directory}: {error.strerror}; the bundle of the settings is served"
        is_missing = isinstance(error, FileNotFoundError)
        return Check("models", Verdict.OK if is_missing else Verdict.NOTE, detail, facts)
    facts |= {"installed": len(found), "pending": pointers.journal().pending}
    if current is None:
        detail = f"{len(found)} installed; the bundle of the settings is served"
        return Check("models", Verdict.OK, detail, facts)
    try:
        manifest = read_bundle(directory / VERSIONS / current).manifest
    except (BundleCorrupt, BundleIncompatible) as error:
        return Check("models", Verdict.FAILED, f"{error}; intentd model rollback", facts)
    detail = f"{len(found)} installed; {manifest.name} {manifest.version} is served, every hash"
    return Check("models", Verdict.OK, f"{detail} as written", facts)


def check_posture(settings: Settings) -> Check:
    """What really confines the daemon that answers on the socket."""
    pid = find_daemon(settings.socket)
    if pid is None:
        return Check("posture", Verdict.NOTE, "no daemon to look at", {"pid": None})
    posture = read_posture(pid, (settings.socket, settings.admin_socket))
    found = weaknesses(posture)
    detail = "confined as the shipped unit confines it, as far as can be seen from here"
    if found:
        detail = f"{'; '.join(found)}; intentd service install puts a confined unit in place"
    verdict = Verdict.NOTE if found else Verdict.OK
    return Check("posture", verdict, detail, {**asdict(posture), "weaknesses": found})
