"""What the command line prints: JSON for programs, and tables with bars for people.

Without a terminal there are no colours. What a user wrote is shown as plain characters, never as
markup or as control sequences.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edge.errors import EdgeError

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from edge.wire import ClassifyAnswer

__all__ = [
    "answer_row",
    "error_fields",
    "printable",
    "write_answer",
    "write_error",
    "write_facts",
    "write_json",
    "write_line",
    "write_table",
]

BAR_WIDTH = 24
ROW_BAR_WIDTH = 10
ROW_LABEL_WIDTH = 14
ROW_TEXT_CHARS = 48
NOTHING = "–"
PIPE_WIDTH = 10_000


def write_line(line: str) -> None:
    """One line on stdout, at once: whoever reads the pipe waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """One line of JSON, in UTF-8 and not in escapes."""
    write_line(json.dumps(value, ensure_ascii=False))


def write_error(message: str) -> None:
    """A message for the person who typed the command."""
    sys.stderr.write(f"error: {message}\n")


def write_answer(answer: ClassifyAnswer) -> None:
    """One answer in full: a line that says it, and a bar for each label."""
    said = answer.label or f"none (nearest: {answer.raw_label}, below its threshold)"
    write_line(printable(said))
    rows = [
        (printable(score.label), f"{score.score:.3f}", _bar(score.score, BAR_WIDTH))
        for score in answer.scores
    ]
    write_table(("label", "score", ""), rows)
    cut = ", the rest was not read" if answer.tokens.truncated else ""
    milliseconds = answer.timings.tokenize_ms + answer.timings.infer_ms
    write_line(f"{answer.model.name}: {answer.tokens.used} tokens{cut}, {milliseconds:.1f} ms")


def answer_row(text: str, outcome: ClassifyAnswer | EdgeError) -> str:
    """One of many answers, on one line."""
    shown = _shortened(printable(text))
    if isinstance(outcome, EdgeError):
        return f"error: {outcome}"
    best = next((s.score for s in outcome.scores), 0.0)
    label = printable(outcome.label or NOTHING)
    return f"{label:<{ROW_LABEL_WIDTH}} {best:.3f} {_bar(best, ROW_BAR_WIDTH)}  {shown}"


def error_fields(error: EdgeError) -> dict[str, Any]:
    """An error as one row's outcome."""
    return {"error": {"code": error.code, "detail": str(error)}}


def write_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table, as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in it are no markup
    # In a pipe a row stays on its line, however long: whoever greps wants it whole.
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        write_line(line.rstrip())


def write_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, aligned."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        write_line(f"{name:<{width}}  {printable(str(value))}")


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def _shortened(text: str) -> str:
    return text if len(text) <= ROW_TEXT_CHARS else text[: ROW_TEXT_CHARS - 1] + "…"


def _bar(score: float, width: int) -> str:
    return ("█" * round(score * width)).ljust(width)
