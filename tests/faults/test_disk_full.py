"""A full disk: nothing is acknowledged that is not kept, answers go on, erasing works, no restart.

The disk is a small tmpfs in a mount namespace of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import clean_environment, short_directory
from tests.faults.tape import ROOT, python

MIB = 8
NAMESPACE = ("-Urm", "--propagation", "private")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What happened to a daemon on a full disk."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare")
    with short_directory() as directory:
        mount = f"mount -t tmpfs -o size={MIB}m tmpfs {directory}"
        probe = subprocess.run([unshare, *NAMESPACE, "sh", "-c", mount], capture_output=True)
        if probe.returncode != 0:
            pytest.skip(f"may not mount in a namespace here: {probe.stderr.decode().strip()}")
        run = subprocess.run(
            [
                *(unshare, *NAMESPACE, "sh", "-c", f'{mount} && exec "$@"', "sh"),
                *python("tests.faults.full", str(directory)),
            ],
            cwd=ROOT,
            env=clean_environment(Path("/tmp")),
            capture_output=True,
            timeout=100,
        )
        assert run.returncode == 0, run.stderr.decode()
        result: dict[str, Any] = json.loads(run.stdout)
        return result


def test_a_full_disk_is_refused_with_507_and_a_time_to_retry(found: dict[str, Any]) -> None:
    """And a message that says what to do."""
    assert found["refused"] == [507] * len(found["refused"])
    assert len(found["refused"]) > 0
    assert found["code"] == "store_unavailable"
    assert int(found["retry_after"]) >= 1


def test_predictions_go_on_while_the_disk_is_full(found: dict[str, Any]) -> None:
    """All of them."""
    assert found["classified"] == [200] * 50


def test_erasing_works_while_the_disk_is_full(found: dict[str, Any]) -> None:
    """The reserve is given up for it; no byte of the text is left."""
    assert found["free_before_erasing"] < 64 * 1024
    assert found["erased"] == 200
    assert found["remnants"] == []


def test_writing_resumes_by_itself(found: dict[str, Any]) -> None:
    """The first correction after there is room again is taken, and health says so."""
    assert found["resumed"] == 201
    assert found["ok_after"] is True


def test_nothing_was_acknowledged_that_is_not_kept(found: dict[str, Any]) -> None:
    """What was answered with 201 is there, also after a restart, and nothing else is."""
    assert found["acknowledged"] > 10
    assert found["missing"] == []
    assert found["unasked"] == []
