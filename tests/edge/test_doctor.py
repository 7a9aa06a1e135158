"""The doctor finds what is wrong with a machine, and nothing wrong with a sound one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge import doctor, doctor_store
from edge.bundle import CARD, MODEL, SELFTEST, STARTER, read_bundle, seal_bundle
from edge.cpu import Cpu, default_threads
from edge.doctor import Check, Verdict, examine, is_healthy
from edge.doctor_service import check_models
from edge.doctor_store import check_store
from edge.models.versions import VersionStore
from edge.settings import Settings
from tests.daemons import clean_environment, running_daemon, short_directory, start
from tests.edge.models.candidates import make_candidate

# httpcore2 leaves the socket of a failed connect to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

ALWAYS = ["cpu", "threads", "libraries", "bundle", "intents"]
WITH_A_MODEL = ["self-test", "speed", "memory"]
LAST = ["store", "models", "socket", "daemon", "posture"]


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Every default, but for a socket where nobody answers."""
    with short_directory() as directory:
        yield Settings(socket=directory / "api.sock", state_dir=directory / "state")


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    """A copy of the starter that may be harmed."""
    return Path(shutil.copytree(STARTER, tmp_path / "bundle"))


def named(checks: list[Check]) -> dict[str, Check]:
    """The checks by their names."""
    return {check.name: check for check in checks}


def test_a_sound_machine_is_healthy(settings: Settings) -> None:
    """Nothing failed; what is merely absent is a note."""
    checks = examine(settings)

    found = named(checks)
    assert is_healthy(checks)
    assert list(found) == ALWAYS + WITH_A_MODEL + LAST
    assert found["threads"].facts["threads"] == default_threads()
    assert found["self-test"].facts["agreeing"] == found["self-test"].facts["cases"] > 0
    assert found["speed"].facts["p50_ms"] > 0
    assert found["memory"].facts["rss_mib"] > 0
    assert (found["socket"].verdict, found["daemon"].verdict) == (Verdict.NOTE, Verdict.NOTE)


def test_a_running_daemon_is_found() -> None:
    """With its model, and with the permissions of its socket."""
    with running_daemon("--socket-mode", "0600") as daemon:
        settings = Settings(socket=daemon.socket, state_dir=daemon.state_dir)
        found = named(examine(settings))

    assert found["daemon"].verdict is Verdict.OK
    assert found["daemon"].facts["digest"] == read_bundle(STARTER).digest
    assert found["socket"].facts["mode"] == "0600"
    assert found["store"].verdict is Verdict.OK
    facts = found["store"].facts
    assert (facts["journal_mode"], facts["synchronous"], facts["mode"]) == ("wal", "FULL", "0700")


def test_a_damaged_bundle_fails_and_the_rest_is_still_checked(
    settings: Settings, starter: Path
) -> None:
    """One flipped bit: the message names the file and what to do; no model is loaded."""
    with (starter / MODEL).open("r+b") as model:
        model.seek(1000)
        byte = model.read(1)
        model.seek(1000)
        model.write(bytes([byte[0] ^ 1]))

    checks = examine(replace(settings, bundle=starter))

    found = named(checks)
    assert not is_healthy(checks)
    assert list(found) == ALWAYS + LAST
    assert found["bundle"].verdict is Verdict.FAILED
    assert found["bundle"].facts == {"code": "bundle_corrupt"}
    assert "copy the bundle again" in found["bundle"].detail


def test_other_answers_than_the_workstations_fail(settings: Settings, starter: Path) -> None:
    """A CPU on which the model answers otherwise is told, with how far off it is."""
    case = json.loads((starter / SELFTEST).read_text("utf-8").splitlines()[0])
    case["scores"] = {label: 1 - score for label, score in case["scores"].items()}
    (starter / SELFTEST).write_text(json.dumps(case) + "\n", "utf-8")
    seal_bundle(starter, read_bundle(STARTER).manifest)

    checks = examine(replace(settings, bundle=starter))

    assert named(checks)["self-test"].verdict is Verdict.FAILED
    assert "not quantised" in named(checks)["self-test"].detail
    assert [check.name for check in checks if check.verdict is Verdict.FAILED] == ["self-test"]


def test_a_model_that_cannot_be_loaded_fails(settings: Settings, starter: Path) -> None:
    """Hashes that fit do not make a graph."""
    (starter / MODEL).write_bytes(b"\x08\x08\x3a\x00")  # ir_version 8, and a graph without a node
    seal_bundle(starter, read_bundle(STARTER).manifest)

    found = named(examine(replace(settings, bundle=starter)))

    assert found["bundle"].verdict is Verdict.OK
    assert found["model"].verdict is Verdict.FAILED
    assert found["model"].facts == {"code": "bundle_incompatible"}


def test_an_intents_file_that_cannot_be_used_fails(settings: Settings, tmp_path: Path) -> None:
    """The label set is checked like the bundle."""
    (tmp_path / "i.toml").write_text("intents = 3")

    found = named(examine(replace(settings, intents=tmp_path / "i.toml")))

    assert found["intents"].verdict is Verdict.FAILED
    assert "model" not in found


def test_more_threads_than_cores_is_a_note(settings: Settings) -> None:
    """It works, and it is slower."""
    found = named(
        examine(replace(settings, threads=default_threads() + 1, bundle=Path("/nowhere")))
    )

    assert found["threads"].verdict is Verdict.NOTE
    assert "lower the setting" in found["threads"].detail


