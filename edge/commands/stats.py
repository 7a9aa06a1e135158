"""`intentd stats`: what has been collected, and how often the model was right, as bars."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.commands.options import with_settings
from edge.commands.output import bar, write_facts, write_json, write_line
from edge.errors import EdgeError
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.wire import StatsAnswer

__all__ = ["stats"]

BAR_WIDTH = 24
WIDTH = 80


@with_settings("socket", "admin_socket")
def stats(
    settings: Settings,
    days: Annotated[
        int, typer.Option(help="Show the last so many days with answers.", metavar="NUMBER", min=1)
    ] = 14,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what was collected, and how often the model was right."""
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        answer = client.stats()
    if as_json:
        write_json(answer.model_dump(mode="json"))
        return
    _write_examples(settings, answer)
    _write_agreement(answer, days)
    write_facts(_store_facts(answer))


def _write_examples(settings: Settings, answer: StatsAnswer) -> None:
    from edge.commands.screen import progress_lines

    counts = {row.label: row.corrections + row.confirmations for row in answer.per_label}
    offered = _intents(settings)
    labels = [*offered, *(label for label in counts if label not in offered)]
    for line in progress_lines(counts, labels, WIDTH):
        write_line(line)
    write_line("")


def _intents(settings: Settings) -> list[str | None]:
    """The labels that the daemon scores by default: those without an example count too."""
    from edge.client import Client

    with suppress(EdgeError), Client(settings.socket) as client:
        return [intent.name for intent in client.intents().intents]
    return []


def _write_agreement(answer: StatsAnswer, days: int) -> None:
    shown = [day for day in answer.agreement if day.total][-days:]
    if not shown:
        return
    write_line("the model was right, by day (UTC)")
    digits = max(len(str(day.total)) for day in shown)
    for day in shown:
        share = day.agreed / day.total
        line = f"{day.day}  {share:4.0%} of {day.total:>{digits}}  {bar(share, BAR_WIDTH)}"
        write_line(line.rstrip())
    write_line("")


def _store_facts(answer: StatsAnswer) -> dict[str, Any]:
    store = answer.store
    facts: dict[str, Any] = {
        "examples": answer.total,
        "waiting for sync": answer.outbox,
        "refused upstream": answer.dead,
        "predictions not kept": answer.predictions_dropped,
        "store": store.detail or ("well" if store.ok else "not well"),
    }
    if store.free_bytes is not None:
        facts["free disk, MiB"] = store.free_bytes // 2**20
    if store.quarantined:
        facts["damaged file set aside"] = f"{store.quarantined}, {store.salvaged} saved from it"
    return facts
