"""`run`: every stage up to `shadow`, one after the other, by the functions that the commands call.

A stage whose inputs are unchanged is skipped, so an interrupted run goes on where it ended. The
first honest "no" ends it. It never promotes: that is a person's to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from export.report import Reporter
from training.errors import InvalidConfig, StageMissing
from training.golden import read_frozen
from training.settings import Settings
from training.stage import Outcome, Stage

__all__ = ["Plan", "Step", "plan", "run", "steps_of"]

Counts = dict[str, Any]


class Plan(StrEnum):
    """What a run would do with a stage."""

    ASKED = "to be asked: what it reads is not in files"
    RUN = "to be run"
    UNCHANGED = "nothing to do"
    DEPENDS = "nothing to do, unless a stage before it comes out otherwise"


@dataclass(frozen=True, slots=True)
class Step:
    """One stage, and how it says no."""

    name: str
    describe: Callable[[Settings], Stage]
    work: Callable[[Settings, Reporter], Outcome | None]
    refusal: Callable[[Counts], list[str]] = lambda counts: []
    """Why its outcome is a no, a line each; empty where it is none."""
    hidden: tuple[str, ...] = ()
    """Counts that are not for people."""
    remarks: Callable[[Counts], list[str]] = lambda counts: []
    """What is to be said beside the counts."""


def steps_of(settings: Settings) -> list[Step]:
    """The stages of a run; without `collect` where rows come from files alone."""
    steps = [_collect(), _build(), _augment(), _fit(), _export(), _assess(), _shadow()]
    return steps if settings.collect.sources or not settings.build.extra else steps[1:]


def plan(settings: Settings) -> Iterator[tuple[str, Plan]]:
    """What a run would do, as far as can be told beforehand.

    Raises:
        InvalidConfig: collect.sources names nothing.
    """
    moved = False
    for step in steps_of(settings):
        state = _state(step, settings, moved)
        moved = moved or state in (Plan.RUN, Plan.ASKED)
        yield step.name, state


def run(settings: Settings, reporter: Reporter) -> Iterator[tuple[Step, Outcome]]:
    """Run the stages; each is yielded with its outcome, and the next one begins when asked for.

    Raises:
        TrainingError, ExportError, EdgeError: As the stage raises it; what is done stays.
        StageMissing: There is no frozen golden set, without which no model can be judged.
        InvalidConfig: Several processes were started; only `fit` can use them.
    """
    _check(settings)
    steps = steps_of(settings)
    for number, step in enumerate(steps, 1):
        reporter.note(f"{number}/{len(steps)} {step.name}")
        outcome = step.work(settings, reporter)
        if outcome is not None:  # None is for processes that only reckon, and this one is alone
            yield step, outcome


def _check(settings: Settings) -> None:
    """What would be found out after hours, found out at once."""
    from training.fit.processes import read_place

    place = read_place()
    if place.processes > 1:
        raise InvalidConfig(
            f"run: expected one process, found {place.processes}; let several do `intentd-train "
            "fit`, then call run: it goes on from there"
        )
    work_dir = Path(settings.work_dir)
    if read_frozen(work_dir) is None:
        raise StageMissing(
            f"{work_dir / 'golden'}: expected a frozen golden set to judge the model by, found "
            "none; make one with `intentd-train golden`"
        )


def _state(step: Step, settings: Settings, moved: bool) -> Plan:
    try:
        stage = step.describe(settings)
        if stage.live:
            return Plan.ASKED
        is_current = stage.is_current()
    except StageMissing:
        return Plan.RUN
    if not is_current:
        return Plan.RUN
    return Plan.DEPENDS if moved else Plan.UNCHANGED


def _collect() -> Step:
    from training.collect import collect, collect_stage

    return Step("collect", collect_stage, collect)


def _build() -> Step:
    from training.build import build, build_stage

    return Step("build", build_stage, build)


def _augment() -> Step:
    from training.augment.fill import augment, augment_stage, describe_short

    return Step(
        "augment", augment_stage, augment, remarks=lambda counts: list(describe_short(counts))
    )


def _fit() -> Step:
    from training.fit.stage import fit, fit_stage

    return Step("fit", fit_stage, fit)


def _export() -> Step:
    from training.exporting import export, export_stage

    return Step("export", export_stage, export)


def _assess() -> Step:
    from training.assess import assess, assess_stage, say_gates

    return Step(
        "assess",
        assess_stage,
        assess,
        refusal=lambda counts: [] if counts["passed"] else ["a gate was not passed"],
        hidden=("gates",),
        remarks=lambda counts: list(say_gates(counts)),
    )


def _shadow() -> Step:
    from training.compare import Verdict
    from training.shadow import shadow, shadow_stage

    def refusal(counts: Counts) -> list[str]:
        return [counts["why"]] if counts["verdict"] == Verdict.WORSE else []

    return Step("shadow", shadow_stage, shadow, refusal=refusal)
