"""`intentd-train`: commands that parse, call, print and exit. The work is done elsewhere."""

from __future__ import annotations

import signal

import typer

from training.cli_assess import assess, report
from training.cli_data import augment, build, collect
from training.cli_fit import export, fit
from training.cli_golden import app as golden
from training.cli_promote import promote, publish
from training.cli_run import run
from training.cli_shadow import shadow

__all__ = ["app", "main"]

app = typer.Typer(
    help="From corrections to a promoted model, one stage at a time.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command()(collect)
app.add_typer(golden, name="golden")
for command in (build, augment, fit, export, assess, shadow, run, promote, publish, report):
    app.command()(command)

EXIT_UNABLE = 3
EXIT_BUG = 70
EXIT_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def main() -> None:
    """Entry point: turns the errors raised on purpose into a message and an exit code."""
    # Ended from outside, a stage must clean up as well: an exception unwinds, a signal does not.
    signal.signal(signal.SIGTERM, _leave)
    from edge.errors import EdgeError
    from export.errors import ExportError
    from training.errors import TrainingError

    try:
        app(prog_name="intentd-train")
    except SystemExit as end:
        if end.code not in EXIT_INTERRUPTED:
            raise
        _end("interrupted; nothing is half-written, call it again to go on", end.code)
    except (EdgeError, ExportError, TrainingError) as error:
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        _end(
            f"expected the training's packages, found no {error.name}; "
            "pip install 'intentd[training]'",
            EXIT_BUG,
        )
    except OSError as error:
        place = error.filename or "the working directory"
        _end(
            f"{place}: expected to read and write there, but {error.strerror or error}; make room "
            "or mend it, or choose another --work-dir; what was there is as it was",
            EXIT_UNABLE,
        )


def _end(message: str, code: int) -> None:
    typer.echo(f"intentd-train: {message}", err=True)
    raise SystemExit(code) from None


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
