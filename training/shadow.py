"""The stage `shadow`: champion and candidate answer the same texts, golden and logged.

Golden rows say who is right; logged texts only say where the two differ, and every such text goes
to the people who judge. Nobody is answered, and nothing is promoted.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundle import STARTER
from edge.store.keys import override_key
from export.report import Reporter
from training.agreement import count_agreement, list_disagreements
from training.collect import SUPPRESSED, read_suppressed
from training.compare import compare, decide_verdict
from training.contest import (
    Contest,
    Pair,
    answer_locally,
    join_answers,
    read_answers,
    write_parts,
)
from training.errors import DataRefused, InvalidConfig
from training.judging import Bench, candidate_bundle, golden_file, judge, open_bench
from training.logged import Asked, log_files, read_logged
from training.predict import Answer, Model, bundle_bytes
from training.report_shadow import write_shadow
from training.rows import Row, new_file, write_rows
from training.settings import Settings
from training.stage import Outcome, Stage

__all__ = ["DISAGREEMENTS", "SHADOW", "shadow", "shadow_stage"]

SHADOW = "shadow.json"
DISAGREEMENTS = "disagreements.jsonl"
TIMED_ROWS = 100
MOST_SHOWN = 50
CODE = (
    *(
        "agreement.py",
        "box.py",
        "compare.py",
        "contest.py",
        "judging.py",
        "logged.py",
        "metrics.py",
        "plots.py",
    ),
    *("predict.py", "proof.py", "report_assess.py", "report_page.py", "report_shadow.py"),
    *("rows.py", "shadow.py"),
)
PER_RUN = ("engine", "address", "workers", "worker_cpus", "champion", "logged")
"""Settings that change where the work is done, not what comes out; or that are inputs."""

Live = Mapping[str, Any]


def shadow_stage(
    settings: Settings, candidate: Path | None = None, live: Live | None = None
) -> Stage:
    """The stage, with what it reads. Which engine answers makes no difference to it.

    Raises:
        StageMissing: There is no candidate, no champion, or no golden set.
        SourceUnreachable: A logged file is not there.
    """
    work_dir = Path(settings.work_dir)
    inputs = {
        "champion": _champion(settings),
        "candidate": candidate_bundle(settings, candidate),
        "golden": golden_file(settings),
        **log_files(settings.shadow.logged),
    }
    if (erased := work_dir / "collect" / SUPPRESSED).exists():
        inputs["suppressed"] = erased
    config = {n: v for n, v in settings.section("shadow").items() if n not in PER_RUN} | {
        "intents": settings.build.intents,
        "mixed_label_sets": settings.build.mixed_label_sets,
        "live": None if live is None else dict(live),
    }
    return Stage("shadow", work_dir / "shadow", inputs, config, CODE, ("onnxruntime", "pyarrow"))


def shadow(
    settings: Settings,
    reporter: Reporter,
    candidate: Path | None = None,
    live: Live | None = None,
    *,
    force: bool = False,
) -> Outcome:
    """Compare champion and candidate in shadow/. The verdict is in the counts.

    Args:
        settings: Of the run.
        reporter: Shows how far it is.
        candidate: The bundle; None means the exported one.
        live: What a box's live shadow saw, as `training.live` reads it.
        force: Do it again, even if nothing has changed.

    Raises:
        DataRefused: The golden set cannot judge these bundles.
        InvalidConfig: Both are one, or the live shadow was another bundle's.
        TrainingError: An input is missing or damaged.
        EdgeError: A bundle is damaged, or does not run here.
    """
    stage = shadow_stage(settings, candidate, live)

    def work(folder: Path) -> dict[str, Any]:
        bench = open_bench(settings, stage.inputs["candidate"])
        contest = Contest(
            stage.inputs["champion"], stage.inputs["candidate"], bench.labels, bench.label_set
        )
        pair = contest.open()
        _check_pair(pair, live)
        parts, skipped = folder / ".parts", Counter[str]()
        try:
            count = write_parts(parts, _texts(settings, bench, stage.inputs, skipped))
            tables, nodes = _answer(settings, contest, pair, parts, reporter)
            answers = join_answers(tables, count)
            write_rows(folder / DISAGREEMENTS, list_disagreements(answers, parts, bench, pair))
        finally:
            shutil.rmtree(parts, ignore_errors=True)
        found = _weigh(settings, bench, pair, answers, skipped, live)
        with new_file(folder / SHADOW) as stream:
            stream.write(json.dumps(found, indent=2, ensure_ascii=False).encode() + b"\n")
        with reporter.step("drawing the report"):
            write_shadow(folder, found, _top(folder / DISAGREEMENTS))
        return _counts(found, settings.shadow.engine, nodes)

    return stage.run(work, force=force)


def _champion(settings: Settings) -> Path:
    given = settings.shadow.champion
    return candidate_bundle(settings, Path(given), "--champion") if given else STARTER


def _check_pair(pair: Pair, live: Live | None) -> None:
    candidate = pair.candidate.bundle.digest
    if pair.champion.bundle.digest == candidate:
        raise InvalidConfig(
            f"shadow: expected two bundles, found {pair.candidate.title} on both sides; name the "
            "one that serves with --champion"
        )
    if live is not None and live["digest"] != candidate:
        raise InvalidConfig(
            f"--live: expected what was seen of the candidate {candidate[:12]}, found the shadow "
            f"of {live['digest'][:12]}; put the candidate into the shadow with `intentd shadow "
            "start`, or leave --live out"
        )


def _texts(
    settings: Settings, bench: Bench, inputs: Mapping[str, Path], skipped: Counter[str]
) -> Iterator[Asked]:
    """What both are asked: the golden rows first, then each logged text that is none of them."""
    seen = set()
    for row in bench.rows:
        seen.add(override_key(row.text, row.content))
        yield Asked(row.id, row.text, row.content)
    erased = read_suppressed(inputs["suppressed"]) if "suppressed" in inputs else set()
    files = [Path(name) for name in settings.shadow.logged]
    yield from read_logged(files, bench.labels, erased, skipped, seen)


def _answer(
    settings: Settings, contest: Contest, pair: Pair, parts: Path, reporter: Reporter
) -> tuple[list[Any], int]:
    """Both models' answers to all texts, and on how many machines."""
    if settings.shadow.engine == "local":
        return answer_locally(pair, parts, reporter), 1
    from training.ray_engine import answer_on_ray

    return answer_on_ray(contest, parts, settings.shadow, reporter)


