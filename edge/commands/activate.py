"""`intentd model activate|commit|rollback`: one model takes over from another, and is watched.

The daemon does the work, and goes on with it whether or not anybody watches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.bundles import named, report_facts, short, write_changes
from edge.commands.consent import consents
from edge.commands.options import with_settings
from edge.commands.output import printable, write_facts, write_json, write_line
from edge.commands.progress import status_line
from edge.errors import EXIT_NO, DaemonUnreachable, InvalidValue, NotFound, Unavailable
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need them
    from edge.client import ActivateOptions, AdminClient
    from edge.wire import ActivationAnswer, BundleFacts

__all__ = ["JsonOption", "Manners", "YesOption", "activate", "commit", "rollback", "take_over"]

CONSENT = "activate"
POLL_S = 0.25
RESTART_S = 60.0  # how long a daemon that was restarted meanwhile is waited for
ENDS = ("committed", "rolled_back", "refused")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask, even if requests of clients will be refused.")
]


Show = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Manners:
    """How to deal with whoever typed the command."""

    asks: bool = True
    """Ask before requests of clients are refused."""
    waits: bool = True
    as_json: bool = False


@with_settings("socket", "admin_socket")
def activate(
    settings: Settings,
    digest: Annotated[
        str,
        typer.Argument(
            metavar="DIGEST",
            help="6 or more digits of an installed bundle's digest; configured: that of the "
            "settings.",
        ),
    ],
    mode: Annotated[
        str,
        typer.Option(
            help="available: both models in memory, no request waits; low-memory: one at a time, "
            "requests meanwhile get 503; auto: by free memory.",
            metavar="WORD",
        ),
    ] = "auto",
    manual: Annotated[
        bool, typer.Option("--manual", help="Wait for model commit after the probation.")
    ] = False,
    probation_requests: Annotated[
        int | None,
        typer.Option(
            help="Texts that both models answer before it is decided; 0: none. "
            "[default: the setting's]",
            metavar="NUMBER",
            min=0,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although the memory seems too small for both.")
    ] = False,
    yes: YesOption = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not watch; model list tells how it went.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let an installed bundle answer.

    First a trial in a process of its own, then the switch, then a probation on live requests that
    decides. Shows what changes for clients, and asks if some of their requests will be refused.
    Exits 0 once it is committed (or waits for commit), 1 if it was refused or rolled back.
    """
    from edge.commands.admin import admin_client
    from edge.wire import SwapMode

    if mode not in tuple(SwapMode):
        expected = ", ".join(SwapMode)
        raise InvalidValue(f"--mode: expected one of {expected}, found {mode!r}")
    options: ActivateOptions = {
        "mode": SwapMode(mode),
        "manual": manual,
        "probation_requests": probation_requests,
        "force": force,
    }
    manners = Manners(asks=not yes, waits=not no_wait, as_json=as_json)
    with admin_client(settings) as client:
        take_over(client, digest, options, manners)


@with_settings("socket", "admin_socket")
def commit(settings: Settings, as_json: JsonOption = False) -> None:
    """Keep the model that is on probation."""
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        _conclude(client, client.commit_model(), as_json)


