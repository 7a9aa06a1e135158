"""`intentd-train shadow`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli_options import (
    ConfigOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    SetOption,
    WorkDirOption,
    open_settings,
    print_outcome,
    print_plan,
)

__all__ = ["shadow"]

EXIT_NO = 1


def shadow(
    logged: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts that were really asked: a box's predictions.db, an export (.ndjson, "
            ".parquet), or rows (.jsonl). [default: shadow.logged]",
            show_default=False,
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="The candidate. [default: what export wrote]"),
    ] = None,
    champion: Annotated[
        str | None,
        typer.Option(help="The bundle that serves now. [default: shadow.champion, the starter]"),
    ] = None,
    live: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SOCKET",
            help="What the box's live shadow saw: its admin.sock, or what `intentd shadow status "
            "--json` printed; - is stdin.",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or ray for a cluster. [default: shadow.engine]")
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare candidate and champion on golden and logged texts; exit code 1: it is worse.

    Example: intentd-train shadow predictions.db --champion ./serving --live admin.sock
    """
    settings = open_settings(
        config,
        overrides,
        work_dir,
        shadow_logged=logged,
        shadow_champion=champion,
        shadow_engine=engine,
    )
    from export.report import Reporter
    from training.compare import Verdict
    from training.live import read_live
    from training.shadow import DISAGREEMENTS, shadow_stage
    from training.shadow import shadow as run

    seen = None if live is None else read_live(live)
    stage = shadow_stage(settings, bundle, seen)
    if dry_run:
        print_plan(stage, as_json)
        return
    outcome = run(settings, Reporter(), bundle, seen, force=force)
    print_outcome(outcome, stage.folder, as_json)
    counts = outcome.manifest["counts"]
    if not as_json:
        typer.echo(f"report: {stage.folder / 'report.html'}")
    if counts["disagreements"]:
        typer.echo(
            f"to have the disagreements judged: intentd-train golden import --unlabelled "
            f"{stage.folder / DISAGREEMENTS}",
            err=True,
        )
    if counts["verdict"] == Verdict.WORSE:
        typer.echo(f"shadow: the candidate is worse: {counts['why']}", err=True)
        raise typer.Exit(EXIT_NO)
