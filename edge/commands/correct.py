"""`intentd correct`: one text's right label, to the daemon that keeps it for training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.input import STDIN, read_text
from edge.commands.options import with_settings
from edge.commands.output import label_name, write_json, write_line
from edge.settings import Settings

__all__ = ["correct"]


@with_settings("socket", "admin_socket")
def correct(
    settings: Settings,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT] LABEL",
            help="The right label is the last word; a text left out, or -, is read from stdin.",
        ),
    ] = None,
    prediction_id: Annotated[
        str | None,
        typer.Option("--id", help="The id of the answer to correct.", metavar="PREDICTION"),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="None of the labels is right.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="The answer was right; goes with --id.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="The whole file is the text; - is stdin.", metavar="PATH")
    ] = None,
    content: Annotated[
        Path | None, typer.Option(help="What the text was about.", metavar="PATH")
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="The labels that were offered, separated by commas. [default: the intents]",
            metavar="A,B",
        ),
    ] = "",
    source: Annotated[
        str, typer.Option(help="The app in which it happened.", metavar="NAME")
    ] = "intentd correct",
    key: Annotated[
        str | None,
        typer.Option(help="Makes it safe to repeat: the same key is stored once.", metavar="KEY"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a text really asked for.

    It counts at once for the same text, and later as an example for training.
    """
    from edge.client import Client, ConfirmOptions
    from edge.commands.admin import read_counts

    if none and confirm:
        raise typer.BadParameter("expected one of --none and --confirm, found both")
    if confirm and prediction_id is None:
        raise typer.BadParameter("--confirm goes with --id; give the label of a text instead")
    word, label = _text_and_label(words or [], none or confirm)
    if word is not None and file is not None:
        raise typer.BadParameter("expected one of TEXT and --file, found both")
    text = _read(word, file, needed=prediction_id is None)

    options: ConfirmOptions = {
        "text": text,
        "content": read_text(content) if content else None,
        "labels": [name.strip() for name in labels.split(",")] if labels else None,
        "source": source,
        "client_key": key,
    }
    with Client(settings.socket) as client:
        if confirm and prediction_id is not None:
            answer = client.confirm(prediction_id, **options)
        else:
            answer = client.correct(label, prediction_id=prediction_id, **options)
    counts = read_counts(settings)
    if as_json:
        facts = answer.model_dump(mode="json")
        write_json(facts | {"examples": None if counts is None else counts.get(answer.label, 0)})
        return
    write_line(_verdict(answer.kind, answer.label, answer.predicted_label))
    write_line(f"id {answer.id}")
    _write_count(settings, counts, answer.label)


def _text_and_label(words: list[str], is_judged: bool) -> tuple[str | None, str | None]:
    """What was typed as text and as label; `is_judged` says that an option holds the verdict."""
    expected = "expected [TEXT] with --none or --confirm" if is_judged else "expected [TEXT] LABEL"
    words = [*words, ""] if is_judged else words
    if not 1 <= len(words) <= 2:
        found = len(words) - is_judged
        raise typer.BadParameter(f"{expected}, found {found} words; put quotes around the text")
    text = words[0] if len(words) > 1 else None
    return text, None if is_judged else words[-1]


def _read(word: str | None, file: Path | None, needed: bool) -> str | None:
    """The text, from where it is; None if there is none and none is needed."""
    if word not in (None, "-"):
        return word
    if word is None and file is None and not needed:
        return None
    return read_text(file or STDIN)


def _verdict(kind: str, label: str | None, predicted: str | None) -> str:
    if kind == "confirmation":
        return f"confirmed: {label_name(label)}"
    said = "" if predicted is None else f" (the model: {label_name(predicted)})"
    return f"corrected: {label_name(label)}{said}"


def _write_count(
    settings: Settings, counts: dict[str | None, int] | None, label: str | None
) -> None:
    from edge.commands.screen import progress_lines

    if counts is not None:
        write_line(progress_lines(counts, [label], width=80)[0])
        return
    sys.stderr.write(f"note: how many that makes is told by {settings.admin_socket} alone\n")
