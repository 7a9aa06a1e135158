"""The command line's options: those made from `Settings`, whose words and defaults stand there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from edge.settings import Settings, find_socket, load_settings

__all__ = ["SETTING_NAMES", "ConfigOption", "describe_default", "with_settings"]

Result = TypeVar("Result")

SETTING_NAMES = tuple(f.name for f in fields(Settings))
DEFAULTS_IN_WORDS = {
    "socket": "api.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/intentd or /tmp/intentd-UID",
    "admin_socket": "admin.sock beside the socket",
    "state_dir": "$STATE_DIRECTORY, $XDG_STATE_HOME/intentd or ~/.local/state/intentd",
    "bundle": "the starter, which is built in",
    "intents": "SUMMARIZE, EXTRACT, REASON, SEARCH_ONLY, which are built in",
}
METAVARS = {Path: "PATH", str: "WORD", int: "NUMBER", float: "SECONDS"}

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A TOML file of settings. "
        "[default: intentd.toml in $XDG_CONFIG_HOME/intentd; for root in /etc/intentd]",
        metavar="PATH",
    ),
]


def with_settings(
    *names: str, seeks_daemon: bool = True
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Give a command an option for each of these settings, and the merged `Settings` to work with.

    Args:
        names: The settings; the decorated function takes `settings` and the options of its own.
        seeks_daemon: Whether a socket that nobody chose is looked for (`find_socket`), which the
            daemon itself must not do.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def run(*, config: Path | None = None, **given: Any) -> Result:
            overrides = {name: given.pop(name) for name in names}
            settings, origins = load_settings(config, overrides)
            if seeks_daemon and origins["socket"] == "default":
                beside = origins["admin_socket"] == "default"
                admin = Path() if beside else settings.admin_socket
                settings = replace(settings, socket=find_socket(), admin_socket=admin)
            return command(settings=settings, **given)

        declared = inspect.signature(command, eval_str=True).parameters.values()
        options = [_option(name) for name in names]
        own = [parameter for parameter in declared if parameter.name != "settings"]
        run.__signature__ = inspect.Signature([*own, *options, _parameter("config", ConfigOption)])  # type: ignore[attr-defined]
        return run

    return decorate


def describe_default(name: str) -> str:
    """A setting's default, in words where the value depends on the machine."""
    default = {f.name: f.default for f in fields(Settings)}[name]
    return DEFAULTS_IN_WORDS.get(name) or str(default if default != "" else "none").lower()


def _option(name: str) -> inspect.Parameter:
    metadata = {f.name: f.metadata for f in fields(Settings)}[name]
    kind = get_type_hints(Settings)[name]
    flag = "--" + name.replace("_", "-")
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=f"{metadata['doc']} [default: {describe_default(name)}]",
        metavar=METAVARS.get(kind),
    )
    return _parameter(name, Annotated[kind | None, option])


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
