"""`edge.models.trial`: models that crash, hang, eat memory or talk nonsense are refused."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edge.bundle import SELFTEST, STARTER, SelfTestCase, seal_bundle
from edge.embedded import DEFAULT_INTENTS
from edge.errors import BundleCorrupt
from edge.models import canary, trial
from edge.models.examination import examine
from edge.models.trial import TrialFailure, TrialReport, run_trial
from edge.runtime import RuntimeOptions
from tests.e2e.talk import wait_until
from tests.edge.models.bundles import make_bundle, manifest
from tests.edge.models.graphs import (
    endless,
    graph,
    hungry,
    linear,
    make_model,
    not_a_number,
)

MEMORY_BYTES = 1 << 30
TIMEOUT_S = 100
INTENTS = Path(DEFAULT_INTENTS)


def try_out(path: Path, **options: float) -> TrialReport:
    """A trial with room and time, unless told otherwise."""
    limits = {"timeout_s": TIMEOUT_S, "memory_bytes": MEMORY_BYTES} | options
    return run_trial(
        path, timeout_s=limits["timeout_s"], memory_bytes=int(limits["memory_bytes"]), threads=1
    )


def refusal(path: Path) -> TrialReport:
    """What is found in this process, for models that do it no harm."""
    return examine(path, INTENTS, RuntimeOptions(threads=1))


def test_sound_model_passes_with_its_measures(tmp_path: Path) -> None:
    """The facts say what it takes and how close it came."""
    report = try_out(make_model(tmp_path / "m").path)

    assert report.passed, report.detail
    assert report.facts["cases"] == report.facts["agreeing"] == 3
    assert report.facts["max_score_delta"] < 1e-4
    assert 30 << 20 < report.facts["peak_rss_bytes"] < MEMORY_BYTES
    assert {"load_ms", "verify_ms", "short_text_p50_ms", "long_text_ms"} <= set(report.facts)


def test_the_starter_passes() -> None:
    """The real model that ships, int8 and all."""
    assert refusal(STARTER).passed


def test_a_model_that_hangs_is_ended(tmp_path: Path) -> None:
    """It is killed at its deadline, loop or not."""
    path = make_model(tmp_path / "m", endless()).path
    report = try_out(path, timeout_s=4)

    assert report.reason is TrialFailure.TIMEOUT
    assert "not done within 4 s" in report.detail


@pytest.mark.parametrize("floats", [20_000_000, 1 << 40])
def test_a_model_that_eats_memory_is_ended(tmp_path: Path, floats: int) -> None:
    """Whether it takes the memory, or asks for more than there can be."""
    path = make_model(tmp_path / "m", hungry(floats)).path
    report = try_out(path, memory_bytes=400 << 20)

    assert report.reason is TrialFailure.MEMORY, report.detail


def test_memory_is_watched_from_outside_as_well(
    tmp_path: Path, child: Callable[[str], None]
) -> None:
    """A service's filter may forbid the child to set limits on itself."""
    child("import time; kept = bytearray(200 << 20); time.sleep(600)")

    assert try_out(tmp_path, memory_bytes=100 << 20).reason is TrialFailure.MEMORY


def test_a_model_that_answers_nonsense_is_refused(tmp_path: Path) -> None:
    """NaN is smaller than no tolerance."""
    report = refusal(make_model(tmp_path / "m", not_a_number()).path)

    assert report.reason is TrialFailure.NOT_A_NUMBER


def swap_labels(case: SelfTestCase) -> SelfTestCase:
    """The case with A and B exchanged."""
    other = {"A": "B", "B": "A"}
    return replace(
        case, label=other[case.label], scores={other[k]: v for k, v in case.scores.items()}
    )


def name_another(case: SelfTestCase) -> SelfTestCase:
    """The case with a label that the bundle lacks."""
    return replace(case, label="C", scores={**case.scores, "C": 0.1})


def shift(case: SelfTestCase) -> SelfTestCase:
    """The case with the right label, and scores that are too far off."""
    return replace(case, scores={k: abs(v - 0.06) for k, v in case.scores.items()})


