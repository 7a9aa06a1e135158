"""The golden set: what every model is judged by. Curated, judged twice, frozen under its hash.

It is never trained on; `training.leaks` sees to that. It never changes once frozen: a new version
is a new file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from training.collect import SUPPRESSED, read_suppressed
from training.errors import DataRefused, InvalidRows
from training.fold import fold
from training.golden_log import Candidate, GoldenLog, Standing
from training.proof import needed_right, rows_for_perfect, rows_to_prove
from training.rows import Origin, Row, new_file, write_rows
from training.settings import GoldenSettings
from training.stage import MANIFEST, read_manifest, require, sha256_of

__all__ = [
    "Status",
    "freeze",
    "new_row",
    "open_log",
    "read_frozen",
    "read_status",
    "stratify",
    "to_review",
]

LOG = "log.jsonl"
SCHEMA_VERSION = 1
ASSUMED_ACCURACIES = (0.92, 0.95, 0.98)
MIN_CLASSES = 2
ID_CHARS = 16


@dataclass(frozen=True, slots=True)
class Status:
    """Where the golden set stands."""

    candidates: int
    standings: dict[str, int]
    per_label: dict[str | None, int]
    """Agreed rows; None stands for "none of the labels"."""
    version: int
    """Of the last frozen set; 0 before the first."""
    frozen_rows: int
    gate: float
    needed_right: int | None
    """Of the agreed in-scope rows, to prove the gate; None: not even all of them would."""
    rows_for_perfect: int
    rows_to_prove: dict[float, int | None]
    """True accuracy → rows that prove it to be above the gate."""

    @property
    def in_scope(self) -> int:
        """Agreed rows that have a label."""
        return sum(n for label, n in self.per_label.items() if label is not None)


def open_log(work_dir: Path) -> GoldenLog:
    """The golden set in the making."""
    return GoldenLog(work_dir / "golden" / LOG)


def new_row(text: str, content: str | None, source: str) -> Row:
    """A candidate that a person typed; its id is its text's."""
    digest = hashlib.sha256(fold(text, content).encode()).hexdigest()[:ID_CHARS]
    return Row(
        id=f"golden:{digest}",
        text=text,
        content=content,
        label=None,
        origin=Origin.GOLDEN,
        source=source,
    )


def stratify(rows: Iterable[Row], per_class: int, seed: int) -> list[Row]:
    """At most so many rows of each label, drawn by a hash of their ids; 0 takes all.

    Out of scope is a class too.
    """
    drawn = sorted(rows, key=lambda r: hashlib.sha256(f"{seed}\x1f{r.id}".encode()).digest())
    taken: Counter[str | None] = Counter()
    kept = []
    for row in drawn:
        taken[row.label] += 1
        if per_class == 0 or taken[row.label] <= per_class:
            kept.append(row)
    return kept


def to_review(log: GoldenLog, who: str, *, second_pass: bool = False) -> list[Candidate]:
    """What this person is to judge next: disputes first, then what was judged once.

    Args:
        log: All candidates.
        who: One person does not judge a row twice, unless
        second_pass: the two passes are to be one person's.
    """
    most = 2 if second_pass else 1
    order = (Standing.DISPUTED, Standing.ONCE, Standing.NEW)
    open_ = [
        candidate
        for candidate in log.candidates.values()
        if candidate.standing is not Standing.AGREED
        and (candidate.passes_of(who) < most or _is_split(candidate, who))
    ]
    # By a hash: neighbours in a file are often of one label, which is a hint.
    mixed = sorted(open_, key=lambda c: hashlib.sha256(f"{who}\x1f{c.row.id}".encode()).digest())
    return sorted(mixed, key=lambda c: order.index(c.standing))


def read_status(work_dir: Path, settings: GoldenSettings) -> Status:
    """Count, and say what the size can prove."""
    log = open_log(work_dir)
    agreed = [c for c in log.candidates.values() if c.standing is Standing.AGREED]
    version, frozen = _last_frozen(work_dir / "golden")
    per_label = Counter(c.label for c in agreed)
    in_scope = sum(n for label, n in per_label.items() if label is not None)
    return Status(
        candidates=len(log.candidates),
        standings=dict(Counter(str(c.standing) for c in log.candidates.values())),
        per_label=dict(
            sorted(per_label.items(), key=lambda item: (item[0] is None, item[0] or ""))
        ),
        version=version,
        frozen_rows=frozen,
        gate=settings.gate,
        needed_right=needed_right(in_scope, settings.gate),
        rows_for_perfect=rows_for_perfect(settings.gate),
        rows_to_prove={a: rows_to_prove(a, settings.gate) for a in ASSUMED_ACCURACIES},
    )


