"""What a run leaves: results as JSON, a Markdown table, a plot; and a page's marked region anew."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Finding, Reach, Spread, Verdict

__all__ = ["RESULTS", "Record", "draw", "markdown", "merge", "read", "replace_region", "write"]

RESULTS = "results.json"
BEGIN, END = "<!-- measured: {} -->", "<!-- end -->"
HEAD = "| work | intentd | against | figure | reach | |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it was measured, and under which circumstances."""

    name: str
    findings: tuple[Finding, ...]
    machine: str
    command: str
    load: float
    """The machine's load average when the row began."""
    seconds: float
    is_quick: bool = False
    missing: str = ""
    """Why it could not be measured."""


def write(directory: Path, records: Sequence[Record]) -> list[Record]:
    """Put these records among those of earlier runs, and write all three forms.

    Returns:
        All records, newer ones in the place of older ones.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / RESULTS
    everything = merge(read(path), records)
    path.write_text(json.dumps([asdict(each) for each in everything], indent=1) + "\n", "utf-8")
    (directory / "results.md").write_text(markdown(everything) + "\n", "utf-8")
    draw(everything, directory / "results.svg")
    return everything


def read(path: Path) -> list[Record]:
    """The records of earlier runs; none where there was none."""
    if not path.is_file():
        return []
    return [_record(row) for row in json.loads(path.read_text("utf-8"))]


def _record(row: Mapping[str, Any]) -> Record:
    findings = tuple(
        Finding(
            **{
                **found,
                "figure": Spread(**found["figure"]),
                "reach": found["reach"] and Reach(**found["reach"]),
            }
        )
        for found in row["findings"]
    )
    return Record(**{**row, "findings": findings})


def merge(old: Sequence[Record], new: Sequence[Record]) -> list[Record]:
    """Each row once: the newer one, in the older one's place."""
    rows = {record.name: record for record in old}
    for record in new:
        if not record.missing or record.name not in rows:
            rows[record.name] = record
    return list(rows.values())


def markdown(records: Sequence[Record]) -> str:
    """The table, under what was measured with."""
    measured = [record for record in records if record.findings]
    machines = dict.fromkeys(record.machine for record in measured)
    lines = [*(f"{machine}." for machine in machines), "", HEAD]
    lines += [line for record in measured for line in map(_line(record), record.findings)]
    missing = [f"- not measured: {each.name} ({each.missing})" for each in records if each.missing]
    return "\n".join([*lines, *([""] if missing else []), *missing])


def _line(record: Record) -> Any:
    def line(found: Finding) -> str:
        reach = found.reach
        bound = "" if reach is None else reach.quick if record.is_quick else reach.bound
        said = "" if reach is None or bound is None else f"{reach.sign} {_number(bound, '')}"
        verdict = found.verdict(is_quick=record.is_quick)
        shown = f"**{verdict}**" if verdict is Verdict.MISSED else str(verdict)
        cells = (found.what, found.ours, found.against, _figure(found), said, shown)
        return f"| {' | '.join(cells)} |"

    return line


def _figure(found: Finding) -> str:
    spread, unit = found.figure, found.unit
    middle = _number(spread.median, unit)
    if spread.low == spread.high:
        return middle
    return f"{middle} ({_number(spread.low, '')}–{_number(spread.high, '')})"


def _number(value: float | str, unit: str) -> str:
    if isinstance(value, str):
        return value
    digits = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
    return digits if not unit else f"{digits}{unit}" if unit == "×" else f"{digits} {unit}"


def replace_region(page: str, name: str, text: str) -> str:
    """The page with other text between its marks.

    Raises:
        ValueError: The page has no such marks.
    """
    begin = BEGIN.format(name)
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(END)})", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"expected a region between {begin} and {END}, found none")
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page, count=1)


def draw(records: Sequence[Record], path: Path) -> None:
    """Every figure that is a ratio with a reach: a bar with its spread, and the reach as a mark."""
    found = [
        finding
        for record in records
        for finding in record.findings
        if finding.unit == "×" and finding.reach is not None
    ]
    if not found:
        return
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    height = 0.42 * len(found) + 1
    figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
    for place, finding in enumerate(reversed(found)):
        spread = finding.figure
        is_met = finding.verdict() is Verdict.MET
        colour = "#4c78a8" if is_met else "#e45756"
        axes.barh(place, spread.median - 1, left=1, color=colour, height=0.6)
        axes.plot([spread.low, spread.high], [place, place], color="black", linewidth=1)
        assert finding.reach is not None
        axes.plot(finding.reach.bound, place, marker="|", color="black", markersize=14)
    axes.set_yticks(range(len(found)), [_label(each) for each in reversed(found)], fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("ratio, from 1 on; line: its rounds; mark: what it is to reach (red: missed)")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _label(finding: Finding) -> str:
    other = finding.against.split(":")[0]
    sign = finding.reach.sign if finding.reach else ""
    return f"{finding.what}{f' / {other}' if other else ''} ({sign})"