NONSENSE: dict[str, tuple[Callable[[Path], object], TrialFailure, str]] = {
    "labels in another order": (
        lambda path: make_model(path, labels=("B", "A")),
        TrialFailure.SELF_TEST,
        "0 of 3 labels",
    ),
    "self-test of another model": (
        lambda path: make_model(path, change_case=swap_labels),
        TrialFailure.SELF_TEST,
        "0 of 3 labels",
    ),
    "scores too far off": (
        lambda path: make_model(path, change_case=shift),
        TrialFailure.SELF_TEST,
        "3 of 3 labels, and scores off by 0.06",
    ),
    "self-test of other labels": (
        lambda path: make_model(path, change_case=name_another),
        TrialFailure.LABELS,
        "names 1 labels that the bundle lacks",
    ),
    "fewer logits than labels": (
        lambda path: make_model(path, labels=("A", "B", "C")),
        TrialFailure.LABELS,
        "a score for each label",
    ),
    "more logits than labels": (
        lambda path: make_model(path, linear(3)),
        TrialFailure.LABELS,
        "sum to 1",
    ),
    "graph without logits": (
        lambda path: make_model(path, graph([], {})),
        TrialFailure.INCOMPATIBLE,
        "cannot load the graph",
    ),
    "graph that is no graph": (
        lambda path: make_model(path, linear()[:-40]),
        TrialFailure.CORRUPT,
        "ONNX",
    ),
    "graph of something else": (make_bundle, TrialFailure.CORRUPT, "tokenizer"),
}


def build(path: Path, make: Callable[[Path], object]) -> Path:
    """The bundle's directory; sealing reads the result back, and may object to it already."""
    with suppress(BundleCorrupt):
        make(path)
    return path


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_model_that_is_not_what_it_says_is_refused(tmp_path: Path, kind: str) -> None:
    """With the reason, and what was found."""
    make, reason, detail = NONSENSE[kind]
    report = refusal(build(tmp_path / "m", make))

    assert (report.reason, report.passed) == (reason, False), report.detail
    assert detail in report.detail


def test_a_bundle_that_changed_on_the_disk_is_refused(tmp_path: Path) -> None:
    """Hashes are checked again: it may be tried long after it was installed."""
    path = make_model(tmp_path / "m").path
    (path / SELFTEST).write_bytes((path / SELFTEST).read_bytes() + b"\n")

    assert refusal(path).reason is TrialFailure.CORRUPT


def test_an_empty_self_test_proves_nothing(tmp_path: Path) -> None:
    """A bundle without cases is refused."""
    path = make_model(tmp_path / "m").path
    (path / SELFTEST).write_text("")
    seal_bundle(path, manifest())

    assert "self-test is empty" in refusal(path).detail


def test_a_label_set_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The same file that the daemon would read."""
    report = examine(make_model(tmp_path / "m").path, tmp_path / "none.toml", RuntimeOptions())

    assert report.reason is TrialFailure.LABELS
    assert "none.toml" in report.detail


def test_a_window_that_the_graph_does_not_have_is_found(tmp_path: Path) -> None:
    """One long text fills the whole window; short ones would never reach its end."""
    table = np.zeros((64, 1), np.float32)
    nodes = [
        helper.make_node("Squeeze", ["sum", "one"], ["flat"]),
        helper.make_node("Gather", ["table", "flat"], ["zeros"], axis=0),  # fails beyond 63
        helper.make_node("Add", ["count", "zeros"], ["sure"]),
        helper.make_node("MatMul", ["sure", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    constants = {
        "table": table,
        "weights": np.array([[-0.2, 0.2]], np.float32),
        "bias": np.array([[1.5, -1.5]], np.float32),
    }
    sound = make_model(tmp_path / "sound", graph(nodes, constants), max_tokens=32)
    wrong = make_model(tmp_path / "wrong", graph(nodes, constants), max_tokens=128)

    assert refusal(sound.path).passed
    assert refusal(wrong.path).reason is TrialFailure.ERROR
    assert "indices element out of data bounds" in refusal(wrong.path).detail


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts another program in the place of the child's."""

    def use(code: str) -> None:
        monkeypatch.setattr(trial, "COMMAND", (sys.executable, "-c", code))

    return use


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("SIGILL", "lacks an instruction"),
        ("SIGSEGV", "inside the runtime"),
        ("SIGBUS", "inside the runtime"),
        ("SIGABRT", "for want of memory"),
        ("SIGKILL", "for want of memory"),
        ("SIGSYS", "forbids a system call"),
    ],
)
def test_a_crash_is_a_refusal(
    tmp_path: Path, child: Callable[[str], None], name: str, meaning: str
) -> None:
    """The signal is named, and what it most likely means."""
    child(f"import os, signal; os.kill(os.getpid(), signal.{name})")
    report = try_out(tmp_path)

    assert report.reason is TrialFailure.CRASH
    assert name in report.detail
    assert meaning in report.detail


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('{}')", "print('[1]')", "1/0"])
def test_a_child_without_a_report_is_a_refusal(
    tmp_path: Path, child: Callable[[str], None], code: str
) -> None:
    """Silence is no consent, whatever the exit status."""
    child(code)
    report = try_out(tmp_path)

    assert report.reason is TrialFailure.ERROR
    assert "no report" in report.detail