@pytest.mark.parametrize(
    ("flags", "avoids", "words"),
    [
        ({"avx2"}, True, "slower kernels"),
        ({"avx2", "avx_vnni"}, False, "exact by instruction"),
        ({"asimddp"}, False, "int8 sums exact"),
    ],
)
def test_the_cpu_check_says_how_int8_is_summed(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    flags: set[str],
    avoids: bool,
    words: str,
) -> None:
    """AVX2 without VNNI saturates, and the runtime is told to avoid it."""
    monkeypatch.setattr(doctor, "read_cpu", lambda: Cpu("a CPU", "x86_64", frozenset(flags)))

    check = named(examine(replace(settings, bundle=Path("/nowhere"))))["cpu"]

    assert check.facts["avoids_int8_overflow"] is avoids
    assert words in check.detail


def test_a_state_directory_that_is_not_there_is_made_later(settings: Settings) -> None:
    """The doctor changes nothing."""
    found = check_store(settings)

    assert (found.verdict, found.facts["exists"]) == (Verdict.NOTE, False)
    assert not settings.state_dir.exists()


def test_a_state_directory_that_others_may_read_fails(settings: Settings) -> None:
    """It holds texts; the mode to set is named."""
    settings.state_dir.mkdir(mode=0o700)
    assert check_store(settings).verdict is Verdict.OK
    settings.state_dir.chmod(0o750)
    found = check_store(settings)

    assert (found.verdict, found.facts["mode"]) == (Verdict.FAILED, "0750")
    assert "chmod 0700" in found.detail


def test_a_file_in_the_state_directorys_place_fails(settings: Settings) -> None:
    """Nothing could be kept there."""
    settings.state_dir.touch(mode=0o600)

    assert "expected a directory" in check_store(settings).detail


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("filesystem_type", lambda _: "nfs4", "local file system"),
        ("free_bytes", lambda _: 1 << 20, "make room"),
        ("OLDEST_SQLITE", (99, 0, 0), "newer Python"),
    ],
)
def test_a_place_where_corrections_are_not_safe_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, advice: str
) -> None:
    """A network, a full disk, an old SQLite: each with what to do."""
    monkeypatch.setattr(doctor_store, name, value)
    found = check_store(settings)

    assert found.verdict is Verdict.FAILED
    assert advice in found.detail


def test_what_the_daemon_says_against_its_store_is_passed_on(settings: Settings) -> None:
    """Its store is broken, though the directory looks well."""
    with short_directory() as directory:
        (directory / "file").touch()
        state = directory / "file" / "state"
        with start(directory, env={"INTENTD_STATE_DIR": str(state)}) as daemon:
            found = check_store(replace(settings, admin_socket=daemon.admin_socket))
    assert found.verdict is Verdict.FAILED
    assert "state_dir" in found.detail


def test_a_socket_path_that_no_kernel_takes_fails(settings: Settings) -> None:
    """It is told before a daemon is started on it."""
    path = settings.socket.parent / ("x" * 120)

    found = named(examine(replace(settings, socket=path, bundle=Path("/nowhere"))))

    assert found["socket"].verdict is Verdict.FAILED
    assert "choose a shorter" in found["socket"].detail


def test_a_file_in_the_sockets_place_fails(settings: Settings) -> None:
    """`serve` would refuse to replace it."""
    settings.socket.touch()

    found = named(examine(replace(settings, bundle=Path("/nowhere"))))

    assert found["socket"].verdict is Verdict.FAILED
    assert "move it away" in found["socket"].detail


def test_a_socket_that_a_dead_daemon_left_is_no_daemon(settings: Settings) -> None:
    """`serve` replaces it."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.socket))

    found = named(examine(replace(settings, bundle=Path("/nowhere"))))

    assert found["socket"].verdict is Verdict.OK
    assert found["daemon"].verdict is Verdict.NOTE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every socket")
def test_a_socket_without_permission_fails(settings: Settings) -> None:
    """The owner and the group are named, and what to ask for."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(settings.socket))
        listening.listen()
        settings.socket.chmod(0)

        found = named(examine(replace(settings, bundle=Path("/nowhere"))))

    assert found["socket"].verdict is Verdict.FAILED
    assert "group" in found["socket"].detail


def test_the_command_prints_every_check_and_exits_by_them(settings: Settings) -> None:
    """0 and JSON for a sound machine; 1 and a table for a broken one."""
    environment = clean_environment(settings.socket.parent)
    command = [sys.executable, "-m", "edge.cli", "doctor", "--socket", str(settings.socket)]

    sound = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    broken = subprocess.run(
        [*command, "--bundle", "/nowhere"], env=environment, capture_output=True, text=True
    )

    report = json.loads(sound.stdout)
    assert (sound.returncode, broken.returncode) == (0, 1)
    assert report["healthy"]
    assert [check["name"] for check in report["checks"]] == ALWAYS + WITH_A_MODEL + LAST
    assert set(report["checks"][0]) == {"name", "verdict", "detail", "facts"}
    assert "failed   bundle" in broken.stdout


def test_served_bundle_of_the_store_is_checked(settings: Settings, tmp_path: Path) -> None:
    """Every hash of what `current` points to; a damaged one is to be rolled back."""
    bundle = make_candidate(tmp_path / "made", version="2")
    store = VersionStore(settings.models_dir)
    digest = store.install(bundle.path).digest
    assert check_models(settings).facts["current"] is None
    store.begin(digest)
    found = check_models(settings)
    assert (found.verdict, found.facts["pending"]) == (Verdict.OK, digest)
    card = store.find(digest).path / CARD
    card.chmod(0o600)
    card.write_text("changed")
    assert check_models(settings).verdict is Verdict.FAILED
