"""A real daemon whose model is changed while clients ask: nobody notices, and nothing is lost.

`TEST_SWAPS=500` and `TEST_KILLS=20` make the two longest tests as long as the promise.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import MODEL, STARTER, Bundle
from edge.models.tarball import pack_tar
from edge.models.versions import VersionStore
from tests.daemons import Daemon, running_daemon, short_directory, start
from tests.e2e.conftest import check_log
from tests.e2e.talk import Connection, Reply, ask, metric, post, wait_until
from tests.edge.models.candidates import make_candidate, slow
from tests.edge.models.graphs import endless as graph_without_end
from tests.edge.models.graphs import make_model
from tests.models import change_bundle

SWAPS = int(os.environ.get("TEST_SWAPS", "24"))
KILLS = int(os.environ.get("TEST_KILLS", "2"))
TRIED_EVERY = 12  # swaps; the others go back and forth between two known models
CLIENTS = 16
STEADY_ANSWERS = 1000
ASKED_ANEW = {"INTENTD_REPEAT_CACHE": "0"}  # the same text is asked again and again here
QUICK = {"INTENTD_PROBATION_S": "0", "INTENTD_PROBATION_REQUESTS": "4"} | ASKED_ANEW
ENDS = ("committed", "rolled_back", "refused")


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Version 1 always gives a label."""
    return make_candidate(tmp_path_factory.mktemp("a") / "a", version="1")


