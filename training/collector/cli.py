"""The command `intentd-collect`: it parses, calls, prints and exits."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.errors import EXIT_BUG, EXIT_NO, EdgeError, InvalidValue
from training.collector.cli_device import device_app
from training.collector.cli_options import (
    DatabaseOption,
    JsonOption,
    open_database,
    print_json,
    print_table,
    read_ids,
)
from training.collector.settings import Settings, default_database

if TYPE_CHECKING:
    from training.collector.stats import Stats

__all__ = ["app", "main"]

app = typer.Typer(
    help="Collect the corrections of many boxes, each exactly once, and give them to training.",
    epilog="Example: intentd-collect serve",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(device_app, name="device")

DEFAULTS = Settings(database="sqlite:///collector.db")


@app.command(epilog="Example: intentd-collect serve --port 8470")
def serve(
    database: DatabaseOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULTS.host,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = DEFAULTS.port,
    processes: Annotated[
        int, typer.Option(help="Processes on this port; more than one needs PostgreSQL.")
    ] = DEFAULTS.processes,
    threads: Annotated[
        int, typer.Option(help="Batches that one process works on at once.")
    ] = DEFAULTS.threads,
    waiting: Annotated[
        int, typer.Option(help="Requests that one process holds; more get 503.")
    ] = DEFAULTS.waiting,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM).", exists=True, dir_okay=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM).", exists=True, dir_okay=False)
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A reverse proxy speaks TLS; plain HTTP here.")
    ] = False,
    max_body_bytes: Annotated[
        int, typer.Option(help="Largest body as sent.")
    ] = DEFAULTS.max_body_bytes,
    max_decompressed_bytes: Annotated[
        int, typer.Option(help="Largest body once decompressed.")
    ] = DEFAULTS.max_decompressed_bytes,
    max_records: Annotated[
        int, typer.Option(help="Most records in a batch.")
    ] = DEFAULTS.max_records,
    rate_per_minute: Annotated[
        float, typer.Option(help="Requests a minute of one device to one process; 0: no limit.")
    ] = DEFAULTS.rate_per_minute,
    burst: Annotated[
        int, typer.Option(help="Requests at once of a device that was quiet.")
    ] = DEFAULTS.burst,
    migrate_first: Annotated[
        bool, typer.Option("--migrate", help="Bring PostgreSQL's schema up to date first.")
    ] = False,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error.")
    ] = DEFAULTS.log_level,
) -> None:
    """Take in corrections until SIGTERM or Ctrl-C."""
    settings = Settings(
        database=database or default_database(),
        host=host,
        port=port,
        processes=processes,
        threads=threads,
        waiting=waiting,
        max_body_bytes=max_body_bytes,
        max_decompressed_bytes=max_decompressed_bytes,
        max_records=max_records,
        rate_per_minute=rate_per_minute,
        burst=burst,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        log_level=log_level,
    )
    from training.collector.logs import configure_logging
    from training.collector.server import serve as serve_forever

    configure_logging(log_level)
    with open_database(settings.database, migrate_first=migrate_first) as opened:
        name = opened.name  # checked and closed: each process opens its own
    serve_forever(
        settings, lambda address: typer.echo(f"intentd-collect answers on {address} ({name})")
    )


@app.command(epilog="Example: intentd-collect migrate")
def migrate(database: DatabaseOption = None) -> None:
    """Bring the database's schema to this program's; several at once do no harm."""
    from training.collector.database import Database
    from training.collector.migrate import migrate as run_migrations

    opened = Database.open(database or default_database())
    before, after = run_migrations(opened)
    opened.close()
    typer.echo(f"schema {before or 'none'} -> {after}")


@app.command(epilog="Example: intentd-collect stats --json")
def stats(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Count corrections per class against the 500 that a class needs, and show who lags."""
    from training.collector.stats import read_stats

    with open_database(database) as opened, opened.read() as connection:
        found = read_stats(connection, datetime.now(UTC))
    if as_json:
        print_json(found.as_dict())
    else:
        _print_stats(found)