def _weigh(
    settings: Settings,
    bench: Bench,
    pair: Pair,
    answers: Any,
    skipped: Counter[str],
    live: Live | None,
) -> dict[str, Any]:
    n, options = len(bench.rows), settings.shadow
    said = list(read_answers(answers.slice(0, n)))
    first, second = (
        judge(
            bench.rows,
            [_need(row, both[side]) for row, both in zip(bench.rows, said, strict=True)],
            bench.labels,
        )
        for side in (0, 1)
    )
    found = compare(first, second, bench.labels, options.seed)
    verdict, why = decide_verdict(found, options, live)
    return {
        "champion": pair.champion.bundle.digest,
        "candidate": pair.candidate.bundle.digest,
        "titles": {"champion": pair.champion.title, "candidate": pair.candidate.title},
        "golden_file": bench.path.name,
        **found,
        "logged": count_agreement(answers.slice(n), skipped),
        "cost": _cost(pair, bench.rows),
        "live": None if live is None else dict(live),
        "verdict": verdict.value,
        "why": why,
    }


def _need(row: Row, answer: Answer | None) -> Answer:
    if answer is None:
        raise DataRefused(
            f"golden row {row.id}: expected an answer of both models, found that one cannot take "
            "it; leave it out of the next golden set"
        )
    return answer


def _cost(pair: Pair, rows: Sequence[Row]) -> dict[str, Any]:
    """Time a text, taken in turns on this machine, and what each takes on a disk."""
    times: dict[str, list[float]] = {"champion": [], "candidate": []}
    for row in rows[:TIMED_ROWS]:
        for side in times:
            times[side].append(getattr(pair, side).ask(row.text, row.content).ms)
    return {
        side: {
            "p50_ms": round(float(np.percentile(found, 50)), 3),
            "p95_ms": round(float(np.percentile(found, 95)), 3),
            "bytes": bundle_bytes(_model(pair, side).bundle),
            "recipe": _model(pair, side).bundle.manifest.quantization.recipe,
            "window": _model(pair, side).bundle.manifest.max_tokens,
        }
        for side, found in times.items()
    }


def _model(pair: Pair, side: str) -> Model:
    model: Model = getattr(pair, side)
    return model


def _top(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as stream:
        return [json.loads(line) for _, line in zip(range(MOST_SHOWN), stream, strict=False)]


def _counts(found: Mapping[str, Any], engine: str, nodes: int) -> dict[str, Any]:
    golden, logged = found["golden"], found["logged"]
    return {
        "champion": found["champion"],
        "candidate": found["candidate"],
        "golden": golden["n"] + golden["n_oos"],
        "logged": logged["texts"],
        "skipped": logged["skipped"],
        "disagreements": logged["disagreements"],
        "accuracy": {s: golden[s]["accuracy"]["value"] for s in ("champion", "candidate")},
        "engine": engine,
        "nodes": nodes,
        "verdict": found["verdict"],
        "why": found["why"],
    }
