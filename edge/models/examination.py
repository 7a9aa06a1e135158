"""What a bundle is asked before it may serve: load, int8 sums, labels, self-test, one long text.

It runs in the child that `edge.models.trial` starts, and writes one JSON object. It may crash.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from edge.bundle import Bundle, Manifest, Task, read_bundle
from edge.errors import BundleCorrupt, EdgeError, InvalidLabelSet, InvalidRequest
from edge.labels import read_label_set
from edge.models.canary import EXPECTED, run_canary
from edge.models.verdict import TrialFailure, TrialReport
from edge.predictor import Prediction, Predictor
from edge.query import Query
from edge.runtime import RuntimeOptions

__all__ = ["examine", "main"]

NICE = 19
SHORT_TEXT = "find the invoice from May"
LONG_WORD = "invoice "
TIMED_RUNS = 5
SUM_TOLERANCE = 1e-3
# Address space that is reserved and never touched: stacks of threads, arenas of the allocator.
RESERVED_BYTES = 512 << 20
OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate", "out of memory")
LATE_S = 5
MAX_SHOWN_CHARS = 1000


class _Refused(Exception):
    """What speaks against the bundle."""

    def __init__(self, reason: TrialFailure, problem: str) -> None:
        super().__init__(f"{problem}; the model that is served stays")
        self.reason = reason


def main(arguments: Sequence[str]) -> None:
    """Examine a bundle; `run_trial` gives the arguments."""
    bundle, intents, threads, memory_bytes, timeout_s = arguments
    report_to = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no part of the report
    _restrain(int(memory_bytes), float(timeout_s))
    report = examine(Path(bundle), Path(intents), RuntimeOptions(threads=int(threads)))
    with os.fdopen(report_to, "w", encoding="utf-8") as out:
        json.dump(asdict(report), out)
    sys.stderr.flush()
    os._exit(0)  # a runtime that fails while it is taken down has answered nevertheless


def examine(path: Path, intents: Path, options: RuntimeOptions) -> TrialReport:
    """Ask everything; the first thing that speaks against the bundle ends it."""
    facts: dict[str, float] = {}
    try:
        _check_sums(options)
        predictor = _load(path, intents, options, facts)
        _check_labels(predictor)
        _check_answers(predictor, facts)
        _check_long_text(predictor, facts)
    except Exception as error:  # noqa: BLE001 — the report is how this program tells of any of them
        is_ours = isinstance(error, EdgeError | _Refused)
        detail = str(error) if is_ours else f"{type(error).__name__}: {error}"
        return TrialReport(_reason(error), detail[:MAX_SHOWN_CHARS], facts)
    facts["peak_rss_bytes"] = _peak_bytes()
    detail = f"{facts['cases']:g} texts answered as on the workstation"
    return TrialReport(None, detail, facts)


def _reason(error: Exception) -> TrialFailure:
    if isinstance(error, _Refused):
        return error.reason
    if isinstance(error, MemoryError) or any(word in str(error) for word in OUT_OF_MEMORY):
        return TrialFailure.MEMORY
    if isinstance(error, BundleCorrupt):
        return TrialFailure.CORRUPT
    if isinstance(error, InvalidLabelSet | InvalidRequest):
        return TrialFailure.LABELS
    return TrialFailure.INCOMPATIBLE if isinstance(error, EdgeError) else TrialFailure.ERROR


def _restrain(memory_bytes: int, timeout_s: float) -> None:
    """Be last in line, and end alone where no parent is left to end this process.

    A service's filter may forbid some of it; the parent watches all the same.
    """
    signal.alarm(math.ceil(timeout_s) + LATE_S)
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):  # the kernel, short of memory, takes this process and not the daemon
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    with suppress(OSError, ValueError):
        limit = memory_bytes + RESERVED_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _check_sums(options: RuntimeOptions) -> None:
    found = run_canary(options)
    if found != EXPECTED:
        raise _Refused(
            TrialFailure.SATURATION,
            f"expected this CPU to sum int8 products to {EXPECTED}, found {found}: take a bundle "
            "that is not quantised",
        )


def _load(path: Path, intents: Path, options: RuntimeOptions, facts: dict[str, float]) -> Predictor:
    started = time.perf_counter()
    bundle = read_bundle(path)
    facts["verify_ms"] = _ms_since(started)
    started = time.perf_counter()
    predictor = Predictor(bundle, read_label_set(intents), options)
    facts["load_ms"] = _ms_since(started)
    return predictor


def _check_labels(predictor: Predictor) -> None:
    """Every label gets a score of its own, and the self-test speaks of the same labels."""
    manifest = predictor.bundle.manifest
    _check_cases(predictor.bundle, set(predictor.label_set.names))
    try:
        prediction = predictor.predict(Query(SHORT_TEXT, predictor.label_set))
    except (IndexError, ValueError) as error:  # fewer logits than labels
        raise _Refused(
            TrialFailure.LABELS, f"the graph does not give a score for each label ({error})"
        ) from error
    total = sum(score for _, score in prediction.scores)
    if _sums_to_one(manifest) and abs(total - 1) > SUM_TOLERANCE:  # more logits than labels
        raise _Refused(
            TrialFailure.LABELS,
            f"expected the scores of {len(manifest.labels)} labels to sum to 1, found {total:.3f}: "
            "the graph knows other labels than the manifest",
        )


def _check_cases(bundle: Bundle, own: set[str]) -> None:
    for number, case in enumerate(bundle.read_selftest(), 1):
        known = set(case.labels) or own
        unknown = {case.label, *case.scores} - known
        if unknown:
            raise _Refused(
                TrialFailure.LABELS,
                f"self-test case {number} names {len(unknown)} labels that the bundle lacks",
            )


def _sums_to_one(manifest: Manifest) -> bool:
    fixed = manifest.task is Task.SEQUENCE_CLASSIFICATION
    return fixed and manifest.activation == "softmax"


def _check_finite(prediction: Prediction) -> None:
    if not all(math.isfinite(score) for _, score in prediction.scores):
        raise _Refused(
            TrialFailure.NOT_A_NUMBER, "expected scores from 0 to 1, found one that is no number"
        )


def _check_answers(predictor: Predictor, facts: dict[str, float]) -> None:
    result = predictor.self_test()
    facts |= {"cases": result.cases, "agreeing": result.agreeing}
    if not math.isfinite(result.max_score_delta):
        raise _Refused(TrialFailure.NOT_A_NUMBER, "a score of the self-test is no number")
    facts["max_score_delta"] = result.max_score_delta
    if not result.passed:
        raise _Refused(
            TrialFailure.SELF_TEST,
            f"expected every label of the workstation and scores within {result.tolerance:g}, "
            f"found {result.agreeing} of {result.cases} labels, and scores off by "
            f"{result.max_score_delta:.4f}",
        )
    query = Query(SHORT_TEXT, predictor.label_set)
    times = [_time_ms(predictor, query) for _ in range(TIMED_RUNS)]
    facts["short_text_p50_ms"] = statistics.median(times)


def _check_long_text(predictor: Predictor, facts: dict[str, float]) -> None:
    """The whole window: the most memory, and the first place where a wrong window shows."""
    text = LONG_WORD * predictor.bundle.manifest.max_tokens
    started = time.perf_counter()
    _check_finite(predictor.predict(Query(text, predictor.label_set)))
    facts["long_text_ms"] = _ms_since(started)


def _time_ms(predictor: Predictor, query: Query) -> float:
    started = time.perf_counter()
    predictor.predict(query)
    return _ms_since(started)


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)


def _peak_bytes() -> int:
    """Of this program; `ru_maxrss` would tell the parent's, from before the exec."""
    lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
