"""`intentd-train run`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    SetOption,
    WorkDirOption,
    open_settings,
    print_json,
    print_outcome,
)

if TYPE_CHECKING:
    from training.pipeline import Step
    from training.stage import Outcome

__all__ = ["run"]

EXIT_NO = 1
REPORT = "report.html"


def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="As for collect. [default: collect.sources]",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Collect, build, augment, fit, export, assess, shadow; goes on where it ended; never promotes.

    A stage whose inputs are unchanged is skipped; the first honest no ends it with exit code 1.

    Example: intentd-train run postgresql://collector@db/intentd
    """
    settings = open_settings(config, overrides, work_dir, collect_sources=sources)
    from export.report import Reporter
    from training.pipeline import plan
    from training.pipeline import run as run_stages

    if dry_run:
        planned = {name: str(state) for name, state in plan(settings)}
        if as_json:
            print_json(planned)
        else:
            for name, state in planned.items():
                typer.echo(f"{name}: {state}")
        return
    done = {}
    for step, outcome in run_stages(settings, Reporter()):
        counts = outcome.manifest["counts"]
        done[step.name] = {"skipped": outcome.skipped, "counts": counts}
        if not as_json:
            _print_stage(Path(settings.work_dir) / step.name, outcome, step)
        for line in step.remarks(counts):
            typer.echo(f"{step.name}: {line}", err=True)
        if no := step.refusal(counts):
            break
    if as_json:
        print_json(done)
    if no:
        typer.echo(f"intentd-train: {step.name}: {'; '.join(no)}", err=True)
        raise typer.Exit(EXIT_NO)
    typer.echo("run: done; to let it in: intentd-train promote --to staging --why …", err=True)


def _print_stage(folder: Path, outcome: Outcome, step: Step) -> None:
    print_outcome(outcome, folder, False, hide=step.hidden)
    if (folder / REPORT).exists():
        typer.echo(f"report: {folder / REPORT}")
