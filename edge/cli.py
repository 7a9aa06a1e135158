"""The command `intentd`: it parses, calls, prints and exits. Only `cli` files decide exit codes.

Nothing heavy is imported before the command that needs it, so that `intentd --help` is instant.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge import __version__
from edge.commands.bench import bench
from edge.commands.classify import classify
from edge.commands.correct import correct
from edge.commands.corrections import corrections_app
from edge.commands.model import model_app
from edge.commands.options import SETTING_NAMES, ConfigOption, with_settings
from edge.commands.output import write_error, write_facts, write_json, write_line, write_table
from edge.commands.review import review
from edge.commands.service import service_app
from edge.commands.shadow import shadow_app
from edge.commands.stats import stats
from edge.commands.sync import sync
from edge.errors import EXIT_BUG, EXIT_NO, EdgeError
from edge.settings import DEBUG_VARIABLE, Settings, load_settings, shows_tracebacks

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.wire import ModelInfo

__all__ = ["app", "main"]

EXAMPLE_TEXT = "find the invoice from May"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    name="intentd",
    help="A small daemon that tells apps what a text asks for.",
    epilog=f"Example: intentd classify --local '{EXAMPLE_TEXT}'",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: no import of rich, and nothing to strip in a pipe
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
config_app = typer.Typer(
    help="Look at the settings.",
    epilog="Example: intentd config show",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")
app.command(epilog=f"Example: intentd classify --local '{EXAMPLE_TEXT}'")(classify)
app.command(epilog="Example: intentd correct 'who owes me money?' EXTRACT")(correct)
app.command(epilog="Example: intentd review")(review)
app.add_typer(corrections_app, name="corrections")
app.command(epilog="Example: intentd stats --days 30")(stats)
app.command(epilog="Example: intentd sync --dry-run")(sync)
app.add_typer(model_app, name="model")
app.add_typer(shadow_app, name="shadow")
app.add_typer(service_app, name="service")


def _print_version(wanted: bool) -> None:
    if wanted:
        write_line(f"intentd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A small daemon that tells apps what a text asks for."""


@app.command(epilog="Example: intentd serve --threads 2")
@with_settings(*SETTING_NAMES, seeks_daemon=False)
def serve(settings: Settings) -> None:
    """Answer on a Unix socket until SIGTERM or Ctrl-C."""
    started = time.monotonic()
    gc.disable()  # what is imported stays: looking through it again and again is a tenth of a start
    from edge.daemon import configure_logging
    from edge.daemon import serve as serve_forever
    from edge.memory import keep_out_of_collections, release_memory

    def say_ready(address: str, model: ModelInfo) -> None:
        seconds = time.monotonic() - started
        facts = f"{model.name} {model.phase}, {seconds:.1f} s"
        write_line(f"intentd {__version__} answers on {address} ({facts})")
        data = f'-d \'{{"text": "{EXAMPLE_TEXT}"}}\''
        path = shlex.quote(address)
        write_line(f"try: curl --unix-socket {path} http://intentd/v1/classify {data}")
        keep_out_of_collections()
        release_memory()  # what loading took for a while
        gc.enable()

    configure_logging(settings.log_level)
    serve_forever(settings, say_ready)


@app.command(epilog="Example: intentd status --json")
@with_settings("socket")
def status(settings: Settings, as_json: Json = False) -> None:
    """Say how the daemon is.

    Exits 0 if it is ready, 1 if it is not, 4 if nobody answers.
    """
    from edge.client import Client
    from edge.commands.status import read_status

    with Client(settings.socket) as client:
        facts = read_status(client)
    (write_json if as_json else write_facts)(facts)
    raise typer.Exit(0 if facts["ready"] else EXIT_NO)


@app.command(epilog="Example: intentd intents")
@with_settings("socket")
def intents(settings: Settings, as_json: Json = False) -> None:
    """List the intents that the daemon scores."""
    from edge.client import Client

    with Client(settings.socket) as client:
        answer = client.intents()
    if as_json:
        write_json(answer.model_dump(mode="json"))
        return
    rows = [(i.name, f"{i.threshold:g}", i.description) for i in answer.intents]
    write_table(("intent", "threshold", "description"), rows)


@config_app.command("show", epilog="Example: intentd config show --json")
def show_config(
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Show every setting's value, and where it comes from."""
    settings, origins = load_settings(config)
    found = {
        name: {"value": _plain(getattr(settings, name)), "origin": origins[name]}
        for name in SETTING_NAMES
    }
    if as_json:
        write_json(found)
        return
    rows = [(name, str(entry["value"]), str(entry["origin"])) for name, entry in found.items()]
    write_table(("setting", "value", "from"), rows)


@app.command(epilog="Example: intentd doctor")
@with_settings("socket", "bundle", "intents", "threads")
def doctor(settings: Settings, as_json: Json = False) -> None:
    """Examine this machine: CPU, bundle, speed, memory.

    Loads the model in this process and changes nothing. Exits 0 if all is well, 1 if not.
    """
    from dataclasses import asdict

    from edge.doctor import examine, is_healthy

    checks = examine(settings)
    healthy = is_healthy(checks)
    if as_json:
        write_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(check.verdict.value, check.name, check.detail) for check in checks]
        write_table(("", "check", "found"), rows)
    raise typer.Exit(0 if healthy else EXIT_NO)


app.command(epilog="Example: intentd bench --json")(bench)  # beside doctor in the help


def main() -> None:
    """The console script; it always ends in `SystemExit`."""
    try:
        app(prog_name="intentd")
    except EdgeError as error:
        write_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        write_error(f"{error.filename or 'the output'}: {error.strerror}")
        _discard_output()
        sys.exit(EXIT_NO)
    except Exception as error:  # noqa: BLE001 — the last line of defence
        _report_bug(error)
        sys.exit(EXIT_BUG)


def _report_bug(error: Exception) -> None:
    """Name the place and the kind; the message may quote the user's text."""
    if shows_tracebacks():
        traceback.print_exception(error)
        return
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    write_error(f"a bug in intentd: {where}; please report it ({DEBUG_VARIABLE}=1 shows more)")


def _discard_output() -> None:
    """Let the interpreter's last flush succeed: its failure would replace our exit code."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    main()