@app.command(epilog="Example: intentd-collect erase 019aab3c-0000-7000-8000-000000000000")
def erase(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Records' ids; - reads them from stdin.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Everything that this device ever sent.")
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Erase records for good; their ids join the suppression list."""
    if (ids is None) == (device is None):
        raise InvalidValue("erase: expected ids or --device, found neither or both")
    from training.collector.erasure import erase as erase_ids
    from training.collector.erasure import erase_device

    wanted = None if ids is None else read_ids(sys.stdin if ids == ["-"] else ids)
    now = datetime.now(UTC)
    with open_database(database) as opened:
        erased = opened.write(
            lambda c: (
                erase_device(c, device or "", now)
                if wanted is None
                else erase_ids(c, wanted, None, now)
            )
        )
        if not opened.sweep():
            typer.echo("a reader holds the write-ahead log; erase again when it is done", err=True)
    typer.echo(f"erased {len(erased)}")


@app.command(epilog="Example: intentd-collect used 2026-11-22 < ids.txt")
def used(
    build: Annotated[str, typer.Argument(help="The build's id.")],
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note which records a build used: their ids on stdin, one a line.

    Devices then see it in their receipts. Exits 1 if one of them was erased meanwhile.
    """
    from training.collector.receipts import mark_used

    wanted = read_ids(sys.stdin)
    with open_database(database) as opened:
        marked = opened.write(lambda c: mark_used(c, build, wanted, datetime.now(UTC)))
    if as_json:
        print_json(
            {"used": marked.used, "erased": list(marked.erased), "unknown": list(marked.unknown)}
        )
    else:
        typer.echo(f"used {marked.used}, unknown {len(marked.unknown)}")
    if marked.erased:
        listed = "\n".join(marked.erased)
        typer.echo(f"erased since the export; build anew without them:\n{listed}", err=True)
        raise typer.Exit(EXIT_NO)


@app.command(epilog="Example: intentd-collect export --format parquet --out corrections.parquet")
def export(
    out: Annotated[
        Path | None, typer.Option(help="File to write, in one step. [default: stdout]")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="ndjson or parquet.")] = "ndjson",
    suppressed: Annotated[
        Path | None, typer.Option(help="Also write the erased ids here, one a line.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Received at this time (UTC) or later.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Received before this time.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only this label; may be repeated.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; may be repeated.")
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Give the corrections out as they came, oldest first, and the list of those erased."""
    from training.collector.export import Filter, Form, export_corrections

    if form not in list(Form):
        raise InvalidValue(f"--format: expected {' or '.join(Form)}, found {form!r}")
    wanted = Filter(_as_utc(since), _as_utc(until), tuple(label or ()), tuple(device or ()))
    with open_database(database) as opened:
        count = export_corrections(opened, out, Form(form), wanted, suppressed)
    typer.echo(f"{count.rows} rows, {count.suppressed} erased ids", err=True)


def _as_utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


def _print_stats(found: Stats) -> None:
    rows = [
        (c.label, str(c.corrections), str(c.confirmations), f"{c.total}/{c.target}")
        for c in found.classes
    ]
    print_table(("label", "corrections", "confirmations", "of"), rows)
    if found.reported:
        typer.echo("\non boxes that send numbers alone (tier counts):")
        told = [(c.label, str(c.corrections), str(c.confirmations)) for c in found.reported]
        print_table(("label", "corrections", "confirmations"), told)
    devices = [
        (d.id, d.state, str(d.records), "never" if d.lag_s is None else f"{d.lag_s:.0f} s ago")
        for d in found.devices
    ]
    typer.echo()
    print_table(("device", "state", "records", "last seen"), devices)
    typer.echo(
        f"\n{found.corrections} corrections, {found.parked} parked, {found.erased} erased, "
        f"{found.used} used in {found.builds} builds"
    )


def main() -> None:
    """Entry point: turns the errors raised on purpose into a message and an exit code."""
    try:
        app(prog_name="intentd-collect")
    except EdgeError as error:
        typer.echo(f"intentd-collect: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        typer.echo(f"intentd-collect: {error.filename or 'output'}: {error.strerror}", err=True)
        raise SystemExit(EXIT_NO) from None
    except ModuleNotFoundError as error:
        typer.echo(
            f"intentd-collect: expected the collector's packages, found no {error.name}; "
            "pip install 'intentd[collector]'",
            err=True,
        )
        raise SystemExit(EXIT_BUG) from None


if __name__ == "__main__":
    main()