@with_settings("socket", "admin_socket")
def rollback(settings: Settings, as_json: JsonOption = False) -> None:
    """Go back to the model before.

    From a model on probation to the one that it replaced, else to the previous one.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        before = client.models().activation
        goes_on = before is not None and before.state not in ENDS
        ended = client.rollback_model()
        if as_json:
            write_json(ended.model_dump(mode="json", by_alias=True))
        else:
            write_line(printable(ended.detail))
    if ended.state != "rolled_back" and not goes_on:
        raise typer.Exit(EXIT_NO)


def take_over(client: AdminClient, digest: str, options: ActivateOptions, manners: Manners) -> None:
    """Show what changes, ask, activate and watch; ends the command unless all went well."""
    from edge.wire import CONFIGURED

    serving, wanted = _serving(client), _find(client, digest)
    if wanted.digest == serving.digest and wanted.state != "probation":
        _say_already(wanted, manners.as_json)
        return
    changes = client.compare_models(serving.digest, wanted.digest)
    if not manners.as_json:
        write_line(f"{named(serving)} → {named(wanted)}")
        write_changes(changes)
    if changes.breaks_clients and manners.asks and not consents(_question(wanted), CONSENT):
        sys.stderr.write("nothing was changed\n")
        raise typer.Exit(EXIT_NO)
    name = CONFIGURED if digest == CONFIGURED else wanted.digest
    if changes.breaks_clients:
        options["force"] = True
    begun = client.activate_model(name, **options)
    _conclude(client, _watch(client, begun) if manners.waits else begun, manners.as_json)


def _question(wanted: BundleFacts) -> str:
    return f"Activate {named(wanted)}, although requests that are answered today will not be?"


def _say_already(serving: BundleFacts, as_json: bool) -> None:
    if as_json:
        detail = "it answers already"
        write_json({"digest": serving.digest, "state": "committed", "detail": detail})
    else:
        write_line(f"{named(serving)} answers already")


def _serving(client: AdminClient) -> BundleFacts:
    return client.model(client.models().serving)


def _find(client: AdminClient, digest: str) -> BundleFacts:
    from edge.wire import CONFIGURED

    if digest != CONFIGURED:
        return client.model(digest)
    found = {bundle.origin: bundle for bundle in client.models().models}
    return found["configured"] if "configured" in found else found["built-in"]


def _watch(client: AdminClient, begun: ActivationAnswer) -> ActivationAnswer:
    """How it ended, or that it waits for a commit."""
    seen = begun
    try:
        with status_line() as show:
            while not _is_over(seen):
                show(seen.state, _line(seen))
                time.sleep(POLL_S)
                seen = _look_again(client, seen, show)
    except KeyboardInterrupt:
        sys.stderr.write("it goes on unwatched; intentd model list tells how it went\n")
        raise
    return seen


def _is_over(seen: ActivationAnswer) -> bool:
    if seen.state == "probation" and seen.manual:
        return seen.report is not None and seen.report.requests >= seen.report.wanted
    return seen.state in ENDS


def _look_again(client: AdminClient, seen: ActivationAnswer, show: Show) -> ActivationAnswer:
    """The activation as it stands now.

    Raises:
        DaemonUnreachable: The daemon went away, and did not come back.
        Unavailable: It came back, but without a model.
    """
    give_up = time.monotonic() + RESTART_S
    while True:
        try:
            now = client.activation()
        except NotFound:
            return _judge_after_restart(client, seen)
        except (DaemonUnreachable, Unavailable):
            if time.monotonic() > give_up:
                raise
            show("gone", "the daemon does not answer; waiting for its restart …")
            time.sleep(POLL_S)
            continue
        if now.digest != seen.digest:
            raise InvalidValue(
                f"expected the activation of {short(seen.digest)} to go on, found that of "
                f"{short(now.digest)}; somebody else began it: look at intentd model list"
            )
        return now


def _judge_after_restart(client: AdminClient, seen: ActivationAnswer) -> ActivationAnswer:
    """A daemon that was started again remembers what it serves, not how that came about."""
    from edge.wire import CONFIGURED, ActivationState

    serves = _serving(client)
    state = "rolled_back"
    if seen.digest == (serves.digest if serves.origin == "installed" else CONFIGURED):
        state = "probation" if serves.state == "probation" else "committed"
    detail = f"the daemon was restarted meanwhile, and serves {named(serves)}"
    return seen.model_copy(update={"state": ActivationState(state), "detail": detail})


def _line(seen: ActivationAnswer) -> str:
    words = {
        "trial": "trial: it answers its own test texts in a process of its own",
        "switching": f"switching ({seen.mode})",
        "probation": "probation",
    }
    line = words.get(seen.state, seen.state)
    if seen.report is not None:
        line += f": {seen.report.requests} of {seen.report.wanted} texts compared"
        if seen.report.agreement is not None:
            line += f", {seen.report.agreement:.0%} agree"
    return printable(f"{line} …")


def _conclude(client: AdminClient, ended: ActivationAnswer, as_json: bool) -> None:
    """Tell how it ended; exits 1 if not as it was meant."""
    if as_json:
        write_json(ended.model_dump(mode="json", by_alias=True))
    else:
        write_line(printable(_outcome(client, ended)))
        if ended.report is not None:
            write_facts(report_facts(ended.report))
    if ended.state in ("refused", "rolled_back"):
        raise typer.Exit(EXIT_NO)


def _outcome(client: AdminClient, ended: ActivationAnswer) -> str:
    if ended.state == "committed":
        return f"{named(_serving(client))} answers"
    if ended.state in ENDS:
        return f"{ended.state.replace('_', ' ')}: {ended.detail}"
    if ended.state == "probation":
        return "on probation: intentd model commit keeps it, intentd model rollback goes back"
    return "begun; intentd model list tells how it goes on"
