"""`intentd model verify`: a bundle's files, its signature, and a trial in a process of its own.

A path needs no daemon; an installed bundle is tried by the daemon.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.commands.options import with_settings
from edge.commands.output import write_facts, write_json
from edge.commands.source import is_path, opened, trusted_keys
from edge.errors import EXIT_NO, BundleCorrupt, BundleIncompatible
from edge.settings import Settings

__all__ = ["verify"]

TRIAL_TIMEOUT_S = 600.0  # the largest bundle on the slowest box that this is made for


@with_settings("socket", "admin_socket", "intents", "threads")
def verify(
    settings: Settings,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A directory, .tar or .zip, or a digest.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check whether a bundle may serve here.

    Every hash; its own test texts and one long text, in a process of its own; with trusted_keys
    set, its signature. Exits 0 if it may, 1 if not.
    """
    found = _verify_path(Path(bundle), settings) if is_path(bundle) else _ask(bundle, settings)
    if as_json:
        write_json(found)
    else:
        write_facts({name: _rounded(value) for name, value in found.items() if value is not None})
    raise typer.Exit(0 if found["ok"] else EXIT_NO)


def _ask(digest: str, settings: Settings) -> dict[str, Any]:
    from edge.commands.admin import admin_client

    with admin_client(settings) as client:
        answer: dict[str, Any] = client.verify_model(digest).model_dump(mode="json")
    return answer


def _verify_path(path: Path, settings: Settings) -> dict[str, Any]:
    from edge.models.trial import run_trial

    try:
        with opened(path) as folder:
            facts = _read(folder, settings)
            report = run_trial(
                folder,
                timeout_s=TRIAL_TIMEOUT_S,
                memory_bytes=_all_memory_bytes(),
                intents=settings.intents,
                threads=settings.threads,
            )
    except (BundleCorrupt, BundleIncompatible) as error:
        return {"ok": False, "detail": str(error)}
    found = {**facts, "ok": report.passed, "detail": report.detail, **report.facts}
    if cases := report.facts.get("cases"):
        found["agreement"] = report.facts["agreeing"] / cases
    return found


def _read(folder: Path, settings: Settings) -> dict[str, Any]:
    """Hashes, and who signed it.

    Raises:
        BundleCorrupt: A hash or the signature is wrong.
        BundleIncompatible: It is for another program or CPU.
    """
    from edge.bundle import read_bundle

    bundle = read_bundle(folder)
    facts = {
        "digest": bundle.digest,
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
    }
    keys = trusted_keys(settings)
    if keys is not None:
        from edge.models.trust import check_signature, read_trusted_keys

        facts["signed_by"] = check_signature(folder, bundle.manifest, read_trusted_keys(keys)).name
    return facts


def _all_memory_bytes() -> int:
    """Whoever typed the command may see what happens; the daemon is stricter."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
