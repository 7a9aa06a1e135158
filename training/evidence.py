"""What speaks for a candidate: its gates, its shadow report; and whether that is enough.

Pure decisions over files that `training.stage.require` found untouched. It moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.bundle import Bundle, read_bundle
from training.audit import Action
from training.errors import PromotionRefused, StageMissing
from training.stage import require, sha256_of

__all__ = [
    "PREVIOUS",
    "PRODUCTION",
    "STAGING",
    "Candidate",
    "Gate",
    "check",
    "moves_back",
    "moves_to",
    "read_candidate",
    "short",
]

STAGING, PRODUCTION, PREVIOUS = "staging", "production", "previous"
ASSESSMENT, SHADOW = "assessment.json", "shadow.json"
SHORT_CHARS = 12
WORSE = "worse"

T = TypeVar("T", bound="_Record")
Moves = dict[str, int | None]
"""Alias → version, in the order in which they are moved; None takes an alias away."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)  # the reports say much more


class Gate(_Record):
    """One demand on the candidate, and what it came to."""

    name: str
    expected: Any
    found: Any
    passed: bool

    @property
    def said(self) -> str:
        """In a line."""
        wanted = f"expected {self.expected}, found {self.found}"
        return f"{'passed' if self.passed else 'failed'}: {wanted}"


class _Assessment(_Record):
    bundle: str
    golden: str
    gates: tuple[Gate, ...]
    passed: bool


class _Shadow(_Record):
    champion: str
    candidate: str
    verdict: Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """The exported bundle, with what was found out about it."""

    bundle: Bundle
    gates: tuple[Gate, ...]
    passed: bool
    """Whether every gate let it through."""
    golden: str
    """sha256 of the golden set that it was assessed on."""
    champion: str
    """Digest of the bundle that it was compared with; empty without a shadow report."""
    verdict: str
    """Of the shadow report, as written there."""
    evidence: Mapping[str, str]
    """File → sha256."""

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that did not let it through."""
        return tuple(gate.name for gate in self.gates if not gate.passed)

    @property
    def said(self) -> str:
        """The evidence in a line."""
        gates = f"gates failed: {', '.join(self.failed)}" if self.failed else "gates passed"
        return f"{gates}; shadow: {self.verdict or 'none'}"


def read_candidate(work_dir: Path) -> Candidate:
    """The bundle in export/, with the reports that speak of exactly this bundle.

    Raises:
        StageMissing: There is no export or no assessment, of another bundle, or touched since.
        BundleCorrupt: The bundle is not what its manifest says.
    """
    require(work_dir / "export", "bundle/manifest.json")
    bundle = read_bundle(work_dir / "export" / "bundle")
    assessed = require(work_dir / "assess", ASSESSMENT)
    assessment = _read(assessed, _Assessment)
    if assessment.bundle != bundle.digest:
        raise StageMissing(
            f"{assessed}: expected the assessment of {short(bundle.digest)}, found that of "
            f"{short(assessment.bundle)}; run `intentd-train assess` again"
        )
    evidence = {f"assess/{ASSESSMENT}": sha256_of(assessed)}
    shadow = _read_shadow(work_dir, bundle.digest)
    if shadow:
        evidence[f"shadow/{SHADOW}"] = sha256_of(work_dir / "shadow" / SHADOW)
    return Candidate(
        bundle=bundle,
        gates=assessment.gates,
        passed=assessment.passed and all(gate.passed for gate in assessment.gates),
        golden=assessment.golden,
        champion=shadow.champion if shadow else "",
        verdict=_in_a_line(shadow.verdict) if shadow else "",
        evidence=evidence,
    )


def check(action: Action, candidate: Candidate, version: int | None, staging: int | None) -> None:
    """Refuse what has not been earned. Staging asks for an assessment and nothing more.

    Args:
        action: Where it is to go.
        candidate: What is known of it.
        version: Its number in the registry, if it is there.
        staging: The version that is in staging.

    Raises:
        PromotionRefused: An honest "no", with what is missing.
    """
    if action is not Action.PRODUCTION:
        return
    name = short(candidate.bundle.digest)
    if not candidate.passed or not candidate.gates:
        failed = ", ".join(candidate.failed) or "no gate was asked"
        raise PromotionRefused(
            f"{name}: expected every gate of `intentd-train assess` to pass, found: {failed}; "
            "see assess/report.md for what is missing"
        )
    if not candidate.champion:
        raise PromotionRefused(
            f"{name}: expected a shadow report of exactly this bundle, found none; run "
            "`intentd-train shadow`"
        )
    if candidate.verdict == WORSE:
        raise PromotionRefused(
            f"{name}: expected a candidate that is not worse than {short(candidate.champion)}, "
            "found that the shadow report calls it worse; see shadow/report.md"
        )
    if version is None or staging != version:
        raise PromotionRefused(
            f"{name}: expected it in staging, found "
            f"{'another version there' if staging else 'nothing there'}; run `intentd-train "
            "promote --to staging` first"
        )


def moves_to(action: Action, version: int, aliases: Mapping[str, int]) -> Moves:
    """The moves that let a version into staging or production; none if it is there.

    Between any two of them production names one whole version that somebody let in.
    """
    if action is Action.STAGING:
        return (
            {} if version in (aliases.get(STAGING), aliases.get(PRODUCTION)) else {STAGING: version}
        )
    old = aliases.get(PRODUCTION)
    moves: Moves = {}
    if old != version:
        moves |= {PREVIOUS: old} if old else {}
        moves[PRODUCTION] = version
    if aliases.get(STAGING) == version:
        moves[STAGING] = None
    return moves


def moves_back(aliases: Mapping[str, int]) -> Moves:
    """The moves of a rollback: production and previous change places.

    Raises:
        PromotionRefused: There is nothing to go back to.
    """
    now, before = aliases.get(PRODUCTION), aliases.get(PREVIOUS)
    if now is None or before is None or now == before:
        raise PromotionRefused(
            f"rollback: expected a version that was in production before, found none"
            f"{'' if now else ', nor one that is'}; see `intentd-train promote`"
        )
    return {PRODUCTION: before, PREVIOUS: now}


def short(digest: str) -> str:
    """As many digits of a digest as people read."""
    return digest[:SHORT_CHARS]


def _read_shadow(work_dir: Path, digest: str) -> _Shadow | None:
    """The shadow report, if there is one of this bundle."""
    if not (work_dir / "shadow").exists():
        return None
    found = _read(require(work_dir / "shadow", SHADOW), _Shadow)
    return found if found.candidate == digest else None


def _read(path: Path, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise StageMissing(
            f"{path}: expected a report of this program, found at {place or 'the top'}: "
            f"{problem['msg']}; run `intentd-train {path.parent.name}` again with --force"
        ) from None


def _in_a_line(verdict: Any) -> str:
    if isinstance(verdict, Mapping):
        return ", ".join(f"{name} {value}" for name, value in verdict.items())
    return " ".join(str(verdict).split())