@pytest.fixture(scope="module")
def b(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Version 2 never does: what it says can be told from what version 1 says."""
    return make_candidate(tmp_path_factory.mktemp("b") / "b", version="2", threshold=1.0)


def install(daemon: Daemon, bundle: Bundle) -> str:
    """Send it to the daemon; its digest."""
    reply = ask(daemon.admin_socket, "POST", "/v1/models/install", b"".join(pack_tar(bundle.path)))
    assert reply.status in (200, 201), reply
    return str(reply.json["digest"])


def activation(daemon: Daemon) -> Any:
    """How far it has come."""
    return ask(daemon.admin_socket, "GET", "/v1/models/activation").json


def begin(daemon: Daemon, digest: str, **fields: Any) -> Reply:
    """Ask for an activation."""
    return post(daemon.admin_socket, "/v1/models/activate", {"digest": digest, **fields})


def activate(daemon: Daemon, digest: str, **fields: Any) -> Any:
    """Activate and wait for the end."""
    reply = begin(daemon, digest, **fields)
    assert reply.status == 202, reply
    wait_until(lambda: activation(daemon)["state"] in ENDS, "the activation ends")
    return activation(daemon)


def roll_back(daemon: Daemon) -> None:
    """Back to the model before, which is known and needs no trial."""
    reply = post(daemon.admin_socket, "/v1/models/rollback", {})
    assert (reply.status, reply.json["state"]) == (200, "rolled_back"), reply


@dataclass
class Crowd:
    """Clients that ask without a pause, and what they heard."""

    path: Path
    expected: dict[str, tuple[str, bool]]
    """Digest → version, and whether that model gives labels."""
    failures: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    latencies_s: list[float] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def ask(self, number: int) -> None:
        """One client's life."""
        with Connection(self.path) as connection:
            while not self.is_over.is_set():
                texts = {"texts": ["gulls", "boats"]} if number % 4 == 0 else {"text": "gulls"}
                began = time.perf_counter()
                reply = connection.ask("POST", "/v1/classify", json.dumps(texts).encode())
                self.latencies_s.append(time.perf_counter() - began)
                self.check(reply)

    def check(self, reply: Reply) -> None:
        """All of an answer is one model's, and all answers of a request are."""
        if reply.status != 200:
            self.failures.append(f"{reply.status} {reply.body!r}")
            return
        answers = reply.json.get("predictions", [reply.json])
        digests = {answer["model"]["digest"] for answer in answers}
        self.seen |= digests
        for answer in answers:
            version, labels = self.expected[answer["model"]["digest"]]
            told = answer["model"]["version"], answer["label_set"]["version"]
            if told != (version, version) or (answer["label"] is not None) != labels:
                self.failures.append(f"mixed: {answer}")
        if len(digests) > 1:
            self.failures.append(f"mixed batch: {digests}")

    def p99_ms(self, since: int = 0) -> float:
        """Of the answers from this one on."""
        return 1e3 * statistics.quantiles(self.latencies_s[since:], n=100)[98]


@contextmanager
def crowd(daemon: Daemon, *bundles: Bundle) -> Iterator[Crowd]:
    """Sixteen clients for as long as the block lasts; none may fail."""
    expected = {one.digest: (one.manifest.version, one.manifest.threshold < 1) for one in bundles}
    clients = Crowd(daemon.socket, expected)
    with ThreadPoolExecutor(CLIENTS) as pool:
        living = [pool.submit(clients.ask, number) for number in range(CLIENTS)]
        try:
            yield clients
        finally:
            clients.is_over.set()
        for one in living:
            one.result()
    assert clients.failures == []


def test_swaps_under_load_lose_and_mix_nothing(a: Bundle, b: Bundle) -> None:
    """Sixteen clients ask all the while; each answer is wholly one model's, and none fails."""
    with running_daemon("--bundle", str(a.path), env=QUICK) as daemon:
        install(daemon, b)
        with crowd(daemon, a, b) as clients:
            wait_until(lambda: len(clients.latencies_s) > STEADY_ANSWERS, "a steady state")
            steady_ms, mark = clients.p99_ms(), len(clients.latencies_s)
            assert activate(daemon, b.digest, force=True, probation_requests=0)["state"] == ENDS[0]
            for number in range(SWAPS - 1):
                if number % TRIED_EVERY == TRIED_EVERY - 1:
                    target = "configured" if number % 2 else b.digest
                    activate(daemon, target, force=True, probation_requests=0)
                else:
                    roll_back(daemon)
        swapping_ms = clients.p99_ms(mark)
        total = len(clients.latencies_s)
        assert clients.seen == {a.digest, b.digest}
        assert metric(daemon.socket, "intentd_swaps_total", state="committed") == SWAPS
        check_log(daemon)
        if "TEST_SWAPS" in os.environ:
            told = f"{SWAPS} swaps, {total} answers, p99 {steady_ms:.1f} -> {swapping_ms:.1f} ms\n"
            sys.stdout.write(told)
            assert swapping_ms <= 2 * steady_ms, told


def test_probation_under_load_is_decided_by_live_texts(a: Bundle, tmp_path: Path) -> None:
    """A candidate that only is slower falls, and no client hears of it."""
    late = make_candidate(tmp_path / "late", slow(300_000), version="9")
    env = {"INTENTD_PROBATION_S": "600"}
    with running_daemon("--bundle", str(a.path), env=env) as daemon:
        install(daemon, late)
        with crowd(daemon, a):
            ended = activate(daemon, late.digest, probation_requests=10)
        assert (ended["state"], ended["report"]["replayed"]) == ("rolled_back", 0), ended
        assert "p50" in ended["detail"]
        assert "intentd_swaps_total" in ask(daemon.socket, "GET", "/metrics").body.decode()


def test_low_memory_mode_answers_503_and_when_to_come_back(a: Bundle, b: Bundle) -> None:
    """The old model leaves first; a client that comes back is answered by the new one."""
    with running_daemon("--bundle", str(a.path), env=QUICK) as daemon:
        install(daemon, b)
        assert begin(daemon, b.digest, mode="low-memory", force=True).status == 202
        replies = []
        while activation(daemon)["state"] not in ENDS:
            replies.append(post(daemon.socket, "/v1/classify", {"text": "gulls"}))
        away = [reply for reply in replies if reply.status != 200]
        for reply in away:
            assert (reply.status, reply.code) == (503, "not_ready")
            assert int(reply.headers["retry-after"]) >= 1
        assert activation(daemon)["state"] == "committed"
        answer = post(daemon.socket, "/v1/classify", {"text": "gulls"})
        assert answer.json["model"]["digest"] == b.digest
        assert ask(daemon.socket, "GET", "/readyz").status == 200


def answering(daemon: Daemon) -> str:
    """The digest of the model that answers now."""
    return str(post(daemon.socket, "/v1/classify", {"text": "gulls"}).json["model"]["digest"])


def is_sound(daemon: Daemon, *bundles: Bundle) -> str:
    """What is served now is one of these, whole; its digest. Not for use during a switch."""
    digest = answering(daemon)
    assert digest in {one.digest for one in bundles}
    facts = ask(daemon.admin_socket, "GET", f"/v1/models/{digest}").json
    assert facts["state"] in ("serving", "probation"), facts
    return digest


def test_kill_during_activation_leaves_a_whole_model(a: Bundle, b: Bundle) -> None:
    """SIGKILL at any moment: the next start serves the old or the new one, verified."""
    moments = random.Random(5)
    with short_directory() as directory:
        arguments = ("--bundle", str(a.path))
        for number in range(KILLS):
            with start(directory, *arguments, env=QUICK) as daemon:
                is_sound(daemon, a, b)
                digest = install(daemon, b)
                mode = "low-memory" if number % 2 else "available"
                target = "configured" if is_sound(daemon, a, b) == b.digest else digest
                begin(daemon, target, mode=mode, force=True)
                moment = time.monotonic() + moments.uniform(0, 1.2)
                with suppress(OSError, EOFError):
                    wait_until(lambda m=moment: time.monotonic() > m, "the moment")  # type: ignore[misc]
                daemon.stop(signal.SIGKILL)
            store = VersionStore(daemon.state_dir / "models")
            for version in store.versions():
                assert store.verify(version.digest).digest == version.digest
        sys.stdout.write(f"{KILLS} kills\n")
        with start(directory, *arguments, env=QUICK) as daemon:
            is_sound(daemon, a, b)
            assert list((daemon.state_dir / "models" / "incoming").iterdir()) == []


def resident(daemon: Daemon) -> float:
    """Bytes."""
    return metric(daemon.socket, "process_resident_memory_bytes")


def test_memory_returns_after_a_swap(tmp_path: Path) -> None:
    """After swaps between two full-size starters it is what a fresh start takes, and a tenth."""
    second = change_bundle(STARTER, tmp_path / "second", version="second")
    with running_daemon(env=QUICK) as daemon:
        post(daemon.socket, "/v1/classify", {"text": "gulls"})
        install(daemon, second)
        fresh = resident(daemon)
        activate(daemon, second.digest, probation_requests=0)
        for _ in range(2):
            roll_back(daemon)
        post(daemon.socket, "/v1/classify", {"text": "gulls"})
        wait_until(lambda: resident(daemon) <= 1.1 * fresh, f"at most 1.1 times {fresh:.0f} bytes")
        sys.stdout.write(f"after three swaps {resident(daemon) / fresh:.3f} of a fresh start\n")


def live_an_hour(daemon: Daemon, hour: int) -> None:
    """Requests short and long, batches, own labels, mistakes and corrections, as apps send them."""
    path, word = daemon.socket, f"hour {hour} "
    with Connection(path) as connection:

        def ask_for(target: str, **message: Any) -> Reply:
            return connection.ask("POST", target, json.dumps(message).encode())

        for number in range(20):
            answer = ask_for("/v1/classify", text=f"{word}{number} sum this up")
            assert answer.status == 200
        ask_for("/v1/corrections", prediction_id=answer.json["id"], label="EXTRACT")
        ask_for("/v1/classify", texts=[f"{word}{n} find papers " * 9 for n in range(16)])
        ask_for("/v1/classify", text=f"{word} gulls " * 900)
        ask_for("/v1/classify", text=word, labels=[f"label {hour}", "weather"])
        assert ask_for("/v1/classify", text="").status == 422
        for target in ("/metrics", "/v1/review", "/v1/intents"):
            assert connection.ask("GET", target).status == 200


def test_day_does_not_grow_the_daemon() -> None:
    """After six hours every cache is full; 24 more take at most a twentieth more memory."""
    with running_daemon(env=QUICK | {"INTENTD_REPEAT_CACHE": "1024"}) as daemon:
        for hour in range(6):
            live_an_hour(daemon, hour)
        begun = resident(daemon)
        for hour in range(6, 30):
            live_an_hour(daemon, hour)
        grown = resident(daemon) / begun
        sys.stdout.write(f"a day later {grown:.3f} of {begun / 1e6:.0f} MB\n")
        assert grown <= 1.05
        check_log(daemon)


def test_idle_model_is_unloaded_and_comes_back_with_the_next_request(a: Bundle) -> None:
    """The request that wakes it waits, and is answered; kept warm, it stays."""
    with running_daemon("--bundle", str(a.path), env={"INTENTD_IDLE_UNLOAD_S": "0.2"}) as daemon:

        def is_loaded() -> bool:
            return bool(ask(daemon.socket, "GET", "/v1/model").json["loaded"])

        wait_until(lambda: not is_loaded(), "it is unloaded")
        assert ask(daemon.socket, "GET", "/readyz").status == 200
        assert metric(daemon.socket, "intentd_model_loaded") == 0
        with ThreadPoolExecutor(8) as pool:
            asked = [
                pool.submit(post, daemon.socket, "/v1/classify", {"text": "gulls"})
                for _ in range(8)
            ]
            assert {one.result().status for one in asked} == {200}
        wait_until(lambda: not is_loaded(), "it is unloaded again")
        kept = post(daemon.admin_socket, "/v1/model/keep", {"seconds": None})
        assert kept.json == {"loaded": True, "kept": True, "until_utc": None}
        later = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > later, "five times the idle time")
        assert is_loaded()
        post(daemon.admin_socket, "/v1/model/keep", {"seconds": 0})
        wait_until(lambda: not is_loaded(), "it is unloaded once more")
        check_log(daemon)


