"""`intentd-train golden …`: makes the set that every model is judged by. Parse, call, print."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_options import (
    ConfigOption,
    JsonOption,
    SetOption,
    WorkDirOption,
    open_settings,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from training.golden import Status
    from training.golden_log import Candidate, GoldenLog

__all__ = ["app"]

app = typer.Typer(
    help="Make the set that every model is judged by: curated, judged twice, frozen.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
WhoOption = Annotated[
    str | None, typer.Option("--who", help="Who judges. [default: your login name]")
]
NONE_OF_THESE = "0"


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="A request, as a user would send it.")],
    label: Annotated[
        str | None, typer.Option(help="What it asks for; the first judgement.")
    ] = None,
    out_of_scope: Annotated[
        bool, typer.Option("--out-of-scope", help="It asks for none of the labels.")
    ] = False,
    content: Annotated[str | None, typer.Option(help="What the request is about.")] = None,
    who: WhoOption = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
) -> None:
    """Add one request; adding a known one again, as somebody else, is the second judgement.

    Example: intentd-train golden add "what is this about?" --label SUMMARIZE
    """
    if label is not None and out_of_scope:
        raise typer.BadParameter("expected --label or --out-of-scope, found both")
    from training.golden import new_row, open_log

    settings = open_settings(config, overrides, work_dir)
    _check_labels([label] if label else [], settings)
    log = open_log(Path(settings.work_dir))
    person = who or getpass.getuser()
    known = log.find(text, content)
    if known is None:
        log.add_rows([new_row(text, content, person)])
        known = log.find(text, content)
    assert known is not None  # noqa: S101 - it was added
    if label is not None or out_of_scope:
        _judge(log, known, person, label)
    typer.echo(f"{known.row.id}  {known.standing}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines of rows (id, text, label, …).")],
    per_class: Annotated[
        int,
        typer.Option(help="At most so many of each label, and of no label; 0 takes all.", min=0),
    ] = 0,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="The file's labels are no judgement.")
    ] = False,
    who: WhoOption = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
) -> None:
    """Take rows of a file as candidates; their labels count as the first judgement.

    Example: intentd-train golden import train/collect/rows.jsonl --per-class 50 --unlabelled
    """
    from training.golden import open_log, stratify
    from training.rows import Origin, read_rows

    settings = open_settings(config, overrides, work_dir)
    rows = stratify(read_rows(file), per_class, settings.build.seed)
    if not unlabelled:
        _check_labels([row.label for row in rows if row.label is not None], settings)
    log = open_log(Path(settings.work_dir))
    person = who or getpass.getuser()
    before = set(log.candidates)
    added = log.add_rows(rows)
    for row in rows:
        is_judged = not unlabelled and row.origin is not Origin.SHADOW
        if is_judged and row.id in log.candidates and row.id not in before:
            log.judge(row.id, person, row.label)
    typer.echo(f"{added} candidates added, {len(rows) - added} known already")


@app.command()
def review(
    who: WhoOption = None,
    second_pass: Annotated[
        bool, typer.Option("--second-pass", help="Judge again what you judged alone.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Stop after so many; 0 is all.", min=0)] = 0,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
) -> None:
    """Judge candidates one by one, without seeing what others said. Each answer is kept at once.

    Example: intentd-train golden review --who ann
    """
    from training.golden import open_log, to_review

    settings = open_settings(config, overrides, work_dir)
    log = open_log(Path(settings.work_dir))
    person = who or getpass.getuser()
    waiting = to_review(log, person, second_pass=second_pass)
    labels = _labels(settings) or sorted(
        {j.label for c in log.candidates.values() for j in c.judgements if j.label is not None}
    )
    judged = 0
    for candidate in waiting[: limit or None]:
        answer = _ask(candidate, labels)
        if answer == "q":
            break
        if answer != "s":
            label = None if answer == NONE_OF_THESE else labels[int(answer) - 1]
            log.judge(candidate.row.id, person, label)
            judged += 1
    typer.echo(f"{judged} judged, {len(waiting) - judged} left for {person}", err=True)


@app.command()
def status(
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count what is agreed upon, and say what accuracy its size can prove.

    Example: intentd-train golden status
    """
    from dataclasses import asdict

    from training.golden import read_status

    settings = open_settings(config, overrides, work_dir)
    found = read_status(Path(settings.work_dir), settings.golden)
    if as_json:
        labels = {label or "(none of these)": n for label, n in found.per_label.items()}
        print_json(asdict(found) | {"per_label": labels})
    else:
        _print_status(found)


