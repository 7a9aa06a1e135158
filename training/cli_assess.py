"""`intentd-train assess|report`: parse, call, print."""

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

__all__ = ["assess", "report"]

EXIT_NO = 1
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="The bundle to be judged. [default: what export wrote]"),
]


def assess(
    bundle: BundleOption = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge the quantised bundle by the golden set; exit code 1 is an honest no.

    Example: intentd-train assess --bundle my-bundle
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.assess import assess as run
    from training.assess import assess_stage, say_gates

    stage = assess_stage(settings, bundle)
    if dry_run:
        print_plan(stage, as_json)
        return
    outcome = run(settings, Reporter(), bundle, force=force)
    print_outcome(outcome, stage.folder, as_json, hide=("gates",))
    for line in say_gates(outcome.manifest["counts"]):
        typer.echo(f"assess: {line}", err=True)
    if not as_json:
        typer.echo(f"report: {stage.folder / 'report.html'}")
    if not outcome.manifest["counts"]["passed"]:
        raise typer.Exit(EXIT_NO)


def report(
    ablation: Annotated[
        bool,
        typer.Option(help="Measure what the made rows bring, with a cheap stand-in for the model."),
    ] = True,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """One page over all stages: what went in, what was made of it, how it was judged.

    Example: intentd-train report --no-ablation
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.report_all import report as run
    from training.report_all import report_stage

    stage = report_stage(settings, ablation=ablation)
    if dry_run:
        print_plan(stage, as_json)
        return
    outcome = run(settings, Reporter(), ablation=ablation, force=force)
    print_outcome(outcome, stage.folder, as_json)
    if not as_json:
        typer.echo(f"report: {stage.folder / 'report.html'}")
