"""The card of a data set: what is in it, from where, what was done to it. It decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from training.rows import Row

__all__ = ["NO_LABEL", "class_table", "write_card"]

NO_LABEL = "(none of these)"


def write_card(path: Path, counts: Mapping[str, Any], parts: Sequence[Sequence[Row]]) -> None:
    """Write CARD.md.

    Args:
        path: The file.
        counts: Of the build's manifest.
        parts: Train, dev and calibration.
    """
    path.write_text("\n".join(_lines(counts, parts)) + "\n", "utf-8")


def class_table(rows: Sequence[Row], labels: Sequence[str | None]) -> Iterator[str]:
    """A Markdown table: per label the real roots, the made rows, and how long the texts are."""
    yield "| label | real roots | real rows | augmented | words, median | words, longest |"
    yield "|---|---:|---:|---:|---:|---:|"
    for label in labels:
        mine = [row for row in rows if row.label == label]
        real = [row for row in mine if row.is_real]
        words = sorted(len(row.text.split()) for row in mine) or [0]
        cells = (len({row.root for row in real}), len(real), len(mine) - len(real))
        numbers = " | ".join(map(str, (*cells, f"{median(words):g}", words[-1])))
        yield f"| {label or NO_LABEL} | {numbers} |"


def _lines(counts: Mapping[str, Any], parts: Sequence[Sequence[Row]]) -> Iterator[str]:
    rows = [row for part in parts for row in part]
    present = {row.label for row in rows}
    labels = [*counts["labels"], *([None] if None in present else [])]
    yield "# Data set\n"
    yield f"{len(rows)} rows: " + ", ".join(
        f"{counts[n]} {n}" for n in ("train", "dev", "calibration")
    )
    yield "\n## Classes\n"
    yield from class_table(rows, labels)
    yield "\n## Sources\n"
    yield from _count_table("origin", Counter(row.origin for row in rows))
    sources = Counter(row.source or "(not stated)" for row in rows)
    yield f"\n{len(sources)} sources; the largest gave {max(sources.values(), default=0)} rows."
    yield "\n## What was done\n"
    yield f"- {counts['merged']} rows merged that said the same of the same text"
    yield f"- {counts['conflicts']} texts with two labels, decided by rule (conflicts.jsonl)"
    yield f"- {counts['near_duplicates']} near duplicates left out"
    yield f"- {counts['suspects']} probable label errors to look at (suspects.jsonl), none removed"
    yield from (f"- {n} rows left out: {reason}" for reason, n in counts["dropped"].items())
    yield from _guard_lines(counts)
    yield "\n## Bias of the feedback\n"
    bias = counts["bias"]
    yield f"{bias['wrong']} corrections, {bias['right']} confirmations, {bias['audited']} audited: "
    yield f"{bias['note']}. A correction weighs {bias['weight_wrong']:g}, a confirmation "
    yield f"{bias['weight_right']:g}."


def _guard_lines(counts: Mapping[str, Any]) -> Iterator[str]:
    if counts["golden"]:
        yield (
            f"- compared with {counts['golden']} golden rows by lineage, text and meaning: "
            f"{counts['leaks_dropped']} rows left out (leaks.jsonl)"
        )
    else:
        yield "- **no golden set is frozen**: nothing was checked for leakage"


def _count_table(name: str, counts: Counter[Any]) -> Iterator[str]:
    yield f"| {name} | rows |"
    yield "|---|---:|"
    yield from (f"| {value} | {n} |" for value, n in counts.most_common())
