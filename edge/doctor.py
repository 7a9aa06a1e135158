"""Examines this machine for what the daemon needs: CPU, bundle, speed, memory, store, socket.

It loads the model in its own process and changes nothing. Each finding says what to do.
"""

from __future__ import annotations

import os
import pwd
import stat
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge.bundle import read_bundle
from edge.checks import Check, Verdict
from edge.client import Client
from edge.cpu import default_threads, read_cpu
from edge.doctor_service import check_models, check_posture
from edge.doctor_store import check_store
from edge.errors import DaemonUnreachable, EdgeError
from edge.labels import read_label_set
from edge.listener import MAX_PATH_BYTES
from edge.predictor import Predictor
from edge.query import Query
from edge.service import open_predictor
from edge.settings import Settings

__all__ = ["Check", "Verdict", "examine", "is_healthy"]

SHORT_TEXT = "find the invoice from May"
TIMED_RUNS = 30
KNOWN_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
LIBRARIES = ("onnxruntime", "tokenizers", "numpy")


def examine(settings: Settings) -> list[Check]:
    """Check everything; a failing part does not keep the others from being checked."""
    checks = [
        _check_cpu(),
        _check_threads(settings),
        _check_libraries(),
        _guard("bundle", partial(_check_bundle, settings)),
        _guard("intents", partial(_check_intents, settings)),
    ]
    if is_healthy(checks):
        checks += _check_model(settings)
    checks += [check_store(settings), check_models(settings), _check_socket(settings.socket)]
    return [*checks, _guard("daemon", partial(_daemon, settings)), check_posture(settings)]


def is_healthy(checks: list[Check]) -> bool:
    """Whether nothing is to be repaired."""
    return all(check.verdict is not Verdict.FAILED for check in checks)


