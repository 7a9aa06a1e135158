"""`intentd model`: what answers, and which bundles there are; all its commands meet here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.commands.activate import JsonOption, activate, commit, rollback
from edge.commands.bundles import short, write_bundle, write_bundles, write_changes
from edge.commands.install import install, pull
from edge.commands.options import with_settings
from edge.commands.output import write_facts, write_json, write_line
from edge.commands.source import is_path, read_path_manifest
from edge.commands.verify import verify
from edge.errors import InvalidValue
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need them
    from edge.bundle import Manifest
    from edge.client import AdminClient
    from edge.wire import DiffAnswer

__all__ = ["model_app"]

DigestArgument = Annotated[
    str,
    typer.Argument(metavar="DIGEST", help="6 or more digits of an installed bundle's digest."),
]

model_app = typer.Typer(
    epilog="Example: intentd model --json",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@model_app.callback()
@with_settings("socket")
def model(settings: Settings, context: typer.Context, as_json: JsonOption = False) -> None:
    """Describe what answers; the commands swap it."""
    if context.invoked_subcommand is not None:
        if any(context.params.values()):
            raise typer.BadParameter(f"expected options behind {context.invoked_subcommand}")
        return
    from edge.client import Client

    with Client(settings.socket) as client:
        facts: dict[str, Any] = client.model().model_dump(mode="json")
    if as_json:
        write_json(facts)
    else:
        write_facts(facts.pop("model") | facts)


@model_app.command("list", epilog="Example: intentd model list")
@with_settings("socket", "admin_socket")
def list_models(settings: Settings, as_json: JsonOption = False) -> None:
    """List the bundles on this machine.

    What answers is marked; the last line tells how the last activation went.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        answer = client.models()
    if as_json:
        write_json(answer.model_dump(mode="json", by_alias=True))
    else:
        write_bundles(answer)


@model_app.command(epilog="Example: intentd model show 0a1b2c3d4e5f --json")
@with_settings("socket", "admin_socket")
def show(settings: Settings, digest: DigestArgument, as_json: JsonOption = False) -> None:
    """Describe one bundle.

    With --json its manifest, too.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        found = client.model(digest)
    if as_json:
        write_json(found.model_dump(mode="json"))
    else:
        write_bundle(found)


@model_app.command(epilog="Example: intentd model diff 0a1b2c3d4e5f")
@with_settings("socket", "admin_socket", "intents")
def diff(
    settings: Settings,
    old: Annotated[
        str, typer.Argument(metavar="[OLD]", help="A digest or a path. [default: what answers]")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A digest or a path.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what clients would notice of a swap.

    Two paths are compared without a daemon. Exits 0 whether or not anything changes.
    """
    changes = _compare(settings, *((old, new) if new else ("", old)))
    if as_json:
        write_json(changes.model_dump(mode="json"))
    else:
        write_changes(changes)


@model_app.command(epilog="Example: intentd model remove 0a1b2c3d4e5f")
@with_settings("socket", "admin_socket")
def remove(
    settings: Settings,
    digest: DigestArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also the previous one: rollback is gone then.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an installed bundle.

    Never the one that answers.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        found = client.model(digest)
        if found.origin != "installed":
            raise InvalidValue(
                f"{short(found.digest)}: expected an installed bundle, found the one that is "
                f"{found.origin}; it stays"
            )
        if found.state == "previous" and not force:
            raise InvalidValue(
                f"{short(found.digest)}: expected a bundle that nothing depends on, found the one "
                "that rollback goes back to; --force gives that up"
            )
        removed = client.remove_model(found.digest)
    if as_json:
        write_json({"removed": removed})
    else:
        write_line(f"removed: {found.name} {found.version} ({short(removed)})")


model_app.command(epilog="Example: intentd model verify ./my-bundle")(verify)
model_app.command(epilog="Example: intentd model install ./my-bundle")(install)
model_app.command(epilog="Example: intentd model pull https://nas.example/models invoices")(pull)
model_app.command(epilog="Example: intentd model activate 0a1b2c3d4e5f")(activate)
model_app.command(epilog="Example: intentd model commit")(commit)
model_app.command(epilog="Example: intentd model rollback")(rollback)


def _compare(settings: Settings, old: str, new: str) -> DiffAnswer:
    """An empty argument is what answers now."""
    sides = (old, new)
    if all(side and is_path(side) for side in sides):
        return _compare_manifests(settings, *(read_path_manifest(Path(side)) for side in sides))
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        named = [side or client.models().serving for side in sides]
        if not any(map(is_path, named)):
            return client.compare_models(*named)
        return _compare_manifests(settings, *(_manifest(client, side) for side in named))


def _manifest(client: AdminClient, side: str) -> Manifest:
    from edge.bundle import Manifest

    if is_path(side):
        return read_path_manifest(Path(side))
    return Manifest.model_validate(client.model(side).manifest)


def _compare_manifests(settings: Settings, old: Manifest, new: Manifest) -> DiffAnswer:
    from dataclasses import asdict

    from edge.labels import read_label_set
    from edge.models.diff import compare_manifests
    from edge.wire import DiffAnswer

    changes = compare_manifests(old, new, read_label_set(settings.intents).names)
    return DiffAnswer.model_validate({**asdict(changes), "breaks_clients": changes.breaks_clients})