def test_the_child_inherits_no_socket_and_no_supervisor(
    tmp_path: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a new program: a listener's lock and the watchdog's socket stay with the daemon."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("LISTEN_FDS", "2")
    kept = os.open(tmp_path, os.O_RDONLY)
    child(
        "import os, json\n"
        f"held = os.path.exists('/proc/self/fd/{kept}')\n"
        "env = [k for k in ('NOTIFY_SOCKET', 'LISTEN_FDS') if k in os.environ]\n"
        "print(json.dumps({'reason': None, 'detail': f'{held} {env}', 'facts': {}}))"
    )
    try:
        assert try_out(tmp_path).detail == "False []"
    finally:
        os.close(kept)


def test_a_child_that_is_given_up_is_gone(
    tmp_path: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process stays behind."""
    made: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    child("import time; time.sleep(600)")

    assert try_out(tmp_path, timeout_s=0.3).reason is TrialFailure.TIMEOUT
    assert made[0].returncode == -signal.SIGKILL


def test_what_a_child_started_is_gone_with_it(tmp_path: Path, child: Callable[[str], None]) -> None:
    """Nothing of a hijacked trial stays behind to eat the machine."""
    started = (
        "import fcntl, sys, time; held = open(sys.argv[1], 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
    )
    path = tmp_path / "lock"
    child(
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"command = [sys.executable, '-c', {started!r}, {str(path)!r}]\n"
        "with subprocess.Popen(command, stdout=-1) as p:\n"
        "    p.stdout.readline(); kept = bytearray(200 << 20); p.wait()"
    )

    assert try_out(tmp_path, memory_bytes=100 << 20).reason is TrialFailure.MEMORY
    with path.open() as file:
        wait_until(lambda: is_free(file), "the lock of what it started")


def is_free(file: IO[str]) -> bool:
    """Whether nobody holds a lock on it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_the_canary_is_a_graph_as_onnx_makes_it() -> None:
    """Made by hand, since the edge has no `onnx`; here that one reads and checks it."""
    model = onnx.load_from_string(canary.canary_graph())
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])

    assert kinds == ["Mul", "Cast", "MatMulInteger", "Cast"]
    assert weights.dtype == np.int8
    assert (255 * weights.astype(np.int64)).sum(axis=0).tolist() == [canary.EXPECTED] * 16


def test_the_canary_is_exact_here() -> None:
    """This CPU sums as it should, with the options that models run with."""
    assert canary.run_canary(RuntimeOptions(threads=1)) == canary.EXPECTED


def test_a_cpu_that_saturates_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Haswell would without the runtime's precise mode: measured with qemu."""
    monkeypatch.setattr("edge.models.examination.run_canary", lambda options: 1_048_544)
    report = refusal(make_model(tmp_path / "m").path)

    assert report.reason is TrialFailure.SATURATION
    assert "found 1048544" in report.detail


def test_every_failure_has_a_word_of_its_own() -> None:
    """What programs read."""
    assert len({failure.value for failure in TrialFailure}) == len(TrialFailure)