def freeze(work_dir: Path, settings: GoldenSettings) -> tuple[Path, bool]:
    """Write the agreed rows as the next version; returns the file, and whether it is new.

    Raises:
        DataRefused: Too few rows, or too few of a class, are agreed upon.
    """
    folder = work_dir / "golden"
    rows = _agreed(work_dir)
    _check(rows, settings)
    version, _ = _last_frozen(folder)
    path = folder / f"golden-{version + 1}.jsonl"
    write_rows(path, rows)
    before = read_frozen(work_dir)
    if before is not None and sha256_of(before) == sha256_of(path):
        path.unlink()
        return before, False
    path.chmod(0o400)
    _write_manifest(folder, path, version + 1, rows, settings)
    return path, True


def read_frozen(work_dir: Path) -> Path | None:
    """The newest frozen set, unchanged since; None before the first.

    Raises:
        StageMissing: It was changed by hand.
    """
    version, _ = _last_frozen(work_dir / "golden")
    return require(work_dir / "golden", f"golden-{version}.jsonl") if version else None


def _is_split(candidate: Candidate, who: str) -> bool:
    """One person contradicted themself in two passes: a third decides."""
    return candidate.standing is Standing.DISPUTED and candidate.passes_of(who) == len(
        candidate.judgements
    )


def _agreed(work_dir: Path) -> list[Row]:
    suppressed = work_dir / "collect" / SUPPRESSED
    erased = read_suppressed(suppressed) if suppressed.exists() else set()
    return [
        c.row.model_copy(update={"label": c.label})
        for _, c in sorted(open_log(work_dir).candidates.items())
        if c.standing is Standing.AGREED and not {c.row.id, c.row.root} & erased
    ]


def _check(rows: Sequence[Row], settings: GoldenSettings) -> None:
    per_label = Counter(row.label for row in rows if row.label is not None)
    if len(per_label) < MIN_CLASSES:
        raise DataRefused(
            f"golden: expected agreed rows of at least {MIN_CLASSES} labels, found "
            f"{len(per_label)}; add rows, and have each judged twice with `intentd-train golden "
            "review`"
        )
    thin = {label: n for label, n in per_label.items() if n < settings.min_per_class}
    if thin:
        found = ", ".join(f"{label} {n}" for label, n in sorted(thin.items()))
        raise DataRefused(
            f"golden: expected at least {settings.min_per_class} agreed rows of every label, found "
            f"{found}; judge more, or lower golden.min_per_class"
        )


def _last_frozen(folder: Path) -> tuple[int, int]:
    if not (folder / MANIFEST).exists():
        return 0, 0
    manifest = read_manifest(folder)
    try:
        return int(manifest["counts"]["version"]), int(manifest["counts"]["rows"])
    except (KeyError, TypeError, ValueError):
        raise InvalidRows(
            f"{folder / MANIFEST}: expected a version and a number of rows; restore the file"
        ) from None


def _write_manifest(
    folder: Path, path: Path, version: int, rows: Sequence[Row], settings: GoldenSettings
) -> None:
    """Last, so that a file without it is no version."""
    outputs = read_manifest(folder)["outputs"] if version > 1 else {}
    per_label = Counter(row.label or "(none of these)" for row in rows)
    manifest: dict[str, Any] = {
        "stage": "golden",
        "schema_version": SCHEMA_VERSION,
        "inputs": {LOG: sha256_of(folder / LOG)},
        "config": {"min_per_class": settings.min_per_class},
        "outputs": outputs | {path.name: sha256_of(path)},
        "created_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 0,
        "counts": {
            "version": version,
            "rows": len(rows),
            "labels": dict(sorted(per_label.items())),
        },
        "versions": {"intentd": metadata.version("intentd")},
    }
    with new_file(folder / MANIFEST) as stream:
        stream.write(json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")
