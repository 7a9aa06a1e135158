"""`intentd shadow`: an installed bundle answers beside the one that serves, as long as you like.

Its answers are compared, and go to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.activate import JsonOption
from edge.commands.bundles import report_facts, short
from edge.commands.options import with_settings
from edge.commands.output import write_facts, write_json
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.wire import ShadowAnswer

__all__ = ["shadow_app"]

shadow_app = typer.Typer(
    help="Compare an installed bundle with the one that answers, on live requests.",
    epilog="Example: intentd shadow status",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@shadow_app.command("start", epilog="Example: intentd shadow start 0a1b2c3d4e5f")
@with_settings("socket", "admin_socket")
def start(
    settings: Settings,
    digest: Annotated[
        str,
        typer.Argument(metavar="DIGEST", help="6 or more digits of an installed bundle's digest."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Let a bundle answer in the shadow, until stop.

    A trial in a process of its own comes first; status tells when it answers. It takes the memory
    of a second model, and time that no request waits for. Where the two disagree is put up for
    review. A restart of the daemon does not end it.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        _write(client.start_shadow(digest), as_json)


@shadow_app.command("status", epilog="Example: intentd shadow status --json")
@with_settings("socket", "admin_socket")
def status(settings: Settings, as_json: JsonOption = False) -> None:
    """Say how the two compare so far."""
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        _write(client.shadow(), as_json)


@shadow_app.command("stop", epilog="Example: intentd shadow stop")
@with_settings("socket", "admin_socket")
def stop(settings: Settings, as_json: JsonOption = False) -> None:
    """End the comparison, and say how it stood."""
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        _write(client.stop_shadow(), as_json)


def _write(answer: ShadowAnswer, as_json: bool) -> None:
    if as_json:
        write_json(answer.model_dump(mode="json"))
        return
    facts: dict[str, str] = {"shadow": answer.state}
    if answer.digest is not None:
        facts |= {"bundle": short(answer.digest), "since": answer.since_utc or ""}
    if answer.detail and answer.digest is not None:
        facts["detail"] = answer.detail
    if answer.report is not None:
        facts |= report_facts(answer.report)
    write_facts(facts)