@app.command()
def freeze(
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
) -> None:
    """Write what is agreed upon as the next version, under its hash. Exit code 1: not yet.

    Example: intentd-train golden freeze
    """
    from training.golden import freeze as run
    from training.stage import sha256_of

    settings = open_settings(config, overrides, work_dir)
    path, is_new = run(Path(settings.work_dir), settings.golden)
    typer.echo(f"{path}  {'frozen' if is_new else 'unchanged'}  sha256 {sha256_of(path)}")


def _labels(settings: object) -> list[str]:
    from training.gather import read_labels
    from training.settings import Settings

    assert isinstance(settings, Settings)  # noqa: S101 - for the type
    label_set = read_labels(settings.build)
    return [] if label_set is None else list(label_set.names)


def _check_labels(found: Sequence[str], settings: object) -> None:
    from training.errors import InvalidRows

    known = _labels(settings)
    strange = sorted(set(found) - set(known)) if known else []
    if strange:
        raise InvalidRows(
            f"golden: expected one of {', '.join(known)}, found {strange[0]!r}; name the label set "
            "with --set build.intents=FILE"
        )


def _judge(log: GoldenLog, candidate: Candidate, who: str, label: str | None) -> None:
    if candidate.passes_of(who):
        typer.echo(f"{who} judged it before; a second judgement needs another --who", err=True)
    else:
        log.judge(candidate.row.id, who, label)


def _ask(candidate: Candidate, labels: Sequence[str]) -> str:
    """The number of a label, 0 for none of them, s to skip, q to stop."""
    typer.echo(f"\n{candidate.row.text}")
    if candidate.row.content:
        typer.echo(f"--- about:\n{candidate.row.content}")
    choices = "  ".join(f"{n} {label}" for n, label in enumerate(labels, 1))
    allowed = {NONE_OF_THESE, "s", "q", *(str(n) for n in range(1, len(labels) + 1))}
    while True:
        prompt = f"{choices}  0 none of these  s skip  q stop"
        try:
            answer = str(typer.prompt(prompt)).strip()
        except typer.Abort:
            return "q"  # the end of the input
        if answer in allowed:
            return answer


def _print_status(found: Status) -> None:
    for standing, n in found.standings.items():
        typer.echo(f"{n:6} {standing}")
    if found.per_label:
        typer.echo()
        rows = [(label or "(none of these)", str(n)) for label, n in found.per_label.items()]
        print_table(("label", "agreed"), rows)
    frozen = f"version {found.version}, {found.frozen_rows} rows" if found.version else "nothing"
    typer.echo(f"\nfrozen: {frozen}")
    typer.echo(_say_proof(found))
    for accuracy, needed in found.rows_to_prove.items():
        needs = f"{needed} rows" if needed else "no number of rows will do"
        typer.echo(f"  a model that is right in {accuracy:.0%}: {needs}")
    if None not in found.per_label:
        typer.echo("no row is out of scope: how well a model abstains cannot be judged")


def _say_proof(found: Status) -> str:
    n, gate = found.in_scope, f"{found.gate:.0%}"
    if found.needed_right is None:
        return (
            f"{n} agreed rows cannot prove {gate}, whatever a model says (95 % Wilson interval); "
            f"it takes {found.rows_for_perfect} at least. To prove {gate} with"
        )
    return (
        f"{n} agreed rows prove {gate} where {found.needed_right} or more are answered right "
        f"({found.needed_right / n:.1%}; 95 % Wilson interval). To prove {gate} with"
    )
