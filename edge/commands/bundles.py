"""How bundles, changes and comparisons of models read for people. It asks nobody, and prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge.commands.output import printable, write_facts, write_line, write_table

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from edge.wire import (
        BundleDetail,
        BundleFacts,
        ChangeInfo,
        ComparisonReport,
        DiffAnswer,
        ModelsAnswer,
    )

__all__ = [
    "named",
    "report_facts",
    "short",
    "write_bundle",
    "write_bundles",
    "write_changes",
    "written_size",
]

SHORT_CHARS = 12
DAY_AND_MINUTE = 16  # characters of 2026-11-22T21:04
MARKS = {"serving": "●", "probation": "◐", "previous": "↩", "broken": "✗"}
UNITS = ("B", "kB", "MB", "GB")
NOTHING = "–"
LONG_FIELDS = ("manifest", "labels")


def short(digest: str) -> str:
    """As many digits of a digest as people read; commands take them too."""
    return digest[:SHORT_CHARS]


def named(bundle: BundleFacts) -> str:
    """`NAME VERSION (DIGEST)`."""
    name = " ".join(filter(None, (bundle.name, bundle.version))) or "a broken bundle"
    return printable(f"{name} ({short(bundle.digest)})")


def written_size(size: float) -> str:
    """Bytes as `23 MB`, in powers of 1000."""
    for unit in UNITS[:-1]:
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} {UNITS[-1]}"


def write_bundles(answer: ModelsAnswer) -> None:
    """A row for each; what serves is marked."""
    headings = ("", "digest", "name", "version", "labels", "window", "size", "installed")
    write_table(headings, map(_row, answer.models))
    if answer.activation is not None:
        state = answer.activation.state.replace("_", " ")
        write_line(printable(f"last activation: {state}: {answer.activation.detail}"))


def write_bundle(bundle: BundleDetail) -> None:
    """What matters of one, without the list of its files."""
    facts: dict[str, Any] = bundle.model_dump(mode="json", exclude=set(LONG_FIELDS))
    facts["bytes"] = f"{bundle.bytes} ({written_size(bundle.bytes)})"
    facts["labels"] = _labels(bundle, in_full=True)
    for name in ("source", "licence", "created_utc", "threshold"):
        facts[name] = _value((bundle.manifest or {}).get(name))
    write_facts({name: value for name, value in facts.items() if value not in (None, "")})


def write_changes(changes: DiffAnswer) -> None:
    """What clients would notice, worst first."""
    for line in _changes(changes):
        write_line(printable(line))


def report_facts(report: ComparisonReport) -> dict[str, str]:
    """A comparison in a few lines."""
    wanted = f" of {report.wanted}" if report.wanted else ""
    replayed = f", {report.replayed} of them not live" if report.replayed else ""
    facts = {"compared": f"{report.requests}{wanted} texts{replayed}"}
    if report.agreement is not None:
        same = f"{report.agreement:.1%} the same label"
        facts["agreement"] = f"{same}, {report.disagreements} for review"
    for share in ("p50", "p95"):
        old, new = (getattr(report, f"{age}_{share}_ms") for age in ("old", "new"))
        if old is not None and new is not None:
            facts[share] = f"{old:.1f} → {new:.1f} ms"
    facts["errors"] = str(report.new_errors)
    if report.rss_bytes:
        facts["memory"] = written_size(report.rss_bytes)
    return facts


def _row(bundle: BundleFacts) -> tuple[str, ...]:
    mark = MARKS.get(bundle.state, " ")
    installed = (bundle.installed_utc or "")[:DAY_AND_MINUTE].replace("T", " ")
    return (
        f"{mark} {bundle.state}",
        short(bundle.digest),
        printable(bundle.name or NOTHING),
        printable(bundle.version or NOTHING),
        _labels(bundle),
        str(bundle.max_tokens or NOTHING),
        written_size(bundle.bytes),
        installed or bundle.origin,
    )


def _labels(bundle: BundleFacts, in_full: bool = False) -> str:
    if bundle.labels is None:
        return "any" if bundle.name else NOTHING
    return ", ".join(bundle.labels) if in_full else f"{len(bundle.labels)} fixed"


def _changes(changes: DiffAnswer) -> Iterator[str]:
    if changes.fixes_labels:
        yield "breaks: requests with labels or a template of their own will be refused"
    if changes.labels_vanished:
        yield f"breaks: labels that vanish: {', '.join(changes.labels_vanished)}"
    if changes.labels_added:
        yield f"labels that are new: {', '.join(changes.labels_added)}"
    if changes.frees_labels:
        yield "requests may bring labels of their own"
    for change in changes.changes:
        yield f"{change.name}: {_plain(change, 'old')} → {_plain(change, 'new')}"
    if not (changes.breaks_clients or changes.labels_added or changes.changes):
        yield "clients notice nothing but other scores"


def _plain(change: ChangeInfo, age: str) -> str:
    value = getattr(change, age)
    return NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> Any:
    return " ".join(map(str, value.values())) if isinstance(value, dict) else value
