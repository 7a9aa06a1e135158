"""Examines where corrections are kept: directory, permissions, file system, room, SQLite.

It opens no database: the daemon is asked instead, if it runs and lets us.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.admin_client import AdminClient
from edge.checks import Check, Verdict
from edge.errors import EdgeError, StoreUnavailable
from edge.settings import Settings
from edge.store.database import sqlite3
from edge.store.place import filesystem_type, free_bytes, refuse_network
from edge.wire import StoreInfo

__all__ = ["check_store"]

NAME = "store"
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
FORBIDDEN_BITS = stat.S_IRWXG | stat.S_IRWXO
LOW_BYTES = 64 << 20


def check_store(settings: Settings) -> Check:
    """Whether corrections can be kept there, as far as that can be told without writing."""
    directory = settings.state_dir
    place = next((p for p in (directory, *directory.parents) if _exists(p)), directory)
    facts: dict[str, Any] = {
        "path": str(directory),
        "exists": place == directory,
        "filesystem": filesystem_type(place),
        "free_bytes": free_bytes(place),
        "sqlite": sqlite3.sqlite_version,
    }
    info, trouble = _ask_daemon(settings)
    problems = [*_find_problems(directory, place, facts), *trouble]
    if info is not None:
        facts |= {"journal_mode": info.journal_mode, "synchronous": info.synchronous}
        facts |= {"quarantined": info.quarantined, "salvaged": info.salvaged}
    if problems:
        return Check(NAME, Verdict.FAILED, "; ".join(problems), facts)
    return _sound(facts, info)


def _find_problems(directory: Path, place: Path, facts: dict[str, Any]) -> Iterator[str]:
    """What keeps corrections from being safe there; notes mode and owner on the way."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield f"SQLite {sqlite3.sqlite_version}: expected 3.37 or newer; use a newer Python"
    try:
        refuse_network(facts["filesystem"], directory)
    except StoreUnavailable as error:
        yield str(error)
    if facts["free_bytes"] < LOW_BYTES:
        yield f"{place}: {facts['free_bytes'] >> 20} MiB are free; make room, at least 64 MiB"
    if place == directory:
        yield from _find_permissions(directory, facts)


def _find_permissions(directory: Path, facts: dict[str, Any]) -> Iterator[str]:
    found = directory.stat()
    facts |= {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "uid": found.st_uid}
    if not stat.S_ISDIR(found.st_mode):
        yield f"{directory}: expected a directory, found a file; move it, or set state_dir"
    elif found.st_mode & FORBIDDEN_BITS:
        yield f"{directory}: mode {facts['mode']} lets others read texts; chmod 0700 it"


def _sound(facts: dict[str, Any], info: StoreInfo | None) -> Check:
    where = f"{facts['path']} ({facts['filesystem'] or 'unknown file system'}"
    where += f", {facts['free_bytes'] / 2**30:.1f} GiB free), SQLite {facts['sqlite']}"
    if info is not None:
        detail = f"{where}, {info.journal_mode}, synchronous {info.synchronous}"
        return Check(NAME, Verdict.OK, detail, facts)
    if not facts["exists"]:
        return Check(NAME, Verdict.NOTE, f"{where}: not there; intentd serve makes it", facts)
    return Check(NAME, Verdict.OK, where, facts)


def _ask_daemon(settings: Settings) -> tuple[StoreInfo | None, list[str]]:
    """What the daemon says of its store, and against it; nothing unless we may ask one."""
    try:
        with AdminClient(settings.admin_socket) as admin:
            info = admin.stats().store
    except StoreUnavailable as error:
        return None, [str(error)]
    except EdgeError:
        return None, []
    return info, [info.detail] if info.detail else []


def _exists(path: Path) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 — `Path.exists` takes a directory that we may not enter for missing
    except PermissionError:
        return True
    except OSError:
        return False
    return True
