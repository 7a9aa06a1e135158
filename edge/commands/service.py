"""`intentd service`: put the systemd units in place, look at them, take them away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.commands.output import write_facts, write_json, write_line, write_table
from edge.errors import EXIT_NO, InvalidValue

if TYPE_CHECKING:  # --help needs none of it
    from edge.service_plan import Request, Step

__all__ = ["service_app"]

service_app = typer.Typer(
    help="Run intentd as a service of this machine.",
    epilog="Example: intentd service install --dry-run",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print each step, and do none.")]
Root = Annotated[
    Path,
    typer.Option(
        "--root", help="A directory that stands for /; no command is run then.", metavar="PATH"
    ),
]
ManagerName = Annotated[
    str,
    typer.Option(
        "--manager",
        help="systemd, old-systemd (before 235) or init. [default: what this machine has]",
        metavar="WORD",
    ),
]
Executable = Annotated[
    Path | None,
    typer.Option(
        "--executable",
        help="The command intentd that the service starts. [default: this one]",
        metavar="PATH",
    ),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Also files changed by hand; a copy is kept beside each."),
]
Collector = Annotated[bool, typer.Option("--collector", help="Also the collector's unit.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ROOT = Path("/")


@service_app.command("install", epilog="Example: sudo /opt/intentd/bin/intentd service install")
def install(
    dry_run: DryRun = False,
    root: Root = ROOT,
    manager: ManagerName = "",
    executable: Executable = None,
    replace: Replace = False,
    collector: Collector = False,
) -> None:
    """Write the unit files and start the service; run it again after an upgrade.

    A file that you changed is kept, and named; exit code 1 says so. Changes belong in drop-ins
    (systemctl edit intentd).
    """
    from edge.service_plan import plan_install

    request = _request(root, manager, executable, replace, collector)
    _carry_out(plan_install(request), request, dry_run)


@service_app.command("uninstall", epilog="Example: sudo intentd service uninstall --dry-run")
def uninstall(
    dry_run: DryRun = False,
    root: Root = ROOT,
    manager: ManagerName = "",
    executable: Executable = None,
    replace: Replace = False,
) -> None:
    """Stop the service and remove its unit files; settings and corrections stay."""
    from edge.service_plan import plan_uninstall

    request = _request(root, manager, executable, replace, checked=False)
    _carry_out(plan_uninstall(request), request, dry_run)
    if not dry_run:
        write_line("kept: /etc/intentd (settings), /var/lib/intentd (corrections, models)")


@service_app.command("status", epilog="Example: intentd service status --json")
def status(
    root: Root = ROOT,
    manager: ManagerName = "",
    executable: Executable = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, what differs, what runs, and how it is confined.

    Exits 0 if every file is as shipped and the daemon runs, 1 if not.
    """
    from edge.service_status import read_service_status

    request = _request(root, manager, executable, checked=False)
    found = read_service_status(request)
    if as_json:
        write_json(found)
    else:
        _print_status(found)
    raise typer.Exit(0 if found["healthy"] else EXIT_NO)


def _request(
    root: Path,
    manager: str,
    executable: Path | None,
    replace: bool = False,
    collector: bool = False,
    checked: bool = True,
) -> Request:
    from edge.service_plan import Request
    from edge.service_units import Manager, check_executable, find_executable, find_manager

    known = [one.value for one in Manager]
    if manager and manager not in known:
        raise InvalidValue(f"--manager: expected {', '.join(known)}, found {manager!r}")
    default = Manager.SYSTEMD if root != ROOT else None
    chosen = Manager(manager) if manager else default or find_manager()
    program = executable or find_executable()
    if checked:
        check_executable(program, chosen)
    return Request(chosen, program, root.absolute(), replace, collector)


def _carry_out(steps: list[Step], request: Request, dry_run: bool) -> None:
    from edge.service_plan import Keep, carry_out

    if not dry_run and request.root == ROOT and os.geteuid() != 0:
        raise InvalidValue("only root may do that: put sudo before it, or look with --dry-run")
    for step in steps if dry_run else carry_out(steps):
        write_line(str(step))
    if not steps:
        write_line("nothing to do")
    if any(isinstance(step, Keep) for step in steps):
        raise typer.Exit(EXIT_NO)


def _print_status(found: dict[str, Any]) -> None:
    rows = [(f["condition"], f["path"], ", ".join(f["drop_ins"])) for f in found["files"]]
    write_table(("", "file", "drop-ins"), rows)
    if found["units"]:
        unit_rows = [(u["active"], u["unit"], u["enabled"]) for u in found["units"]]
        write_table(("", "unit", "at boot"), unit_rows)
    write_facts({key: found[key] for key in ("manager", "executable", "answers")})
    for weakness in found["weaknesses"]:
        write_line(f"weaker than shipped: {weakness}")
