"""What the commands share: the settings, the reporter, and how an outcome is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from training.settings import Settings
    from training.stage import Outcome, Stage

__all__ = [
    "ConfigOption",
    "DryRunOption",
    "ForceOption",
    "JsonOption",
    "SetOption",
    "WorkDirOption",
    "open_settings",
    "print_json",
    "print_outcome",
    "print_plan",
    "print_table",
]

DEFAULT_CONFIG = Path("train.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The run's settings. [default: train.toml, if it is there]"),
]
WorkDirOption = Annotated[
    Path | None,
    typer.Option("--work-dir", help="Where the stages' folders lie. [default: train]"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run it even if nothing has changed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def open_settings(
    config: Path | None, overrides: list[str] | None, work_dir: Path | None, **more: object
) -> Settings:
    """The settings, with what the command line says on top.

    Args:
        config: train.toml; None means the one here, if there is one.
        overrides: Of `--set`.
        work_dir: Of `--work-dir`.
        more: `section_key=value` of a command's own options; None is left out.
    """
    from training.settings import load_settings

    path = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    given = list(overrides or [])
    if work_dir is not None:
        given.append(f"work_dir={json.dumps(str(work_dir))}")
    for name, value in more.items():
        if value not in (None, []):
            given.append(f"{name.replace('_', '.', 1)}={json.dumps(value, default=str)}")
    return load_settings(path, given)


def print_plan(stage: Stage, as_json: bool) -> None:
    """What a run would do."""
    state = "nothing to do" if stage.is_current() else "to be run"
    if as_json:
        inputs = {name: str(path) for name, path in stage.inputs.items()}
        print_json({"stage": stage.name, "state": state, "inputs": inputs})
        return
    typer.echo(f"{stage.name}: {state}; writes {stage.folder}")
    for name, path in stage.inputs.items():
        typer.echo(f"  reads {name}: {path}")


def print_outcome(outcome: Outcome, folder: Path, as_json: bool, hide: Sequence[str] = ()) -> None:
    """What a run did: its counts, one a line, but for those to hide."""
    if as_json:
        print_json(outcome.manifest | {"skipped": outcome.skipped})
        return
    done = "unchanged" if outcome.skipped else f"written in {outcome.manifest['seconds']:.1f} s"
    typer.echo(f"{folder}: {done}")
    for name, value in outcome.manifest["counts"].items():
        if value not in ({}, []) and name not in hide:
            typer.echo(f"  {name.replace('_', ' ')}: {_say(value)}")


def _say(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_say(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