def test_shadow_goes_on_after_a_restart_and_answers_nobody(a: Bundle, b: Bundle) -> None:
    """For days it is compared, whatever happens to the daemon meanwhile."""

    def shadow(daemon: Daemon) -> Any:
        return ask(daemon.admin_socket, "GET", "/v1/shadow").json

    def compare(daemon: Daemon, at_least: int) -> None:
        def is_enough() -> bool:
            answer = post(daemon.socket, "/v1/classify", {"text": "gulls"})
            assert answer.json["model"]["digest"] == a.digest
            return bool(shadow(daemon)["report"]["requests"] >= at_least)

        wait_until(is_enough, "the shadow has answered")

    with short_directory() as directory:
        with start(directory, "--bundle", str(a.path)) as daemon:
            assert shadow(daemon)["state"] == "off"
            digest = install(daemon, b)
            begun = post(daemon.admin_socket, "/v1/shadow/start", {"digest": digest})
            assert (begun.status, begun.json["state"]) == (200, "on"), begun
            compare(daemon, 5)
            assert metric(daemon.socket, "intentd_shadow_agreement") == 1.0
            refused = ask(daemon.admin_socket, "DELETE", f"/v1/models/{digest}")
            assert refused.status == 422
        with start(directory, "--bundle", str(a.path)) as daemon:
            told = shadow(daemon)
            assert (told["state"], told["digest"]) == ("on", digest)
            assert told["report"]["requests"] >= 5
            compare(daemon, told["report"]["requests"] + 3)
            assert post(daemon.admin_socket, "/v1/shadow/stop", {}).json["report"]["requests"] > 5
            assert shadow(daemon)["state"] == "off"
        with start(directory, "--bundle", str(a.path)) as daemon:
            assert shadow(daemon)["state"] == "off"


