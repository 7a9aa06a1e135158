"""The stage `collect`: corrections from wherever they lie, in one file; none that was erased."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from export.report import Reporter
from training.errors import InvalidConfig, SourceUnreachable
from training.rows import Row, new_file, write_rows
from training.settings import Settings
from training.sources import Reader, Source, open_source
from training.stage import Outcome, Stage

__all__ = ["ROWS", "SUPPRESSED", "collect", "collect_stage", "read_suppressed"]

ROWS = "rows.jsonl"
SUPPRESSED = "suppressed.txt"
SALT = "salt"
SALT_BYTES = 32
NO_LABEL = "(none of these)"


def collect_stage(settings: Settings) -> Stage:
    """The stage; it reads what lives, so it always runs, and keeps what came out the same."""
    if not settings.collect.sources:
        raise InvalidConfig(
            "collect: expected a source, found none; name a collector's URL, an export or a "
            "corrections.db, or set collect.sources"
        )
    return Stage(
        name="collect",
        folder=Path(settings.work_dir) / "collect",
        inputs={},
        config={"audit_sources": settings.collect.audit_sources},
        code=("collect.py", "sources.py", "box.py", "rows.py"),
        live=True,
    )


def collect(settings: Settings, reporter: Reporter, *, force: bool = False) -> Outcome:
    """Gather the rows of every source into collect/rows.jsonl.

    Raises:
        TrainingError: A source cannot be read; what was collected before is as it was.
    """
    stage = collect_stage(settings)

    def work(folder: Path) -> dict[str, Any]:
        reader = Reader(_read_salt(stage.folder.parent), settings.collect.audit_sources)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".collect.") as scratch:
            sources = [
                open_source(address, reader, Path(scratch))
                for address in reporter.track("opening sources", settings.collect.sources)
            ]
            erased = _all_suppressed(settings, sources)
            kept = _Kept(erased)
            write_rows(folder / ROWS, kept.filter(sources))
        with new_file(folder / SUPPRESSED) as stream:
            stream.writelines(f"{name}\n".encode() for name in sorted(erased))
        return kept.counts | {"skipped": dict(reader.skipped), "suppressed_ids": len(erased)}

    return stage.run(work, force=force)


class _Kept:
    """Lets every row through once, unless it was erased; and counts."""

    def __init__(self, erased: set[str]) -> None:
        self._erased = erased
        self._seen: set[str] = set()
        self._labels: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def filter(self, sources: Sequence[Source]) -> Iterator[Row]:
        for source in sources:
            for row in source.rows:
                reason = self._reason(row)
                self._dropped[reason] += bool(reason)
                if not reason:
                    self._note(source, row)
                    yield row

    def _reason(self, row: Row) -> str:
        if row.id in self._erased:
            return "erased"
        return "came before" if row.id in self._seen else ""

    def _note(self, source: Source, row: Row) -> None:
        self._seen.add(row.id)
        self._labels[row.label or NO_LABEL] += 1
        self._origins[row.origin] += 1
        self._sources[source.name] += 1

    @property
    def counts(self) -> dict[str, Any]:
        return {
            "rows": len(self._seen),
            "labels": dict(sorted(self._labels.items())),
            "origins": dict(sorted(self._origins.items())),
            "sources": dict(self._sources),
            "dropped": {reason: n for reason, n in self._dropped.items() if reason},
        }


def read_suppressed(path: Path) -> set[str]:
    """Erased ids, one a line.

    Raises:
        SourceUnreachable: The file cannot be read.
    """
    try:
        return set(path.read_text("utf-8").split())
    except (OSError, ValueError) as error:
        raise SourceUnreachable(
            f"{path}: expected a file of erased ids, one a line, but {error}"
        ) from None


def _all_suppressed(settings: Settings, sources: Sequence[Source]) -> set[str]:
    """Erased anywhere is erased everywhere: an older export still holds what a box has let go."""
    erased = {name for source in sources for name in source.suppressed}
    for path in settings.collect.suppressed:
        erased |= read_suppressed(Path(path))
    return erased


def _read_salt(work_dir: Path) -> bytes:
    """Made once for this working directory, and readable by its owner alone."""
    path = work_dir / SALT
    try:
        return path.read_bytes()
    except FileNotFoundError:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(SALT_BYTES))
        return path.read_bytes()
