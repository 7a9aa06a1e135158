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
    "NONE_OF_THESE",
    "answer_row",
    "bar",
    "error_fields",
    "label_name",
    "printable",
    "shortened",
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
NONE_OF_THESE = "none of these"
"""How a null label reads."""
EIGHTHS = " ▏▎▍▌▋▊▉"


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
    write_line(_verdict(answer))
    rows = [
        (printable(score.label), f"{score.score:.3f}", bar(score.score, BAR_WIDTH))
        for score in answer.scores
    ]
    write_table(("label", "score", ""), rows)
    cut = ", the rest was not read" if answer.tokens.truncated else ""
    write_line(f"{answer.model.name}: {answer.tokens.used} tokens{cut}, {_cost(answer)}")


def _cost(answer: ClassifyAnswer) -> str:
    if answer.cached:
        return "asked before"
    return f"{answer.timings.tokenize_ms + answer.timings.infer_ms:.1f} ms"


def _verdict(answer: ClassifyAnswer) -> str:
    if answer.reason == "corrected":
        return f"{label_name(answer.label)} (corrected; the model: {printable(answer.raw_label)})"
    said = answer.label or f"none (nearest: {answer.raw_label}, below its threshold)"
    return printable(said)


def answer_row(text: str, outcome: ClassifyAnswer | EdgeError) -> str:
    """One of many answers, on one line."""
    shown = shortened(printable(text), ROW_TEXT_CHARS)
    if isinstance(outcome, EdgeError):
        return f"error: {outcome}"
    best = next((s.score for s in outcome.scores), 0.0)
    label = printable(outcome.label or NOTHING)
    return f"{label:<{ROW_LABEL_WIDTH}} {best:.3f} {bar(best, ROW_BAR_WIDTH)}  {shown}"


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


def label_name(label: str | None) -> str:
    """A label as people read it."""
    return NONE_OF_THESE if label is None else printable(label)


def shortened(text: str, chars: int) -> str:
    """The text's head, with an ellipsis where something was cut."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def bar(share: float, width: int) -> str:
    """A bar for a share in [0, 1], padded to its width; whatever is above 0 shows."""
    eighths = round(min(share, 1.0) * width * 8)
    full, part = divmod(max(eighths, share > 0), 8)
    return ("█" * full + EIGHTHS[part].strip()).ljust(width)
