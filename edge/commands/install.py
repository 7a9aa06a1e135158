"""`intentd model install|pull`: brings a bundle to the daemon, from this machine or from elsewhere.

The daemon has no network: what is fetched is fetched here, and handed over.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.activate import JsonOption, Manners, YesOption, take_over
from edge.commands.bundles import named, short, written_size
from edge.commands.input import STDIN
from edge.commands.options import with_settings
from edge.commands.output import printable, write_json, write_line
from edge.commands.progress import progress_bar
from edge.commands.source import trusted_keys
from edge.errors import InvalidValue, NotFound
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need them
    from edge.client import AdminClient
    from edge.models.pull import Published
    from edge.uploads import Upload
    from edge.wire import BundleFacts

__all__ = ["install", "pull"]

DIGEST = re.compile(r"[0-9a-f]{6,64}")
CACHE_MODE = 0o700
PRODUCTION = "production"

AllowOlderOption = Annotated[
    bool, typer.Option("--allow-older", help="Take it although a newer version was here before.")
]
ActivateOption = Annotated[
    bool, typer.Option("--activate", help="Let it answer then, as model activate does.")
]
Report = Callable[[int, int | None], None]


@with_settings("socket", "admin_socket")
def install(
    settings: Settings,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A directory, .tar or .zip; - is stdin.")
    ],
    allow_older: AllowOlderOption = False,
    activate: ActivateOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hand a bundle to the daemon.

    It checks every byte, and keeps the bundle by its digest. Nothing answers differently until it
    is activated. To repeat it does no harm.
    """
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        found = _install(client, source, allow_older)
        _go_on(client, found, activate, yes, as_json)


@with_settings("socket", "admin_socket")
def pull(
    settings: Settings,
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION", help="Where index.json lies: https://…, s3://… or file://…."
        ),
    ],
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="DIGEST|NAME",
            help="6 or more digits of a digest, or a name: what is in production, else its newest "
            "version; NAME@staging is what is in staging. [default: the only name]",
        ),
    ] = "",
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where a download that broke off waits for its rest. "
            "[default: $XDG_CACHE_HOME/intentd or ~/.cache/intentd]",
            metavar="PATH",
        ),
    ] = None,
    allow_older: AllowOlderOption = False,
    activate: ActivateOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a published bundle, and install it.

    A download that broke off goes on where it ended. Every byte is checked against the digest;
    with trusted_keys set, a signature is required.
    """
    from edge.commands.admin import admin_client
    from edge.models.pull import read_index

    with admin_client(settings) as client:
        listed = client.models().models
        present = {bundle.digest for bundle in listed if bundle.state != "broken"}
        chosen = choose(read_index(location), wanted)
        _tell(f"{chosen.name} {chosen.version}, digest {chosen.digest}")
        if chosen.digest in present:
            found: BundleFacts = client.model(chosen.digest)
        else:
            folder = _fetch(location, chosen, cache or _cache_directory(), settings)
            found = _install(client, folder, allow_older)
            shutil.rmtree(folder, ignore_errors=True)
        _go_on(client, found, activate, yes, as_json)


def choose(published: Sequence[Published], wanted: str) -> Published:
    """The bundle of an index that is meant.

    Args:
        published: The index.
        wanted: The beginning of a digest, NAME, NAME@ALIAS, or nothing if there is only one name.

    Raises:
        NotFound: None is meant.
        InvalidValue: Several are.
    """
    if DIGEST.fullmatch(wanted):
        matching = {one.digest: one for one in published if one.digest.startswith(wanted)}
        if len(matching) > 1:
            raise InvalidValue(f"{wanted}: {len(matching)} bundles start so; give more digits")
        if matching:
            return next(iter(matching.values()))
    return _newest(published, wanted)


def _newest(published: Sequence[Published], wanted: str) -> Published:
    """What is in production of a name, or under the alias behind an @; else the newest version."""
    from edge.models.ages import is_older

    name, _, alias = wanted.partition("@")
    names = sorted({one.name for one in published})
    listed = printable(", ".join(names)) or "nothing"
    if not name and len(names) > 1:
        raise InvalidValue(f"expected a DIGEST or NAME, since several are published: {listed}")
    found: Published | None = None
    for one in _meant(published, name, alias):
        if (
            found is None
            or is_older(found.version, one.version)
            or (not is_older(one.version, found.version) and one.created_utc > found.created_utc)
        ):
            found = one
    if found is None:
        raise NotFound(f"{wanted or 'LOCATION'}: expected it to be published, found {listed}")
    return found


def _meant(published: Sequence[Published], name: str, alias: str) -> list[Published]:
    named = [one for one in published if name in ("", one.name)]
    if alias:
        return [one for one in named if one.alias == alias]
    in_production = [one for one in named if one.alias == PRODUCTION]
    return in_production or [one for one in named if not one.alias]


def _fetch(location: str, chosen: Published, cache: Path, settings: Settings) -> Path:
    from edge.models.pull import pull_bundle

    cache.mkdir(mode=CACHE_MODE, parents=True, exist_ok=True)
    with progress_bar(f"fetching {short(chosen.digest)}") as report:
        return pull_bundle(
            location, chosen.digest, cache, trusted_keys=trusted_keys(settings), progress=report
        )


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "intentd" / "pull"


def _install(client: AdminClient, source: Path, allow_older: bool) -> BundleFacts:
    from edge.uploads import open_upload

    given = sys.stdin.buffer if source == STDIN else source
    with open_upload(given) as upload, progress_bar("installing") as report:
        counted = replace(upload, pieces=_counted(upload, report))
        return client.install_model(counted, allow_older=allow_older)


def _counted(upload: Upload, report: Report) -> Iterator[bytes]:
    done = 0
    for piece in upload.pieces:
        yield piece
        done += len(piece)
        report(done, upload.size)


def _go_on(
    client: AdminClient, found: BundleFacts, activate: bool, yes: bool, as_json: bool
) -> None:
    """Activate it, or tell how to."""
    if activate:
        manners = Manners(asks=not yes, as_json=as_json)
        take_over(client, found.digest, {}, manners)
    elif as_json:
        write_json(found.model_dump(mode="json"))
    else:
        write_line(f"installed: {named(found)}, {written_size(found.bytes)}")
        if found.state not in ("serving", "probation"):
            _tell(f"to let it answer: intentd model activate {short(found.digest)}")


def _tell(message: str) -> None:
    sys.stderr.write(printable(message) + "\n")
