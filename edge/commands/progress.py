"""How long work comes along, on stderr: bars and a line that changes, for a person who watches.

Without a terminal there is no bar, and a line is written only for something new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar", "status_line"]


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar of bytes until the end of the block; called with those done, and those in all."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    rates = (TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    with Progress(*columns, *rates, console=console, transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def status_line() -> Iterator[Callable[[str, str], None]]:
    """A line until the end of the block; called with the state's name, and with all of the line.

    Without a terminal the line is written once for each state.
    """
    if not sys.stderr.isatty():
        yield _line_writer()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    with console.status("") as shown:
        yield lambda state, line: shown.update(Text(line, no_wrap=True, overflow="ellipsis"))


def _line_writer() -> Callable[[str, str], None]:
    written: list[str] = []

    def write(state: str, line: str) -> None:
        if state not in written[-1:]:
            written.append(state)
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    return write
