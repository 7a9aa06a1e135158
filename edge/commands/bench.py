"""`intentd bench`: what a daemon costs on this very machine, as a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.options import with_settings
from edge.commands.output import write_facts, write_json, write_line, write_table
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.bench import BenchResult

__all__ = ["bench"]


@with_settings("bundle", "intents", "threads", seeks_daemon=False)
def bench(
    settings: Settings,
    requests: Annotated[
        int, typer.Option(help="Requests of each kind, at most.", metavar="NUMBER", min=1)
    ] = 200,
    seconds: Annotated[
        float, typer.Option(help="Seconds for each kind, at most.", metavar="SECONDS", min=0)
    ] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure this machine: start, memory, and requests through a socket.

    Starts a daemon of its own for it, and stops it; the one that serves the apps is not asked.
    """
    from dataclasses import asdict

    from edge.bench import run_bench

    sys.stderr.write(f"measuring {settings.bundle.name}; whatever else runs makes it slower …\n")
    result = run_bench(settings, requests, seconds)
    if as_json:
        write_json(asdict(result))
        return
    _write(result)


def _write(result: BenchResult) -> None:
    rows = [
        (f"{speed.text} text", f"{speed.p50_ms:.1f}", f"{speed.p99_ms:.1f}", str(speed.requests))
        for speed in result.speeds
    ]
    write_table(("through the socket", "p50, ms", "p99, ms", "requests"), rows)
    write_line("")
    write_facts(
        {
            "start": f"{result.start_s:.2f} s from exec until it answers",
            "memory": f"{result.ready_rss_mib} MiB when ready, {result.used_rss_mib} after it all",
            "model": f"{result.model} ({result.digest[:12]})",
            "cpu": f"{result.cpu}, {result.threads} threads",
        }
    )
