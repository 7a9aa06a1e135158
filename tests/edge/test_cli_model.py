"""`intentd model` and `intentd shadow` against a real daemon, as an admin uses them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import MODEL, STARTER, Bundle, read_bundle
from edge.client import AdminClient, Client
from edge.wire import ModelsAnswer
from export.sign import make_keys, sign_bundle
from tests.commands import INTENTD, intentd
from tests.daemons import Daemon, clean_environment, running_daemon
from tests.edge.models.bundles import files_of, pack_tar, pack_zip
from tests.edge.models.candidates import contrary, make_candidate
from tests.edge.models.graphs import make_model, not_a_number
from tests.edge.models.test_pull import publish
from tests.models import change_bundle
from tests.terminals import on_terminal

TEXT = "find the invoice from May"
DEADLINE_S = 60.0
QUICK = ("--probation-requests", "0")
"""Commit after the trial: what is tested is not the probation."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """By name: what the daemon is configured with, and what may come after it."""
    root = tmp_path_factory.mktemp("bundles")
    base = make_model(root / "base")
    return {
        "base": base,
        "newer": change_bundle(base.path, root / "newer", version="2", threshold=0.25),
        "older": change_bundle(base.path, root / "older", version="0.9"),
        "renamed": make_candidate(root / "renamed", labels=("A", "C"), name="renamed"),
        "contrary": make_candidate(root / "contrary", contrary(), name="contrary"),
        "broken": make_model(root / "broken", not_a_number(), name="broken"),
    }


@pytest.fixture
def daemon(bundles: dict[str, Bundle]) -> Iterator[Daemon]:
    """A daemon that decides without waiting for traffic."""
    options = ("--bundle", str(bundles["base"].path), "--probation-s", "0")
    with running_daemon(*options) as started:
        yield started


@pytest.fixture
def env(daemon: Daemon) -> dict[str, str]:
    """What a shell has in which the daemon's sockets are known."""
    return environment(daemon)


@pytest.fixture
def run(env: dict[str, str]) -> Run:
    """Runs `intentd model …` in that shell."""
    return lambda *args, **options: intentd(env, "model", *args, **options)


def environment(daemon: Daemon) -> dict[str, str]:
    """Of a shell in which the daemon's sockets are known."""
    return clean_environment(daemon.socket.parent) | {"INTENTD_SOCKET": str(daemon.socket)}


def installed(daemon: Daemon, *bundles: Bundle) -> None:
    """Hand bundles over, as an app would."""
    with AdminClient(daemon.admin_socket) as client:
        for bundle in bundles:
            assert client.install_model(bundle.path).digest == bundle.digest


def answering(daemon: Daemon) -> str:
    """The digest of the bundle that apps get their answers from."""
    with Client(daemon.socket) as client:
        return client.classify(TEXT).model.digest


def states(run: Run) -> dict[str, str]:
    """Of each bundle by its digest."""
    answer = ModelsAnswer.model_validate_json(run("list", "--json").stdout)
    return {bundle.digest: bundle.state for bundle in answer.models}