def _guard(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except EdgeError as error:
        return Check(name, Verdict.FAILED, str(error), {"code": error.code})


def _check_cpu() -> Check:
    cpu = read_cpu()
    found = [flag for flag in KNOWN_FLAGS if flag in cpu.flags]
    sums = "exact by instruction" if cpu.has_vnni else "exact"
    if cpu.saturates_int8:
        sums = "exact by the slower kernels: AVX2 without VNNI would overflow"
    detail = f"{cpu.model} ({cpu.machine}; {' '.join(found) or 'no known flags'}); int8 sums {sums}"
    facts = {
        "model": cpu.model,
        "machine": cpu.machine,
        "flags": found,
        "avoids_int8_overflow": cpu.saturates_int8,
    }
    return Check("cpu", Verdict.OK, detail, facts)


def _check_threads(settings: Settings) -> Check:
    usable = default_threads()
    threads = settings.threads or usable
    facts = {"threads": threads, "usable": usable, "logical_cpus": os.cpu_count()}
    detail = f"{threads} for one run; {usable} usable (physical cores within the cgroup's quota)"
    if threads > usable:
        detail += "; more threads than that wait for each other: lower the setting `threads`"
        return Check("threads", Verdict.NOTE, detail, facts)
    return Check("threads", Verdict.OK, detail, facts)


def _check_libraries() -> Check:
    facts = {name: version(name) for name in LIBRARIES}
    detail = ", ".join(f"{name} {number}" for name, number in facts.items())
    return Check("libraries", Verdict.OK, detail, facts)


def _check_bundle(settings: Settings) -> Check:
    bundle = read_bundle(settings.bundle)
    manifest = bundle.manifest
    size = sum(entry.size for entry in manifest.files.values())
    facts = {
        "path": str(bundle.path),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task.value,
        "digest": bundle.digest,
        "size_bytes": size,
    }
    named = f"{manifest.name} {manifest.version} ({manifest.task.value}, {size / 1e6:.0f} MB)"
    return Check("bundle", Verdict.OK, f"{named}, every hash as written, in {bundle.path}", facts)


def _check_intents(settings: Settings) -> Check:
    label_set = read_label_set(settings.intents)
    facts = {"path": str(settings.intents), "name": label_set.name, "labels": label_set.names}
    detail = f"{', '.join(label_set.names)} ({label_set.name} {label_set.version})"
    return Check("intents", Verdict.OK, detail, facts)


def _check_model(settings: Settings) -> list[Check]:
    """Load the model, and see what it answers, how fast, and how much memory that takes."""
    try:
        predictor = open_predictor(settings)
    except EdgeError as error:
        return [Check("model", Verdict.FAILED, str(error), {"code": error.code})]
    return [
        _guard("self-test", partial(_check_answers, predictor)),
        _check_speed(predictor),
        _check_memory(),
    ]


def _check_answers(predictor: Predictor) -> Check:
    result = predictor.self_test()
    facts = {
        "cases": result.cases,
        "agreeing": result.agreeing,
        "max_score_delta": result.max_score_delta,
        "tolerance": result.tolerance,
    }
    detail = (
        f"{result.agreeing} of {result.cases} texts answered as on the workstation, scores off by "
        f"at most {result.max_score_delta:.4f} (allowed {result.tolerance:g})"
    )
    if result.passed:
        return Check("self-test", Verdict.OK, detail, facts)
    advice = "; build the bundle for this CPU, or take one that is not quantised"
    return Check("self-test", Verdict.FAILED, detail + advice, facts)


def _check_speed(predictor: Predictor) -> Check:
    query = Query(SHORT_TEXT, predictor.label_set)
    predictor.predict(query)
    times_ms = sorted(_time_ms(predictor, query) for _ in range(TIMED_RUNS))
    median_ms, slowest_ms = statistics.median(times_ms), times_ms[-1]
    facts = {"p50_ms": round(median_ms, 3), "max_ms": round(slowest_ms, 3), "runs": TIMED_RUNS}
    detail = (
        f"{median_ms:.1f} ms for a short text (p50 of {TIMED_RUNS}; slowest {slowest_ms:.1f} ms)"
    )
    return Check("speed", Verdict.OK, detail, facts)


def _time_ms(predictor: Predictor, query: Query) -> float:
    started = time.perf_counter()
    predictor.predict(query)
    return (time.perf_counter() - started) * 1e3


def _check_memory() -> Check:
    """What this process holds with the model loaded, as a daemon would."""
    resident = _kilobytes(Path("/proc/self/status"), "VmRSS")
    available = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    facts = {"rss_mib": resident // 1024, "available_mib": available // 1024}
    detail = f"{resident // 1024} MiB with the model loaded; {available // 1024} MiB still free"
    return Check("memory", Verdict.OK, detail, facts)


def _kilobytes(path: Path, name: str) -> int:
    """A field of one of the kernel's `Name: 123 kB` files; 0 if it is not there."""
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _check_socket(path: Path) -> Check:
    facts: dict[str, Any] = {"path": str(path), "exists": False}
    length = len(os.fsencode(path.absolute()))
    if length > MAX_PATH_BYTES:
        detail = f"{path}: {length} bytes; a socket path holds {MAX_PATH_BYTES}: choose a shorter"
        return Check("socket", Verdict.FAILED, detail, facts)
    try:
        found = path.stat()
    except FileNotFoundError:
        return Check("socket", Verdict.NOTE, f"{path}: not there; intentd serve makes it", facts)
    except OSError as error:
        detail = f"{path}: {error.strerror}; ask to be put in the group that owns its directory"
        return Check("socket", Verdict.FAILED, detail, facts)
    return _check_permissions(path, found, facts)


def _check_permissions(path: Path, found: os.stat_result, facts: dict[str, Any]) -> Check:
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    facts |= {"exists": True, "mode": mode, "uid": found.st_uid, "gid": found.st_gid}
    detail = f"{path}: mode {mode}, owner {_user_name(found.st_uid)}, group {found.st_gid}"
    if not stat.S_ISSOCK(found.st_mode):
        return Check("socket", Verdict.FAILED, f"{detail}; no socket: move it away", facts)
    if not os.access(path, os.W_OK):
        advice = "you may not connect: ask to be put in that group"
        return Check("socket", Verdict.FAILED, f"{detail}; {advice}", facts)
    return Check("socket", Verdict.OK, detail, facts)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _daemon(settings: Settings) -> Check:
    try:
        with Client(settings.socket) as client:
            model, ready = client.model().model, client.is_ready()
    except DaemonUnreachable:
        detail = f"none answers on {settings.socket}; intentd serve starts one"
        return Check("daemon", Verdict.NOTE, detail, {"running": False})
    facts = {"running": True, "ready": ready, "model": model.name, "digest": model.digest}
    state = "answers" if ready else "is not ready"
    return Check("daemon", Verdict.OK if ready else Verdict.FAILED, f"{model.name} {state}", facts)