def test_stop_does_not_wait_for_a_trial(a: Bundle, tmp_path: Path) -> None:
    """The child is killed, and the next start knows nothing of it."""
    endless = make_model(tmp_path / "endless", graph_without_end(), version="9")
    with running_daemon("--bundle", str(a.path)) as daemon:
        assert begin(daemon, install(daemon, endless)).status == 202
        assert activation(daemon)["state"] == "trial"
        assert daemon.stop() == 0
        check_log(daemon)


def test_damaged_model_that_answers_can_be_replaced(a: Bundle, b: Bundle) -> None:
    """It answers from memory; an admin who finds its files broken activates another one."""
    with running_daemon("--bundle", str(a.path), env=QUICK) as daemon:
        digest = install(daemon, b)
        assert activate(daemon, digest, force=True)["state"] == "committed"
        manifest = daemon.state_dir / "models" / "versions" / digest / "manifest.json"
        manifest.chmod(0o600)
        manifest.write_text("{")
        listed = ask(daemon.admin_socket, "GET", "/v1/models").json
        assert listed["serving"] == digest
        assert "manifest" in next(
            one["note"] for one in listed["models"] if one["digest"] == digest
        )
        assert activate(daemon, "configured", force=True)["state"] == "committed"
        assert is_sound(daemon, a) == a.digest


