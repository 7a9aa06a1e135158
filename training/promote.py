"""Lets a candidate into staging and production, and takes it back: by a person, and on the record.

A promotion is proposed, shown, confirmed by whoever called, and then carried out if nothing has
changed meanwhile. What a crash leaves half done, the next call finishes, or says what became of it.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from export.report import Reporter
from training.audit import Action, AuditLog, Entry, Outcome, State
from training.errors import InvalidConfig, PromotionRefused, StageMissing
from training.evidence import (
    PREVIOUS,
    PRODUCTION,
    STAGING,
    Candidate,
    check,
    moves_back,
    moves_to,
    read_candidate,
    short,
)
from training.settings import Settings
from training.stage import MANIFEST, read_manifest, sha256_of
from training.tracking import Registry, Version

__all__ = ["AUDIT", "Proposal", "Status", "carry_out", "propose", "propose_rollback", "read_status"]

AUDIT = "promotions.jsonl"
MAX_WORDS_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be done, for a person to confirm."""

    action: Action
    digest: str
    """Of the bundle that it is about."""
    aliases: dict[str, int]
    """As they are."""
    is_done: bool
    """Whether it is there already, so that nothing is to be moved."""
    version: Version | None
    """None if it is still to be registered."""
    candidate: Candidate | None
    """None in a rollback."""
    production: str
    """Digest of what is in production; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Status:
    """The registry as it is."""

    registry: str
    model: str
    versions: dict[str, Version]
    """Alias → version."""
    history: list[tuple[Entry, Outcome | None]]


@dataclass(frozen=True, slots=True)
class _Desk:
    """The registry and the audit of one working directory."""

    registry: Registry
    log: AuditLog
    model: str
    reporter: Reporter


def propose(settings: Settings, action: Action, reporter: Reporter) -> Proposal:
    """What promoting the exported bundle would do.

    Raises:
        PromotionRefused: It has not earned it.
        TrainingError: Its evidence is missing, or MLflow does not answer.
    """
    candidate = read_candidate(Path(settings.work_dir))
    digest = candidate.bundle.digest
    with _desk(settings, reporter) as desk:
        aliases, version = desk.registry.aliases(), desk.registry.find(digest)
        number = version.number if version else None
        if number is None or number != aliases.get(PRODUCTION):
            check(action, candidate, number, aliases.get(STAGING))
        is_done = number is not None and not moves_to(action, number, aliases)
        production = _digest_of(desk.registry, aliases.get(PRODUCTION))
        return Proposal(action, digest, aliases, is_done, version, candidate, production)


def propose_rollback(settings: Settings, reporter: Reporter) -> Proposal:
    """What a rollback would do.

    Raises:
        PromotionRefused: There is nothing to go back to.
        TrainingError: MLflow does not answer.
    """
    with _desk(settings, reporter) as desk:
        aliases = desk.registry.aliases()
        moves_back(aliases)
        version = desk.registry.version(aliases[PREVIOUS])
        production = _digest_of(desk.registry, aliases[PRODUCTION])
        return Proposal(Action.ROLLBACK, version.digest, aliases, False, version, None, production)


def carry_out(
    settings: Settings, proposal: Proposal, who: str, why: str, reporter: Reporter
) -> Entry | None:
    """Do what was proposed and confirmed; returns its row in the audit, or None if all was so.

    Raises:
        InvalidConfig: Nobody is named, or no reason.
        PromotionRefused: The aliases were moved since.
        RegistryUnreachable: MLflow does not answer; what was begun, the next call finishes.
        OSError: The audit cannot be written; nothing was moved.
    """
    who, why = _words("--who", who), _words("--why", why)
    if proposal.is_done:
        return None
    with _desk(settings, reporter) as desk:
        if desk.registry.aliases() != proposal.aliases:
            raise PromotionRefused(
                f"{desk.registry.name}: expected the aliases as they were shown, found that they "
                "were moved meanwhile; look at `intentd-train promote` and call again"
            )
        version = _registered(desk, settings, proposal)
        entry = _entry(desk, proposal, version, who, why)
        desk.log.append(entry)
        _finish(desk, entry)
        return entry


def read_status(settings: Settings, reporter: Reporter) -> Status:
    """Which version is where, and how it came to that."""
    with _desk(settings, reporter) as desk:
        versions = {
            alias: desk.registry.version(number)
            for alias, number in desk.registry.aliases().items()
        }
        return Status(desk.registry.name, desk.model, versions, desk.log.read())


@contextmanager
def _desk(settings: Settings, reporter: Reporter) -> Iterator[_Desk]:
    """One promotion of a working directory at a time; first, what the last one left is settled."""
    work_dir = Path(settings.work_dir)
    if not work_dir.is_dir():
        raise StageMissing(
            f"{work_dir}: expected a working directory, found none; choose another --work-dir"
        )
    log = AuditLog(work_dir / AUDIT)
    with log.hold(lambda: reporter.note("waiting for another promotion to end …")):
        desk = _Desk(Registry(settings), log, settings.promote.model, reporter)
        for entry, outcome in log.read():
            if outcome is None and _is_ours(desk, entry):
                _settle(desk, entry)
        yield desk


def _registered(desk: _Desk, settings: Settings, proposal: Proposal) -> Version:
    """The version that it is about; its tags say what was found out about it last."""
    candidate, version = proposal.candidate, proposal.version
    if candidate is None:
        return version or desk.registry.version(proposal.aliases[PREVIOUS])
    tags = _evidence_tags(candidate)
    if version is None:
        with desk.reporter.step(f"uploading {short(proposal.digest)}"):
            run_id = _run_of_fit(desk.registry, Path(settings.work_dir))
            return desk.registry.register(candidate.bundle.path, proposal.digest, tags, run_id)
    stale = {name: value for name, value in tags.items() if version.tags.get(name) != value}
    desk.registry.tag(version.number, stale)
    return version


def _run_of_fit(registry: Registry, work_dir: Path) -> str | None:
    """The run that tells how this bundle was fitted; None if fit/ holds another model by now."""
    fit = work_dir / "fit"
    if not (fit / MANIFEST).exists():
        return None
    made_of = read_manifest(work_dir / "export")["inputs"].values()
    return registry.log_fit(fit) if sha256_of(fit / "model") in made_of else None


def _entry(desk: _Desk, proposal: Proposal, version: Version, who: str, why: str) -> Entry:
    candidate, action, aliases = proposal.candidate, proposal.action, proposal.aliases
    is_back = action is Action.ROLLBACK
    return Entry(
        id=str(uuid.uuid4()),
        utc=_now(),
        action=action,
        who=who,
        why=why,
        host=socket.gethostname(),
        registry=desk.registry.name,
        model=desk.model,
        version=version.number,
        digest=version.digest,
        before=aliases,
        after=moves_back(aliases) if is_back else moves_to(action, version.number, aliases),
        evidence=dict(candidate.evidence) if candidate else {},
        verdict=candidate.said if candidate else "",
    )


def _settle(desk: _Desk, entry: Entry) -> None:
    """Finish what a crash cut short; or note that it never began, or that others went on."""
    now = desk.registry.aliases()
    told = f"the promotion of {short(entry.digest)} by {entry.who} ({entry.utc}) was cut short"
    if all(now.get(alias) == entry.before.get(alias) for alias in entry.after):
        _end(desk, entry, State.DROPPED, "cut short before anything was moved")
        desk.reporter.note(f"{told} before anything was moved: call it again if it is still wanted")
    elif all(
        now.get(alias) in (entry.before.get(alias), number) for alias, number in entry.after.items()
    ):
        _finish(desk, entry, "finished by a later call")
        desk.reporter.note(f"{told}: it is finished now")
    else:
        _end(desk, entry, State.OVERTAKEN, "somebody else moved the aliases since")
        desk.reporter.note(f"{told}, and others have moved the aliases since: it stays so")


def _finish(desk: _Desk, entry: Entry, note: str = "") -> None:
    """Make the moves that are left, and write them down where the version is."""
    now = desk.registry.aliases()
    for alias, number in entry.after.items():
        if now.get(alias) != number:
            desk.registry.move(alias, number)
    desk.registry.tag(entry.version, _tags(entry))
    _end(desk, entry, State.DONE, note)


def _end(desk: _Desk, entry: Entry, state: State, note: str) -> None:
    desk.log.append(Outcome(id=entry.id, utc=_now(), outcome=state, note=note))


def _tags(entry: Entry) -> dict[str, str]:
    """What a reader of MLflow sees: the row of the audit, under a name that is never used again."""
    tags = {f"intentd.audit.{entry.utc}.{entry.id}": entry.model_dump_json()}
    if entry.action is not Action.STAGING:
        tags |= {
            "intentd.approved_by": entry.who,
            "intentd.approved_utc": entry.utc,
            "intentd.approved_why": entry.why,
        }
    return tags


def _evidence_tags(candidate: Candidate) -> dict[str, str]:
    manifest = candidate.bundle.manifest
    return {
        "intentd.name": manifest.name,
        "intentd.version": manifest.version,
        "intentd.dataset": manifest.dataset_sha256 or "",
        "intentd.golden": candidate.golden,
        "intentd.gates": "passed" if candidate.passed else "failed",
        "intentd.shadow": candidate.verdict,
        **{f"intentd.evidence.{name}": digest for name, digest in candidate.evidence.items()},
        **{f"gate.{gate.name}": gate.said for gate in candidate.gates},
    }


def _digest_of(registry: Registry, number: int | None) -> str:
    return registry.version(number).digest if number else ""


def _is_ours(desk: _Desk, entry: Entry) -> bool:
    return (entry.registry, entry.model) == (desk.registry.name, desk.model)


def _words(option: str, text: str) -> str:
    found = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not 0 < len(found) <= MAX_WORDS_CHARS:
        raise InvalidConfig(
            f"{option}: expected 1 to {MAX_WORDS_CHARS} characters for the audit, found "
            f"{len(found)}"
        )
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
