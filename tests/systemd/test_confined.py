"""The real daemon under the confinement that its unit asks for: everything still works.

The filter is built from what systemd itself says its sets hold; capabilities, network and
executable memory are taken away as the unit takes them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.posture import read_posture, weaknesses
from tests.daemons import ROOT, Daemon
from tests.e2e.talk import ask, post
from tests.systemd import launch
from tests.systemd.activation import confinement, managed_sockets, unshared
from tests.systemd.units import needs

pytest.importorskip("pyseccomp", reason="pyseccomp (or libseccomp) is not on this machine")
pytestmark = needs("systemd-analyze", "unshare")

QUESTION = {"text": "find the invoice from May"}
NETWORK = "import socket; socket.socket(socket.AF_INET)"
EXECUTABLE_MEMORY = "import mmap; mmap.mmap(-1, 4096, prot=7)"
OWNER = "import os; os.chown('.', -1, 0)"
NICENESS = "import os; os.nice(1)"
NAMESPACE = "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0"  # CLONE_NEWUSER
# An allocator (mimalloc) asks for memory near its CPU, and does without. onnxruntime visits every
# core of an Intel CPU to learn whether they are alike, and takes them for alike if it may not.
# SQLite asks for fchown only as root, which the tests may be and the service never is.
HARMLESS = ["mbind", "sched_setaffinity", *(["fchown"] if os.geteuid() == 0 else [])]


@pytest.fixture(scope="module", params=[False, True], ids=["refusing", "killing"])
def confined(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A confined daemon; a forbidden call is refused, or (the stricter test) its death."""
    orders = confinement(kills=request.param)
    orders["allowed"] += HARMLESS if request.param else []
    with managed_sockets() as manager, manager.start(orders, unshared()) as daemon:
        yield daemon


def test_api_works_and_nothing_was_refused(confined: Daemon) -> None:
    """Answers, metrics, and corrections where the daemon takes them; no EPERM in the log."""
    answer = post(confined.socket, "/v1/classify", QUESTION)
    assert (answer.status, answer.json["label"]) == (200, "SEARCH_ONLY")
    for path in ("/healthz", "/readyz", "/v1/model", "/v1/intents", "/metrics", "/openapi.json"):
        assert ask(confined.socket, "GET", path).status == 200, path
    if "/v1/corrections" in ask(confined.socket, "GET", "/openapi.json").json["paths"]:
        correction = QUESTION | {"label": "EXTRACT"}
        assert post(confined.socket, "/v1/corrections", correction).status == 201
    assert confined.process.poll() is None
    for sign in ("Operation not permitted", "Permission denied", "EPERM", "Traceback"):
        assert sign not in confined.log


def test_posture_in_force_is_the_units(confined: Daemon) -> None:
    """What `intentd doctor` reads from outside says so too."""
    posture = read_posture(confined.process.pid, (confined.socket,))
    assert posture.seccomp == "filter"
    assert posture.no_new_privileges is True
    assert posture.capabilities == 0
    assert posture.core_limit_bytes == 0
    assert posture.sockets[0].mode == "0660"
    assert [one for one in weaknesses(posture) if "root" not in one] == []


@pytest.mark.parametrize("misdeed", [NETWORK, EXECUTABLE_MEMORY, OWNER, NICENESS, NAMESPACE])
def test_confinement_bites(misdeed: str, tmp_path: Path) -> None:
    """What a hijacked daemon would try fails; unconfined, the same script succeeds."""
    assert attempt(misdeed, {}, tmp_path) == 0
    assert attempt(misdeed, confinement(), tmp_path) != 0


def test_filter_that_is_too_tight_is_noticed(tmp_path: Path) -> None:
    """The emulation is no pretence: a daemon that may not open files does not start."""
    unit = tmp_path / "tight.service"
    lines = ["SystemCallFilter=@basic-io @process @signal", "RestrictAddressFamilies=AF_UNIX"]
    unit.write_text("\n".join(["[Service]", *lines]))
    with managed_sockets() as manager, pytest.raises(AssertionError, match="ended with status"):
        manager.start(confinement(unit))


def attempt(script: str, orders: dict[str, object], directory: Path) -> int:
    """Run a script confined; its exit status."""
    command = [sys.executable, launch.__file__, json.dumps(orders), sys.executable, "-c", script]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    return done.returncode


def test_trial_of_a_model_works_confined() -> None:
    """A new model is tried in a child of the daemon, which inherits the confinement."""
    script = (
        "from edge.bundle import STARTER; from edge.models.trial import run_trial\n"
        "report = run_trial(STARTER, timeout_s=60, memory_bytes=1 << 30)\n"
        "raise SystemExit(report.detail if not report.passed else 0)"
    )
    assert attempt(script, confinement(), ROOT) == 0
