"""`intentd-collect device`: let a box in, see who is in, turn one away."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from training.collector.cli_options import (
    DatabaseOption,
    JsonOption,
    open_database,
    print_json,
    print_table,
)

__all__ = ["device_app"]

device_app = typer.Typer(
    help="Let boxes in, and turn them away.",
    epilog="Example: intentd-collect device add nas-1",
    no_args_is_help=True,
    rich_markup_mode=None,
)
DeviceArgument = Annotated[
    str, typer.Argument(help="The device id that the box names itself by.", metavar="DEVICE")
]


@device_app.command(epilog="Example: intentd-collect device add nas-1 --note 'in the cellar'")
def add(
    device: DeviceArgument,
    note: Annotated[str, typer.Option(help="For yourself: which box this is.")] = "",
    database: DatabaseOption = None,
) -> None:
    """Let a box in. Its token goes to stdout, once; it cannot be shown again."""
    from training.collector.devices import add_device

    with open_database(database) as opened:
        token = opened.write(lambda c: add_device(c, device, note, datetime.now(UTC)))
    typer.echo(f"token of {device}; put it into the box's token_file, mode 0600:", err=True)
    typer.echo(token)


@device_app.command("list", epilog="Example: intentd-collect device list --json")
def list_(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show every device, and when it was last seen."""
    from training.collector.devices import list_devices

    with open_database(database) as opened, opened.read() as connection:
        found = list_devices(connection)
    if as_json:
        times = ("created_utc", "revoked_utc", "last_seen_utc")
        print_json([asdict(one) | {t: _time(getattr(one, t)) for t in times} for one in found])
        return
    rows = [
        (
            one.id,
            "revoked" if one.revoked_utc else "active",
            str(one.records),
            _time(one.last_seen_utc) or "never",
            one.note,
        )
        for one in found
    ]
    print_table(("device", "state", "records", "last seen", "note"), rows)


@device_app.command(epilog="Example: intentd-collect device revoke nas-1")
def revoke(device: DeviceArgument, database: DatabaseOption = None) -> None:
    """Turn a box away from its next request on; what it sent stays."""
    from training.collector.devices import revoke_device

    with open_database(database) as opened:
        opened.write(lambda c: revoke_device(c, device, datetime.now(UTC)))
    typer.echo(f"revoked {device}")


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds").replace("+00:00", "Z")
