"""`intentd-train collect|build|augment`: parse, call, print."""

from __future__ import annotations

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

__all__ = ["augment", "build", "collect"]


def collect(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="postgresql://… or sqlite:///… of a collector, an export (.ndjson, .parquet), or "
            "a box's corrections.db. [default: collect.sources]",
            show_default=False,
        ),
    ] = None,
    suppressed: Annotated[
        list[str] | None,
        typer.Option(help="A file of erased ids, one a line; may be repeated."),
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Gather corrections into collect/rows.jsonl; what was erased never enters.

    Example: intentd-train collect /var/lib/intentd/corrections.db
    """
    settings = open_settings(
        config, overrides, work_dir, collect_sources=sources, collect_suppressed=suppressed
    )
    from export.report import Reporter
    from training.collect import collect as run
    from training.collect import collect_stage

    stage = collect_stage(settings)
    if dry_run:
        print_plan(stage, as_json)
        return
    print_outcome(run(settings, Reporter()), stage.folder, as_json)


def build(
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make train, dev and calibration of what was collected; exit code 1 is an honest no.

    Example: intentd-train build --set build.extra='["mine.jsonl"]'
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.build import build as run
    from training.build import build_stage

    stage = build_stage(settings)
    if dry_run:
        print_plan(stage, as_json)
        return
    print_outcome(run(settings, Reporter(), force=force), stage.folder, as_json)


def augment(
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fill every class up to 500 rows by templates, synonyms and typos, or say which cannot.

    Example: intentd-train augment --set augment.target=300
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.augment.fill import augment as run
    from training.augment.fill import augment_stage, describe_short

    stage = augment_stage(settings)
    if dry_run:
        print_plan(stage, as_json)
        return
    outcome = run(settings, Reporter(), force=force)
    print_outcome(outcome, stage.folder, as_json)
    for line in describe_short(outcome.manifest["counts"]):
        typer.echo(line, err=True)