def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s"


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All of it, for people who look at a failure."""
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def test_without_a_command_it_describes_what_answers(run: Run) -> None:
    """As before there were commands; an option on the wrong side is not swallowed."""
    assert "tiny" in run().stdout
    assert json.loads(run("--json").stdout)["model"]["name"] == "tiny"
    misplaced = run("--json", "list")
    assert misplaced.returncode == 2
    assert "behind list" in misplaced.stderr


@pytest.mark.parametrize("form", ["directory", "tar", "zip", "stdin"])
def test_a_bundle_comes_in_however_it_was_brought(
    run: Run, bundles: dict[str, Bundle], tmp_path: Path, form: str
) -> None:
    """It is kept by its digest, answers nobody, and coming twice does no harm."""
    bundle = bundles["newer"]
    path = bundle.path
    if form != "directory":
        path = tmp_path / form
        path.write_bytes((pack_zip if form == "zip" else pack_tar)(files_of(bundle.path)))
    source = ("-",) if form == "stdin" else (str(path),)
    stdin = path.read_bytes() if form == "stdin" else b""

    for _ in range(2):
        done = run("install", *source, stdin=stdin)
        assert done.stdout.startswith(f"installed: tiny 2 ({bundle.digest[:12]})")
        assert f"intentd model activate {bundle.digest[:12]}" in done.stderr
    assert states(run)[bundle.digest] == "installed"
    assert run("list").stdout.count(bundle.digest[:12]) == 1


def test_what_is_damaged_or_old_stays_outside(
    run: Run, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """Unless the admin says that the older one is meant."""
    damaged = change_bundle(bundles["base"].path, tmp_path / "damaged", version="9").path
    with (damaged / MODEL).open("r+b") as file:
        file.write(b"zero")
    assert "expected sha256" in run("install", str(damaged)).stderr
    assert run("install", str(tmp_path / "absent")).returncode == 2

    assert run("install", str(bundles["newer"].path)).returncode == 0
    refused = run("install", str(bundles["older"].path))
    assert refused.returncode not in (0, 70)
    assert "--allow-older" in refused.stderr
    assert run("install", "--allow-older", str(bundles["older"].path)).returncode == 0
    assert len(states(run)) == 3


def test_a_few_digits_name_a_bundle(run: Run, daemon: Daemon, bundles: dict[str, Bundle]) -> None:
    """For people what matters, for programs all of the manifest; unknown ones are an error."""
    bundle = bundles["newer"]
    installed(daemon, bundle)

    shown = run("show", bundle.digest[:6])
    told = json.loads(run("show", "--json", bundle.digest).stdout)
    unknown = run("show", "0" * 12)

    assert "A, B" in shown.stdout
    assert told["manifest"]["files"][MODEL]["sha256"]
    assert (unknown.returncode, "intentd model list" in unknown.stderr) == (2, True)


def test_verify_says_whether_a_bundle_may_serve(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """Paths and archives without the daemon, installed ones through it."""
    sound, broken = bundles["newer"], bundles["broken"]
    archive = tmp_path / "sound.tar"
    archive.write_bytes(pack_tar(files_of(sound.path)))
    installed(daemon, sound, broken)

    for subject in (sound.digest[:8], str(sound.path), str(archive)):
        done = run("verify", "--json", subject)
        found = json.loads(done.stdout)
        assert (done.returncode, found["ok"], found["digest"]) == (0, True, sound.digest)
        assert (found["agreement"], found["cases"]) == (1, 3)
    for subject in (broken.digest, str(broken.path)):
        done = run("verify", subject)
        assert (done.returncode, "no number" in done.stdout) == (1, True), said(done)


def test_verify_of_a_path_needs_no_daemon_and_knows_the_signer(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """With trusted_keys, a bundle without a signature is refused."""
    bundle = change_bundle(bundles["base"].path, tmp_path / "signed")
    public = make_keys(tmp_path / "keys")
    env = clean_environment(tmp_path) | {"INTENTD_TRUSTED_KEYS": str(public)}

    unsigned = intentd(env, "model", "verify", str(bundle.path))
    sign_bundle(bundle, tmp_path / "keys")
    signed = intentd(env, "model", "verify", str(bundle.path))

    assert (unsigned.returncode, "expected manifest.sig" in unsigned.stdout) == (1, True)
    assert (signed.returncode, str(public) in signed.stdout) == (0, True), said(signed)


def test_diff_tells_what_clients_would_notice(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """From what serves, between digests, between paths without a daemon, and mixed."""
    newer, renamed = bundles["newer"], bundles["renamed"]
    installed(daemon, newer, renamed)

    expected = run("diff", newer.digest, renamed.digest).stdout
    assert {"breaks: labels that vanish: B", "labels that are new: C"} <= {*expected.split("\n")}
    assert run("diff", str(newer.path), renamed.digest).stdout == expected
    assert "threshold: 0.25" not in run("diff", renamed.digest).stdout
    assert json.loads(run("diff", "--json", renamed.digest).stdout)["breaks_clients"] is True
    alone = clean_environment(tmp_path)
    paths = intentd(alone, "model", "diff", str(STARTER), str(renamed.path)).stdout
    assert "breaks: requests with labels" in paths
    assert "SUMMARIZE" in paths


def test_a_compatible_bundle_takes_over_and_gives_back(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle]
) -> None:
    """Nothing is asked; the report is shown; rollback goes back; twice is once."""
    newer = bundles["newer"]
    installed(daemon, bundles["base"], newer)
    before = answering(daemon)
    assert "answers already" in run("activate", bundles["base"].digest).stdout

    done = run("activate", newer.digest[:8])
    assert done.returncode == 0, said(done)
    assert "threshold" in done.stdout
    assert f"({newer.digest[:12]}) answers" in done.stdout
    assert "compared" in done.stdout
    assert answering(daemon) == newer.digest
    assert "answers already" in run("activate", newer.digest).stdout

    back = run("rollback")
    assert (back.returncode, answering(daemon)) == (0, before), said(back)
    again = run("activate", "--json", *QUICK, newer.digest)
    assert json.loads(again.stdout)["state"] == "committed"
    assert json.loads(again.stdout)["from"] == before
    one_at_a_time = run("activate", "configured", "--mode", "low-memory", *QUICK)
    assert one_at_a_time.returncode == 0, said(one_at_a_time)
    assert answering(daemon) == before


def test_a_bundle_that_fails_its_trial_answers_nobody(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle]
) -> None:
    """Exit 1, with the reason; what answered before still does."""
    installed(daemon, bundles["broken"])
    before = answering(daemon)

    done = run("activate", "--yes", bundles["broken"].digest)

    assert (done.returncode, answering(daemon)) == (1, before), said(done)
    assert "refused: " in done.stdout
    assert "no number" in done.stdout
    assert json.loads(run("list", "--json").stdout)["activation"]["state"] == "refused"


def test_a_bundle_that_answers_otherwise_is_rolled_back(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle]
) -> None:
    """The probation decides, and there is nothing to ask before it."""
    installed(daemon, bundles["contrary"])
    before = answering(daemon)

    done = run("activate", bundles["contrary"].digest)

    assert (done.returncode, answering(daemon)) == (1, before), said(done)
    assert "rolled back: " in done.stdout


def test_what_breaks_clients_is_asked_about(
    run: Run, daemon: Daemon, env: dict[str, str], bundles: dict[str, Bundle]
) -> None:
    """On a terminal by a word, elsewhere by --yes; anything else changes nothing."""
    renamed = bundles["renamed"]
    installed(daemon, renamed)
    before = answering(daemon)
    command = [*INTENTD, "model", "activate", *QUICK, renamed.digest]

    unasked = subprocess.run(
        command, env=env, capture_output=True, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert (unasked.returncode, b"--yes activates without asking" in unasked.stderr) == (2, True)
    with on_terminal(command, env) as person:
        shown = person.see("Type activate to go on")
        assert "breaks: labels that vanish" in shown
        person.type("yes\n")
        assert person.wait() == 1
        assert "nothing was changed" in person.shown
    assert answering(daemon) == before
    with on_terminal(command, env) as person:
        person.see("Type activate to go on")
        person.type("activate\n")
        assert person.wait() == 0
    assert answering(daemon) == renamed.digest


def test_by_hand_a_probation_ends_with_commit_or_rollback(
    run: Run, daemon: Daemon, bundles: dict[str, Bundle]
) -> None:
    """Watching ends when there is something to decide by; --no-wait does not watch at all."""
    newer = bundles["newer"]
    installed(daemon, newer)

    waits = run("activate", "--manual", newer.digest)
    assert (waits.returncode, "intentd model commit" in waits.stdout) == (0, True), said(waits)
    assert run("rollback").returncode == 0
    begun = run("activate", "--manual", "--no-wait", newer.digest)
    assert (begun.returncode, "intentd model list" in begun.stdout) == (0, True), said(begun)
    assert run("activate", newer.digest).returncode != 0  # one at a time
    with AdminClient(daemon.admin_socket) as client:
        until(lambda: client.activation().state == "probation")
    assert run("commit").returncode == 0
    assert answering(daemon) == newer.digest
    assert run("commit").returncode == 2  # nothing is on probation


def test_ctrl_c_ends_the_watching_and_nothing_else(bundles: dict[str, Bundle]) -> None:
    """A line on the terminal follows the probation, which goes on without it."""
    newer = bundles["newer"]
    with running_daemon("--bundle", str(bundles["base"].path)) as daemon:
        installed(daemon, newer)
        with on_terminal([*INTENTD, "model", "activate", newer.digest], environment(daemon)) as him:
            him.see("probation: 0 of 50 texts compared")
            answering(daemon)
            him.see("probation: 1 of 50 texts compared, 100% agree")
            him.type("\x03")
            assert him.wait() == 130
            assert "it goes on unwatched" in him.shown
        with AdminClient(daemon.admin_socket) as client:
            assert client.activation().state == "probation"


def test_remove_spares_what_is_needed(run: Run, daemon: Daemon, bundles: dict[str, Bundle]) -> None:
    """Never what answers, nor what the settings name; the way back only with --force."""
    newer, renamed = bundles["newer"], bundles["renamed"]
    installed(daemon, newer, renamed)
    configured = answering(daemon)
    for digest in (newer.digest, renamed.digest):
        assert run("activate", "--yes", *QUICK, digest).returncode == 0

    assert "in use" in run("remove", renamed.digest).stderr
    assert "configured; it stays" in run("remove", configured).stderr
    refused = run("remove", newer.digest)
    assert (refused.returncode, "--force" in refused.stderr) == (2, True), said(refused)
    removed = run("remove", "--force", newer.digest)
    assert removed.stdout == f"removed: tiny 2 ({newer.digest[:12]})\n"
    assert set(states(run)) == {renamed.digest, configured}


def test_pull_fetches_the_newest_and_lets_it_answer(
    daemon: Daemon, env: dict[str, str], bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """With a bar for whoever watches; what is here is not fetched again; the cache is emptied."""
    for name in ("older", "newer"):
        publish(bundles[name], tmp_path / "site")
    location = (tmp_path / "site").as_uri()
    cache = tmp_path / "cache"
    command = [*INTENTD, "model", "pull", location, "--cache", str(cache), "--activate"]

    with on_terminal(command, env) as person:
        person.see("answers")
        assert person.wait() == 0
        assert "fetching" in person.shown
    assert answering(daemon) == bundles["newer"].digest
    assert list(cache.iterdir()) == []
    (tmp_path / "site" / "bundles" / bundles["newer"].digest / MODEL).unlink()
    again = intentd(env, *command[3:])
    assert (again.returncode, "answers already" in again.stdout) == (0, True), said(again)


def test_pull_wants_a_signature_where_a_key_is_configured(
    env: dict[str, str], bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """Before the large files travel; a signed one comes in."""
    public = make_keys(tmp_path / "keys")
    env = env | {"INTENTD_TRUSTED_KEYS": str(public)}
    pull = ("model", "pull", "--cache", str(tmp_path / "cache"))
    bundle = change_bundle(bundles["renamed"].path, tmp_path / "mine")
    publish(bundle, tmp_path / "unsigned")
    sign_bundle(bundle, tmp_path / "keys")
    publish(bundle, tmp_path / "signed")

    refused = intentd(env, *pull, (tmp_path / "unsigned").as_uri())
    assert (refused.returncode, "expected manifest.sig" in refused.stderr) == (3, True)
    done = intentd(env, *pull, (tmp_path / "signed").as_uri(), bundle.digest)
    assert done.returncode == 0, said(done)


def test_a_shadow_compares_and_answers_nobody(
    daemon: Daemon, env: dict[str, str], bundles: dict[str, Bundle]
) -> None:
    """Until it is stopped; its report says how the two compare."""
    newer = bundles["newer"]
    installed(daemon, newer)
    before = answering(daemon)

    def shadow(*args: str) -> dict[str, Any]:
        done = intentd(env, "shadow", *args, "--json")
        assert done.returncode == 0, said(done)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    assert shadow("status")["state"] == "off"
    assert shadow("start", newer.digest[:8])["digest"] == newer.digest
    assert answering(daemon) == before
    until(lambda: bool(answering(daemon)) and shadow("status")["report"]["requests"] > 0)
    stopped = shadow("stop")
    assert (stopped["state"], stopped["report"]["agreement"]) == ("off", 1)
    assert intentd(env, "shadow", "status").stdout.split() == ["shadow", "off"]


def test_who_may_not_or_cannot_connect_is_told(tmp_path: Path, bundles: dict[str, Bundle]) -> None:
    """Before anything is fetched or packed."""
    env = clean_environment(tmp_path)

    for args in (("list",), ("install", str(bundles["base"].path)), ("rollback",)):
        done = intentd(env, "model", *args)
        assert (done.returncode, "nobody answers there" in done.stderr) == (4, True), said(done)


def test_bundles_of_the_tests_are_what_they_claim(bundles: dict[str, Bundle]) -> None:
    """A broken one is broken in what it computes, not in its files."""
    assert all(read_bundle(bundle.path).digest == bundle.digest for bundle in bundles.values())
