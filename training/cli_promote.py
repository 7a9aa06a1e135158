"""`intentd-train promote|publish`: parse, show, ask, call, print."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from training.cli_options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    SetOption,
    WorkDirOption,
    open_settings,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from training.audit import Entry
    from training.evidence import Candidate
    from training.promote import Proposal, Status

__all__ = ["promote", "publish"]

MIN_CONFIRM_CHARS = 8
SHOWN_ROWS = 20

WhyOption = Annotated[str | None, typer.Option(help="The reason, for the audit.")]
WhoOption = Annotated[
    str | None, typer.Option(help="Who decides. [default: the login name]", show_default=False)
]


def promote(
    to: Annotated[
        Literal["staging", "production"] | None,
        typer.Option(help="Where the exported bundle is to go; production takes it from staging."),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put back what was in production before.")
    ] = False,
    why: WhyOption = None,
    who: WhoOption = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="For production, 8 or more digits of the bundle's digest, instead of typing them.",
        ),
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a bundle into staging or production, on the record; without options, say what is there.

    Production takes passed gates and a shadow report of exactly this bundle, and a person's word.

    Example: intentd-train promote --to production --why "2 points better on golden-3"
    """
    settings = open_settings(config, overrides, work_dir)
    from export.report import Reporter
    from training.promote import carry_out, propose, propose_rollback, read_status

    reporter = Reporter()
    if to is None and not rollback:
        _print_status(read_status(settings, reporter), as_json)
        return
    if to is not None and rollback:
        raise typer.BadParameter("expected --to or --rollback, found both")
    if not why and not dry_run:
        raise typer.BadParameter("--why: expected the reason, for the audit, found none")
    from training.audit import Action

    if to is None:
        proposal = propose_rollback(settings, reporter)
    else:
        proposal = propose(settings, Action(to), reporter)
    reporter.facts(_describe(proposal))
    if dry_run:
        return
    if proposal.action is Action.PRODUCTION and not proposal.is_done:
        _confirm(proposal.digest, confirm)
    entry = carry_out(settings, proposal, who or _login(), why or "", reporter)
    _print_entry(proposal, entry, as_json)


def publish(
    to: Annotated[
        str | None,
        typer.Argument(
            metavar="TO",
            help="A directory, file://… or s3://bucket/prefix. [default: publish.to]",
            show_default=False,
        ),
    ] = None,
    alias: Annotated[
        Literal["production", "staging"], typer.Option(help="Which version.")
    ] = "production",
    key: Annotated[
        Path | None,
        typer.Option(help="Sign it with this private key. [default: publish.key]"),
    ] = None,
    config: ConfigOption = None,
    work_dir: WorkDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lay what was promoted where `intentd model pull` finds it; to repeat it changes nothing.

    Example: intentd-train publish /srv/models --key release.key
    """
    settings = open_settings(config, overrides, work_dir, publish_to=to, publish_key=key)
    from export.report import Reporter
    from training.publish import publish as run

    done = run(settings, alias, Reporter(), dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    state = "to be published" if dry_run else "published" if done.changed else "unchanged"
    signed = "signed" if done.signed else "not signed"
    typer.echo(f"{done.location}: {state}: {done.name} {done.version}, {alias}, {signed}")
    typer.echo(f"  digest: {done.digest}")
    for name in done.written:
        typer.echo(f"  {'would write' if dry_run else 'wrote'} {name}")


def _describe(proposal: Proposal) -> dict[str, str]:
    """What is about to happen, for the person who decides."""
    from training.evidence import short

    facts = {
        "to": "production, by rollback" if proposal.candidate is None else str(proposal.action),
        "digest": proposal.digest,
        "in production now": short(proposal.production) or "nothing",
    }
    if proposal.candidate is not None:
        facts |= _evidence(proposal.candidate, proposal.production)
    return facts


def _evidence(candidate: Candidate, production: str) -> dict[str, str]:
    manifest = candidate.bundle.manifest
    facts = {"bundle": f"{manifest.name} {manifest.version}"}
    facts |= {gate.name: gate.said for gate in candidate.gates if not gate.passed}
    passed = sum(gate.passed for gate in candidate.gates)
    facts["gates"] = f"{passed} of {len(candidate.gates)} passed"
    facts["shadow"] = candidate.verdict or "no report"
    if candidate.champion and production not in ("", candidate.champion):
        facts["note"] = "the shadow report compares it with another bundle than that in production"
    return facts


def _confirm(digest: str, given: str | None) -> None:
    """Whoever lets a model answer has looked at which one it is.

    Raises:
        PromotionRefused: Not this one was named.
    """
    from training.errors import InvalidConfig, PromotionRefused

    if given is None:
        if not sys.stdin.isatty():
            raise InvalidConfig(
                f"--to production: expected a confirmation, found no terminal; add --confirm "
                f"{digest[:MIN_CONFIRM_CHARS]}… with {MIN_CONFIRM_CHARS} or more of its digits"
            )
        question = f"Type the first {MIN_CONFIRM_CHARS} digits of the digest to let it answer"
        given = typer.prompt(question, default="", show_default=False, err=True)
    word = given.strip().lower()
    if len(word) < MIN_CONFIRM_CHARS or not digest.startswith(word):
        raise PromotionRefused(
            f"confirmation: expected {MIN_CONFIRM_CHARS} or more of the first digits of "
            f"{digest}, found something else; nothing was promoted"
        )


def _login() -> str:
    import getpass

    from training.errors import InvalidConfig

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InvalidConfig("--who: expected a name, since this login has none") from None


def _print_entry(proposal: Proposal, entry: Entry | None, as_json: bool) -> None:
    if as_json:
        print_json({"changed": entry is not None, "entry": entry and entry.model_dump(mode="json")})
    elif entry is None:
        typer.echo(f"{proposal.action}: unchanged, {proposal.digest} is there already")
    else:
        for alias, number in entry.after.items():
            now = "nothing" if number is None else f"version {number}"
            typer.echo(f"{alias}: {now}")


def _print_status(status: Status, as_json: bool) -> None:
    if as_json:
        rows = [
            entry.model_dump(mode="json") | {"outcome": outcome and outcome.outcome}
            for entry, outcome in status.history
        ]
        places = {
            alias: {"version": one.number, "digest": one.digest, "tags": dict(one.tags)}
            for alias, one in status.versions.items()
        }
        print_json(
            {
                "registry": status.registry,
                "model": status.model,
                "aliases": places,
                "history": rows,
            }
        )
        return
    from training.evidence import short

    typer.echo(f"{status.model} in {status.registry}")
    for alias, one in sorted(status.versions.items()):
        typer.echo(f"  {alias}: version {one.number}, {short(one.digest)}")
    if not status.versions:
        typer.echo("  nothing is promoted")
    if status.history:
        print_table(
            ("when", "who", "what", "digest", "outcome", "why"),
            [
                (
                    *(entry.utc, entry.who, str(entry.action), short(entry.digest)),
                    *(str(outcome.outcome if outcome else "begun"), entry.why),
                )
                for entry, outcome in status.history[-SHOWN_ROWS:]
            ],
        )
