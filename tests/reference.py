"""Writes the generated parts of docs/cli.md from the code: `python -m tests.reference`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import typer

from edge import cli, errors
from edge.commands.options import describe_default
from edge.errors import EdgeError
from edge.protocol import REFUSALS
from edge.settings import ENV_PREFIX, Settings
from tests.daemons import ROOT

__all__ = ["PAGE", "commands", "error_classes", "render"]

PAGE = ROOT / "docs" / "cli.md"
KINDS = {Path: "path", str: "text", bool: "true or false"}
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every generated part as the code has it now."""
    return PART.sub(lambda part: f"{part[1]}\n{GENERATORS[part[2]]()}\n{part[3]}", page)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of the help."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for child, nested in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {child}", nested)

    return walk("intentd", typer.main.get_command(cli.app))


def error_classes() -> list[type[EdgeError]]:
    """Every error class, the roots of kin included: each has a code that may be met."""
    exported = (getattr(errors, name) for name in errors.__all__)
    return [kind for kind in exported if isinstance(kind, type) and issubclass(kind, EdgeError)]


def _commands() -> str:
    return "\n".join(_command(name, command) for name, command in commands())


def _command(name: str, command: Any) -> str:
    help_text = re.sub(r"\s+", " ", command.help or "")
    example = command.epilog.removeprefix("Example: ")
    rows = [_option(parameter) for parameter in command.params if parameter.name != "help"]
    table = ["| option | meaning |", "|---|---|", *rows] if rows else []
    return "\n".join(
        [f"### {name}", "", help_text, "", "```", example, "```", "", *table, *([""] * bool(rows))]
    )


def _option(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    shown = ", ".join(f"`{name}`" for name in names if not name.islower() or name.startswith("-"))
    if parameter.param_type_name == "argument":
        shown = f"`{parameter.metavar}`"
    elif parameter.metavar:
        shown += f" {parameter.metavar}"
    return f"| {shown} | {_cell(parameter.help)} |"


def _settings() -> str:
    rows = ["| setting | variable | default | range | meaning |", "|---|---|---|---|---|"]
    kinds = get_type_hints(Settings)
    for setting in fields(Settings):
        low, high = setting.metadata["low"], setting.metadata["high"]
        allowed = f"{low} to {high}" if low is not None else KINDS[kinds[setting.name]]
        variable = f"{ENV_PREFIX}{setting.name.upper()}"
        rows.append(
            f"| `{setting.name}` | `{variable}` | {describe_default(setting.name)} "
            f"| {allowed} | {_cell(setting.metadata['doc'])} |"
        )
    return "\n".join([*rows, ""])


def _errors() -> str:
    rows = ["| code | HTTP status | exit code | meaning |", "|---|---|---|---|"]
    for kind in sorted(error_classes(), key=lambda kind: (kind.exit_code, kind.code)):
        meaning = (kind.__doc__ or "").splitlines()[0]
        if kind is EdgeError:
            meaning = "A bug; the log holds the place, never the text."
        rows.append(f"| `{kind.code}` | {kind.http_status} | {kind.exit_code} | {meaning} |")
    for status, (code, detail) in REFUSALS.items():
        rows.append(f"| `{code}` | {status} | 2 | {detail[0].upper()}{detail[1:]}. |")
    return "\n".join([*rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "settings": _settings,
    "errors": _errors,
}

if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")
