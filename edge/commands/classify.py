"""`intentd classify`: texts from anywhere, through the daemon or in this process, to stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.commands.input import STDIN, Item, read_lines, read_rows, read_text
from edge.commands.options import with_settings
from edge.commands.output import (
    answer_row,
    error_fields,
    write_answer,
    write_error,
    write_json,
    write_line,
)
from edge.errors import EXIT_NO, DaemonUnreachable, EdgeError
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need them
    from edge.client import ClassifyOptions, Client
    from edge.local import LocalClassifier
    from edge.wire import ClassifyAnswer

__all__ = ["classify"]


def _path(what: str) -> Any:
    return typer.Option(help=what, metavar="PATH")


def _number(what: str) -> Any:
    return typer.Option(help=what, metavar="NUMBER")


@with_settings("socket", "bundle", "intents", "threads")
def classify(
    settings: Settings,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts; none, or -, reads one from stdin."),
    ] = None,
    file: Annotated[Path | None, _path("The whole file is one text; - is stdin.")] = None,
    lines: Annotated[Path | None, _path("Each line is a text; - is stdin.")] = None,
    jsonl: Annotated[
        Path | None,
        _path(
            'Each line is {"text": …}, perhaps with "content" and with fields that come back with '
            "the answer, as JSON; - is stdin."
        ),
    ] = None,
    content: Annotated[
        Path | None,
        _path("What the text is about; it gets what the text leaves of the window."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="A label to score; repeat it for each. [default: the intents]", metavar="LABEL"
        ),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Labels to score, separated by commas.", metavar="A,B")
    ] = "",
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Score each label by itself.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            help="A sentence with one {} for the label, for NLI bundles. [default: the bundle's]",
            metavar="SENTENCE",
        ),
    ] = None,
    top_k: Annotated[int | None, _number("Show at most so many scores. [default: all]")] = None,
    max_tokens: Annotated[
        int | None, _number("Read at most so many tokens. [default: the window]")
    ] = None,
    latency_budget_ms: Annotated[
        int | None,
        _number("Read no more than fits in so many milliseconds here. [default: the daemon's]"),
    ] = None,
    deadline_ms: Annotated[
        int | None, _number("Give up after so many milliseconds. [default: never]")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Answer in this process; no daemon is needed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
) -> None:
    """Say what texts ask for."""
    if sum(map(bool, (texts, file, lines, jsonl))) > 1:
        raise typer.BadParameter("expected one of TEXT, --file, --lines and --jsonl, found more")
    names = [*(label or []), *(name.strip() for name in labels.split(",") if labels)]
    options: ClassifyOptions = {
        "labels": names or None,
        "multi_label": multi_label,
        "hypothesis_template": template,
        "top_k": top_k,
        "max_tokens": max_tokens,
        "latency_budget_ms": latency_budget_ms,
        "deadline_ms": deadline_ms,
    }
    about = read_text(content) if content else None

    with _classifier(settings, local) as classifier:

        def ask(item: Item) -> ClassifyAnswer:
            own = about if item.content is None else item.content
            return classifier.classify(item.text, content=own, **options)

        if jsonl is None and lines is None and len(texts or []) <= 1:
            text = texts[0] if texts and texts != ["-"] else read_text(file or STDIN)
            _write_one(ask(Item(text)), as_json)
            return
        failures = _answer_many(ask, texts or [], lines, jsonl, as_json, 1 if local else None)
    raise typer.Exit(EXIT_NO if failures else 0)


@contextmanager
def _classifier(settings: Settings, local: bool) -> Iterator[Client | LocalClassifier]:
    if local:
        from edge.local import LocalClassifier

        with LocalClassifier(settings) as here:
            yield here
        return
    from edge.client import Client

    with Client(settings.socket) as client:
        try:
            yield client
        except DaemonUnreachable as error:
            raise DaemonUnreachable(f"{error}; --local answers without a daemon") from error


def _write_one(answer: ClassifyAnswer, as_json: bool) -> None:
    if as_json:
        write_json(answer.model_dump(mode="json"))
    else:
        write_answer(answer)


def _answer_many(
    ask: Callable[[Item], ClassifyAnswer],
    texts: list[str],
    lines: Path | None,
    jsonl: Path | None,
    as_json: bool,
    workers: int | None,
) -> int:
    """Answer rows as they are read; returns how many failed."""
    from edge.commands.stream import DAEMON_WORKERS, answer_all

    source = jsonl or lines
    items = read_rows(jsonl) if jsonl else read_lines(lines) if lines else map(Item, texts)
    show = _write_row if jsonl else _write_object if as_json else _write_text_row
    with _progress(source) as advance:

        def write(item: Item, outcome: ClassifyAnswer | EdgeError) -> None:
            show(item, outcome)
            advance(item.size_bytes)

        return answer_all(items, ask, write, workers or DAEMON_WORKERS)


def _write_row(item: Item, outcome: ClassifyAnswer | EdgeError) -> None:
    """The fields that came with the row, and beside them the answer or the error."""
    if isinstance(outcome, EdgeError):
        write_json({**item.passed_on, **error_fields(outcome)})
    else:
        write_json({**item.passed_on, "answer": outcome.model_dump(mode="json")})


def _write_object(_item: Item, outcome: ClassifyAnswer | EdgeError) -> None:
    if isinstance(outcome, EdgeError):
        write_json(error_fields(outcome))
    else:
        _write_one(outcome, as_json=True)


def _write_text_row(item: Item, outcome: ClassifyAnswer | EdgeError) -> None:
    if isinstance(outcome, EdgeError):
        write_error(str(outcome))
    else:
        write_line(answer_row(item.text, outcome))


@contextmanager
def _progress(source: Path | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if a person looks there and stdout goes elsewhere; yields its `advance`."""
    if source is None or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda size_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[rows]} texts"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
    )
    total = source.stat().st_size if source != STDIN and source.is_file() else None
    console = Console(stderr=True)
    # Rich would take the rows that go to stdout for something to show beside the bar.
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, rows=0, rate=0.0)
        rows = 0

        def advance(size_bytes: int) -> None:
            nonlocal rows
            rows += 1
            elapsed = progress.tasks[0].elapsed or 0.0
            progress.update(task, advance=size_bytes, rows=rows, rate=rows / max(elapsed, 1e-3))

        yield advance
