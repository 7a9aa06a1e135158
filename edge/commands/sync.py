"""`intentd sync`: send corrections upstream, or show what would be sent.

Messages never hold a text or the token; `--preview` prints what would leave, on stdout.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.options import ConfigOption
from edge.commands.output import write_error, write_facts, write_json, write_line, write_table
from edge.errors import EXIT_NO, DaemonUnreachable, InvalidValue, Unavailable
from edge.settings import Settings, find_admin_socket, load_settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.client import AdminClient
    from edge.sync.batch import Batch
    from edge.sync.engine import Tally
    from edge.sync.settings import SyncSettings
    from edge.sync.state import SyncState

__all__ = ["sync"]

DEAD_LIMIT = 1000
PREVIEW_RECORDS = 500

Flag = typer.Option


def sync(
    every: Annotated[
        str | None, Flag(help="Do not end; send this often (15m, 6h).", metavar="INTERVAL")
    ] = None,
    preview: Annotated[
        bool, Flag("--preview", help="Print the bytes that would leave; send nothing.")
    ] = False,
    dry_run: Annotated[
        bool, Flag("--dry-run", help="Say how much would go where; send nothing.")
    ] = False,
    dead: Annotated[bool, Flag("--dead", help="List what upstream refused, and why.")] = False,
    redrive: Annotated[
        bool, Flag("--redrive", help="Send again what upstream refused before.")
    ] = False,
    upstream: Annotated[
        str | None, Flag(help="A collector's URL, or a directory.", metavar="URL")
    ] = None,
    tier: Annotated[
        str | None, Flag(help="How much leaves: redacted, labels or counts.", metavar="WORD")
    ] = None,
    admin_socket: Annotated[
        Path | None, Flag(help="The daemon's admin socket.", metavar="PATH")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, Flag("--json", help="Print JSON.")] = False,
) -> None:
    """Send corrections upstream. Off until an upstream is configured.

    Exits 0 when all is delivered, 1 when something is left for the next run, 3 when sync is off, 4
    if the daemon does not answer, 5 if upstream does not let this device in.
    """
    from edge.commands.admin import admin_client
    from edge.sync.schedule import parse_interval

    if sum((preview, dry_run, dead, redrive, every is not None)) > 1:
        raise InvalidValue(
            "expected one of --every, --preview, --dry-run, --dead and --redrive, found several"
        )
    interval_s = parse_interval(every) if every is not None else None
    settings = _daemon_settings(config, admin_socket)
    chosen = _sync_settings(config, upstream, tier)
    with admin_client(settings) as client:
        if dead:
            _list_dead(client, as_json)
        elif preview:
            _preview(client, chosen, _state(settings))
        elif dry_run:
            _dry_run(client, chosen, _state(settings), as_json)
        elif interval_s is not None:
            _send_for_ever(client, chosen, _state(settings), interval_s)
        else:
            _send(client, chosen, _state(settings), redrive, as_json)


def _daemon_settings(config: Path | None, admin_socket: Path | None) -> Settings:
    settings, origins = load_settings(config, {"admin_socket": admin_socket})
    if origins["admin_socket"] == origins["socket"] == "default":
        return replace(settings, admin_socket=find_admin_socket())
    return settings


def _sync_settings(config: Path | None, upstream: str | None, tier: str | None) -> SyncSettings:
    from edge.sync.settings import Tier, load_sync_settings

    if tier is not None and tier not in tuple(Tier):
        raise InvalidValue(f"--tier: expected one of {', '.join(Tier)}, found {tier!r}")
    return load_sync_settings(config, upstream, None if tier is None else Tier(tier))


def _state(settings: Settings) -> SyncState:
    from edge.sync.state import SyncState

    return SyncState(settings.state_dir / "sync")


def _send(
    client: AdminClient, chosen: SyncSettings, state: SyncState, redrive: bool, as_json: bool
) -> None:
    """One run; ends the command."""
    from edge.sync.settings import Tier

    tally = _run(client, chosen, state, redrive)
    if as_json:
        write_json(asdict(tally))
    else:
        write_line(_describe(chosen, tally))
    left = tally.remaining > 0 and chosen.tier is not Tier.COUNTS
    raise typer.Exit(EXIT_NO if left else 0)


def _run(
    client: AdminClient, chosen: SyncSettings, state: SyncState, redrive: bool = False
) -> Tally:
    """Send all there is; remembers it if upstream asks to be left alone."""
    from edge.sync.assemble import make_preparer, open_target
    from edge.sync.engine import Run

    with closing(open_target(chosen)) as target, state.locked():
        if (wait_s := state.quiet_s()) > 0:
            raise Unavailable(
                f"upstream asked to be left alone for another {wait_s:.0f} s; nothing was sent"
            )
        if redrive:
            client.redrive()
        preparer = make_preparer(chosen, state)
        try:
            return Run(client, target, preparer, chosen.batch_records).run()
        except Unavailable as error:
            if error.retry_after_s > Unavailable.retry_after_s:  # it asked for that itself
                state.keep_quiet(error.retry_after_s)
            raise


def _send_for_ever(
    client: AdminClient, chosen: SyncSettings, state: SyncState, interval_s: float
) -> None:
    """Run at this box's turn of each interval; what fails now is tried at the next turn."""
    from edge.sync.assemble import open_target
    from edge.sync.schedule import seconds_to_next, splay

    open_target(chosen).close()  # what cannot work is said now, not at the first turn
    offset_s = splay(client.cursor().device_id, interval_s)
    while True:
        time.sleep(seconds_to_next(time.time(), interval_s, offset_s))
        try:
            write_line(_describe(chosen, _run(client, chosen, state)))
        except (Unavailable, DaemonUnreachable) as error:
            write_error(str(error))