def test_reload_signal_serves_what_current_points_to(a: Bundle, b: Bundle) -> None:
    """`systemctl reload` after the link was turned by hand."""
    with running_daemon("--bundle", str(a.path), env=QUICK) as daemon:
        digest = install(daemon, b)
        link = daemon.state_dir / "models" / "current"
        link.symlink_to(f"versions/{digest}")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: answering(daemon) == digest, "the other model answers")
        assert is_sound(daemon, a, b) == digest


def test_models_are_listed_shown_verified_and_removed(a: Bundle, b: Bundle) -> None:
    """What an admin sees is what there is."""
    with running_daemon("--bundle", str(a.path), env=QUICK) as daemon:
        digest = install(daemon, b)
        listed = ask(daemon.admin_socket, "GET", "/v1/models").json
        assert listed["serving"] == a.digest
        states = {one["digest"]: (one["state"], one["origin"]) for one in listed["models"]}
        assert states == {a.digest: ("serving", "configured"), digest: ("installed", "installed")}
        shown = ask(daemon.admin_socket, "GET", f"/v1/models/{digest[:8]}").json
        assert (shown["version"], shown["labels"]) == ("2", ["A", "B"])
        assert shown["manifest"]["threshold"] == 1.0
        found = post(daemon.admin_socket, f"/v1/models/{digest[:8]}/verify", {}).json
        assert (found["ok"], found["agreement"], found["cases"]) == (True, 1.0, 3)
        target = f"/v1/models/diff?from=configured&to={digest}"
        diff = ask(daemon.admin_socket, "GET", target).json
        assert {change["name"] for change in diff["changes"]} >= {"version", "threshold"}
        assert ask(daemon.admin_socket, "DELETE", f"/v1/models/{a.digest}").status == 422
        removed = ask(daemon.admin_socket, "DELETE", f"/v1/models/{digest}")
        assert removed.json == {"removed": digest}
        assert ask(daemon.admin_socket, "GET", f"/v1/models/{digest}").code == "not_found"
        assert ask(daemon.admin_socket, "GET", "/v1/models/activation").code == "not_found"


def test_damaged_and_unsigned_archives_are_refused(a: Bundle, b: Bundle, tmp_path: Path) -> None:
    """Each with a code of its own, and the connection stays usable."""
    keys = tmp_path / "keys"
    keys.mkdir()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (keys / "maker.pub").write_bytes(pem)
    archive = b"".join(pack_tar(b.path))
    damaged = archive.replace((b.path / MODEL).read_bytes()[-64:], bytes(64))
    env = {"INTENTD_MAX_BUNDLE_BYTES": str(len(archive))}
    with running_daemon("--bundle", str(a.path), env=env) as daemon:
        with Connection(daemon.admin_socket) as connection:
            for body, code in (
                (damaged, "bundle_corrupt"),
                (b"no archive", "bundle_corrupt"),
                (archive + b"x", "body_too_large"),
            ):
                assert connection.ask("POST", "/v1/models/install", body).code == code
            assert connection.ask("POST", "/v1/models/install", archive).status == 201
        check_log(daemon)
    with running_daemon("--bundle", str(a.path), env={"INTENTD_TRUSTED_KEYS": str(keys)}) as daemon:
        reply = ask(daemon.admin_socket, "POST", "/v1/models/install", archive)
        assert (reply.status, reply.code) == (422, "bundle_untrusted")


def test_older_version_needs_a_word(a: Bundle, b: Bundle) -> None:
    """A replayed old bundle is not taken by mistake."""
    with running_daemon("--bundle", str(a.path)) as daemon:
        install(daemon, b)
        archive = b"".join(pack_tar(a.path))
        reply = ask(daemon.admin_socket, "POST", "/v1/models/install", archive)
        assert (reply.status, reply.code) == (422, "bundle_older")
        target = "/v1/models/install?allow_older=1"
        assert ask(daemon.admin_socket, "POST", target, archive).status == 201
