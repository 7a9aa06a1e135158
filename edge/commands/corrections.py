"""`intentd corrections`: what was corrected, for administrators: look, take away a copy, erase.

A text to erase is read from stdin, never from the command line, which other users can see.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from edge.commands.consent import consents
from edge.commands.input import STDIN, read_text
from edge.commands.options import with_settings
from edge.commands.output import (
    label_name,
    printable,
    shortened,
    write_facts,
    write_json,
    write_line,
)
from edge.errors import EXIT_NO, InvalidValue, NotFound
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.wire import CorrectionDetail

__all__ = ["corrections_app"]

FILE_MODE = 0o600
CONSENT = "erase"
LIST_LIMIT = 20
TEXT_CHARS = 48
DAY_AND_MINUTE = 16  # characters of 2026-11-22T21:04

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Label = Annotated[
    str | None, typer.Option("--label", help="Only those with this label.", metavar="LABEL")
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", help="Only correction, or only confirmation.", metavar="WORD"),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the correction.")]

corrections_app = typer.Typer(
    help="Look at corrections, copy them, erase them.",
    epilog="Example: intentd corrections list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@corrections_app.command("list", epilog="Example: intentd corrections list --label EXTRACT")
@with_settings("socket", "admin_socket")
def list_corrections(
    settings: Settings,
    limit: Annotated[
        int, typer.Option(help="The newest so many; 0 means all.", metavar="NUMBER", min=0)
    ] = LIST_LIMIT,
    label: Label = None,
    kind: Kind = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List corrections and confirmations, oldest first."""
    from edge.commands.admin import admin_client, corrections

    with admin_client(settings) as client:
        found: Iterable[CorrectionDetail] = corrections(client, label=label, kind=kind)
        for row in deque(found, limit) if limit else found:
            write_json(row.model_dump(mode="json")) if as_json else write_line(_row(row))


@corrections_app.command(epilog="Example: intentd corrections show 01970000-0000-7000-8000-0000")
@with_settings("socket", "admin_socket")
def show(settings: Settings, correction_id: Id, as_json: Json = False) -> None:
    """Show one correction with its text, and how far it has come.

    Of an erased one only the fate is left.
    """
    from edge.client import Client
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        try:
            facts = client.correction(correction_id).model_dump(mode="json")
        except NotFound:
            with Client(settings.socket) as api:
                facts = api.correction(correction_id).model_dump(mode="json")
    (write_json if as_json else _write_facts)(facts)


@corrections_app.command(epilog="Example: intentd corrections export --output corrections.jsonl")
@with_settings("socket", "admin_socket")
def export(
    settings: Settings,
    output: Annotated[
        Path,
        typer.Option(help="The file to write, readable by you alone; - is stdout.", metavar="PATH"),
    ] = STDIN,
    label: Label = None,
    kind: Kind = None,
) -> None:
    """Write every correction with its text, as JSON Lines."""
    from edge.commands.admin import admin_client, corrections

    rows = 0
    with admin_client(settings) as client, _written_whole(output) as stream:
        for row in corrections(client, label=label, kind=kind):
            stream.write(row.model_dump_json() + "\n")
            rows += 1
    if output != STDIN:
        sys.stderr.write(f"{rows} corrections in {output}\n")


@corrections_app.command(epilog="Example: intentd corrections erase --text < letter.txt")
@with_settings("socket", "admin_socket")
def erase(
    settings: Settings,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The ids of the corrections.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Erase what holds the text that stdin brings.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase for good, here and upstream.

    That is the correction, its prediction, and every copy. Exits 1 if an id was not there.
    """
    from edge.commands.admin import admin_client

    if text == bool(ids):
        raise typer.BadParameter("expected either IDs or --text; the text comes from stdin")
    wanted = read_text(STDIN) if text else ""
    what = "everything that holds this text" if text else _counted(len(ids or []))
    if not yes and not consents(f"Erase {what} for good, here and upstream?", CONSENT):
        sys.stderr.write("nothing was erased\n")
        raise typer.Exit(EXIT_NO)
    with admin_client(settings) as client:
        erased = client.erase_text(wanted) if text else _erase_each(client.erase, ids or [])
    also = ", and every prediction with this text" if text else ""
    if as_json:
        write_json({"erased": erased})
    else:
        write_line(f"erased: {_counted(len(erased))}{also}")
    raise typer.Exit(EXIT_NO if len(erased) < len(set(ids or [])) else 0)


def _erase_each(erase_one: Any, ids: list[str]) -> list[str]:
    """Erase all that there are; an unknown id does not save the others."""
    erased: list[str] = []
    missing: list[NotFound] = []
    for correction_id in ids:
        try:
            erased += erase_one(correction_id)
        except NotFound as error:
            missing.append(error)
    for problem in missing:
        sys.stderr.write(f"error: {problem}\n")
    return erased


def _counted(number: int) -> str:
    return f"{number} correction{'' if number == 1 else 's'}"


@contextmanager
def _written_whole(path: Path) -> Iterator[TextIO]:
    """Stdout, or a private file that appears under its name only when all of it is written."""
    if path == STDIN:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise InvalidValue(f"{path}: expected a place to write, found: {error.strerror}") from error
    try:
        with os.fdopen(number, "w", encoding="utf-8") as stream:
            os.fchmod(number, FILE_MODE)
            yield stream
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _row(row: CorrectionDetail) -> str:
    when = row.created_utc[:DAY_AND_MINUTE].replace("T", " ")
    change = label_name(row.label)
    if row.kind == "correction" and row.predicted_label is not None:
        change = f"{label_name(row.predicted_label)} → {change}"
    text = shortened(printable(row.text), TEXT_CHARS)
    return f"{row.id}  {when}  {row.state:<8}  {change:<26}  {text}"


def _write_facts(facts: dict[str, Any]) -> None:
    write_facts({name: value for name, value in facts.items() if value is not None})