def _describe(chosen: SyncSettings, tally: Tally) -> str:
    from edge.sync.settings import Tier

    told = f"{tally.delivered} delivered to {chosen.upstream}, {tally.remaining} left"
    if chosen.tier is Tier.COUNTS:  # what is left stays, and is no backlog
        labels = f"{tally.labels} label" + "s" * (tally.labels != 1)
        told = f"numbers of {labels} and {tally.delivered} erasures delivered to {chosen.upstream}"
    if tally.dead:
        told += f", {tally.dead} refused (intentd sync --dead tells why)"
    return told + (f", {tally.receipts} now used in builds" if tally.receipts else "")


def _batches(
    client: AdminClient, chosen: SyncSettings, state: SyncState
) -> tuple[list[Batch], int]:
    """What the next run would send first, and how many records lie beyond it."""
    from edge.sync.assemble import make_preparer
    from edge.sync.batch import BATCH_BYTES, Batch, Sender, in_chunks
    from edge.sync.engine import count_rows, prepare_page
    from edge.sync.settings import Tier

    page = client.outbox(max(chosen.batch_records, PREVIEW_RECORDS))
    preparer = make_preparer(chosen, state)
    records = prepare_page(preparer, page.records)
    sender = Sender(page.device_id, page.epoch, chosen.tier)
    chunks = in_chunks(records, chosen.batch_records, BATCH_BYTES)
    batches = [Batch(sender, chunk) for chunk in chunks]
    if chosen.tier is not Tier.COUNTS:
        return batches, page.remaining
    return [*batches, Batch(sender, (), count_rows(preparer, client.stats().per_label))], 0


def _preview(client: AdminClient, chosen: SyncSettings, state: SyncState) -> None:
    """The bytes before compression; works before an upstream is chosen, too."""
    from edge.sync.assemble import show

    batches, beyond = _batches(client, chosen, state)
    for batch in batches:
        sys.stdout.buffer.write(show(chosen, batch))
    sys.stdout.buffer.flush()
    if beyond:
        sys.stderr.write(f"… and {beyond} records more, in further batches\n")


def _dry_run(client: AdminClient, chosen: SyncSettings, state: SyncState, as_json: bool) -> None:
    from edge.sync.assemble import show
    from edge.sync.batch import compress

    batches, beyond = _batches(client, chosen, state)
    bodies = [(len(batch.records), show(chosen, batch)) for batch in batches]
    cursor = client.cursor()
    facts = {
        "upstream": chosen.upstream or "none: sync is off",
        "device": cursor.device_id,
        "tier": chosen.tier.value,
        "records": sum(count for count, _ in bodies),
        "batches": len(bodies),
        "bytes": sum(len(body) for _, body in bodies),
        "bytes_compressed": sum(len(compress(body)) for _, body in bodies),
        "more_records": beyond,
        "dead": client.stats().dead,
        "quiet_s": round(state.quiet_s()),
    }
    (write_json if as_json else write_facts)(facts)


def _list_dead(client: AdminClient, as_json: bool) -> None:
    """Ids and reasons, no texts."""
    found = client.dead_letter(DEAD_LIMIT).records
    rows = [(record.id, record.occurred_utc, record.error or "") for record in found]
    if as_json:
        for record_id, occurred_utc, error in rows:
            write_json({"id": record_id, "occurred_utc": occurred_utc, "error": error})
    elif not rows:
        write_line("nothing was refused")
    else:
        write_table(("id", "occurred", "refused because"), rows)
