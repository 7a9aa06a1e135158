"""Corrections through a real daemon: both sockets, foreign formats, and what is left on disk."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge.client import AdminClient, Client
from edge.errors import NotFound, StoreUnavailable
from edge.wire import Reason, RecordResult, UseReceipt
from tests.daemons import Daemon, clean_environment, running_daemon, short_directory, start
from tests.e2e.conftest import check_log
from tests.e2e.talk import CANARY, Connection, Reply, ask, metric, post, request, wait_until

TEXT = f"Please sum this article up in three sentences. {CANARY}"
OTHER = "SEARCH_ONLY"
NOBODY = 65534


@pytest.fixture
def fresh() -> Iterator[Daemon]:
    """A daemon without corrections, whose log is checked at the end."""
    with running_daemon() as daemon:
        yield daemon
        check_log(daemon)


def correct(daemon: Daemon, **fields: Any) -> Reply:
    """The answer to a correction."""
    return post(daemon.socket, "/v1/corrections", fields)


def test_a_correction_is_created_once_and_repeated_as_it_was(fresh: Daemon) -> None:
    """201, then 200 with the same body; 409 for something else under the key."""
    asked = post(fresh.socket, "/v1/classify", {"text": TEXT}).json
    said = {"prediction_id": asked["id"], "label": OTHER, "client_key": "k", "source": "mail"}
    created, repeated = correct(fresh, **said), correct(fresh, **said)

    assert (created.status, repeated.status) == (201, 200)
    assert created.json == repeated.json
    assert set(created.json) == {
        *("id", "seq", "kind", "label", "predicted_label", "state", "created_utc")
    }
    assert (created.json["predicted_label"], created.json["state"]) == (asked["label"], "durable")
    other = correct(fresh, **said | {"label": None})
    assert (other.status, other.code) == (409, "key_reused")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"prediction_id": "gone", "label": OTHER}, 404, "not_found"),
        ({"prediction_id": "gone", "text": TEXT, "confirm": True}, 404, "not_found"),
        ({"text": TEXT, "label": "xyzzyplugh"}, 422, "unknown_label"),
        ({"text": TEXT}, 422, "invalid_value"),
        ({"text": " ", "label": OTHER}, 422, "invalid_text"),
        ({"text": TEXT, "labels": ["a", "a"], "label": "a"}, 422, "invalid_value"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    daemon: Daemon, fields: dict[str, Any], status: int, code: str
) -> None:
    """With a stable code, and without the user's words."""
    reply = correct(daemon, **fields)

    assert (reply.status, reply.code) == (status, code)
    assert CANARY not in reply.body.decode()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/corrections/none", 404),
        ("/v1/review?limit=0", 422),
        ("/v1/review?limit=201", 422),
        ("/v1/review?limit=x", 422),
        ("/v1/review?limit=²", 422),
        ("/v1/review", 200),
        ("/v1/outbox", 404),
    ],
)
def test_apps_read_fates_and_the_review_and_no_more(
    daemon: Daemon, target: str, status: int
) -> None:
    """What is on admin.sock is not on api.sock."""
    assert ask(daemon.socket, "GET", target.replace("²", "%C2%B2")).status == status


def test_the_next_answer_follows_the_correction_on_every_route(fresh: Daemon) -> None:
    """Apps that speak a foreign format see it too: first, with all of the score."""
    asked = post(fresh.socket, "/v1/classify", {"text": TEXT}).json
    assert correct(fresh, prediction_id=asked["id"], label=OTHER).status == 201

    own = post(fresh.socket, "/v1/classify", {"text": TEXT}).json
    assert (own["label"], own["reason"], own["scores"]) == (OTHER, "corrected", asked["scores"])
    hub = post(fresh.socket, "/", {"inputs": TEXT, "parameters": {"top_k": 2}})
    tei = post(fresh.socket, "/predict", {"inputs": TEXT})
    assert hub.json[0][0] == {"label": OTHER, "score": 1.0}
    assert len(hub.json[0]) == 2
    assert tei.json[0] == {"label": OTHER, "score": 1.0}
    assert {one["score"] for one in tei.json[1:]} == {0.0}
    assert {reply.headers["x-intentd-corrected"] for reply in (hub, tei)} == {"true"}
    assert metric(fresh.socket, "intentd_predictions_total", reason="corrected") == 3


def test_none_of_these_scores_nothing_on_foreign_routes(fresh: Daemon) -> None:
    """Also with candidate labels, in both shapes."""
    labels = ["music", "the weather"]
    assert correct(fresh, text=TEXT, labels=labels, label=None).status == 201
    body = {"inputs": TEXT, "parameters": {"candidate_labels": labels}}

    assert {one["score"] for one in post(fresh.socket, "/", body).json} == {0.0}
    assert post(fresh.socket, "/?format=pipeline", body).json["scores"] == [0.0, 0.0]
    other = post(fresh.socket, "/", {"inputs": TEXT})
    assert other.headers["x-intentd-corrected"] == "false"


def test_the_clients_speak_every_route(fresh: Daemon) -> None:
    """From the answer to the build that used its correction, and to its erasure."""
    with Client(fresh.socket) as client, AdminClient(fresh.admin_socket) as admin:
        asked = client.classify(TEXT)
        made = client.correct(OTHER, prediction_id=asked.id)
        nodded = client.confirm(client.classify("find papers").id)
        refused = client.correct(OTHER, text="why?", labels=None)
        out = admin.outbox()
        assert [r.id for r in out.records] == [made.id, nodded.id, refused.id]
        assert admin.mark_sent([made.id]) == 1
        assert client.correction(made.id).state == "sent"
        done = admin.acknowledge(
            [
                RecordResult(id=made.id, status="accepted"),
                RecordResult(id=nodded.id, status="duplicate"),
                RecordResult(id=refused.id, status="rejected", code="invalid", message="why"),
            ]
        )
        assert (done.acknowledged, done.dead, done.remaining) == (2, 1, 0)
        assert [one.id for one in admin.dead_letter().records] == [refused.id]
        assert client.correction(refused.id).state == "dead"
        assert admin.redrive() == 1
        receipt = UseReceipt(id=made.id, build="b1", used_utc="2026-01-31T12:00:00Z")
        assert admin.record_receipts([receipt], 7) == 1
        fate = client.correction(made.id)
        assert (fate.state, fate.build) == ("used", "b1")
        assert fate.used_utc == "2026-01-31T12:00:00.000Z"
        cursor = admin.cursor()
        assert (cursor.receipts_cursor, cursor.last_seq) == (7, 3)
        assert cursor.device_id == out.device_id
        assert admin.bump_epoch(cursor.epoch, 99) == cursor.epoch + 1
        page = admin.corrections(limit=2)
        assert [one.text for one in page.corrections] == [TEXT, "find papers"]
        rest = admin.corrections(after=page.next or 0)
        assert ([one.id for one in rest.corrections], rest.next) == ([refused.id], None)
        assert [c.id for c in admin.corrections(kind="confirmation").corrections] == [nodded.id]
        assert admin.correction(made.id).text == TEXT
        stats = admin.stats()
        assert (stats.total, stats.store.ok, stats.store.synchronous) == (3, True, "FULL")
        assert {one.label for one in stats.per_label} == {i.name for i in client.intents().intents}
        assert admin.erase(made.id) == [made.id]
        assert client.classify(TEXT).reason is not Reason.CORRECTED
        assert admin.erase_text("why?") == [refused.id]
        with pytest.raises(NotFound):
            admin.correction(made.id)
        assert client.correction(made.id).state == "erased"


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("DELETE", "/v1/corrections/none", None, 404),
        ("GET", "/v1/corrections?kind=guess", None, 422),
        ("GET", "/v1/corrections?limit=1001", None, 422),
        ("POST", "/v1/corrections/erase", b"{}", 422),
        ("POST", "/v1/outbox/ack", b"{", 400),
        (
            "POST",
            "/v1/outbox/receipts",
            b'{"receipts": [{"id": "a", "build": "b", "used_utc": "now"}], "cursor": 0}',
            422,
        ),
        ("POST", "/v1/outbox/receipts", b'{"receipts": [], "cursor": 99999999999999999999}', 422),
        ("POST", "/v1/classify", b'{"text": "x"}', 404),
    ],
)
def test_the_admins_mistakes_are_told(
    daemon: Daemon, method: str, target: str, body: bytes | None, status: int
) -> None:
    """As problems, with a code."""
    reply = ask(daemon.admin_socket, method, target, body)

    assert reply.status == status
    assert reply.code


def test_apps_may_not_reach_the_admins_socket() -> None:
    """Another user who may talk to api.sock is kept from admin.sock by its file's mode."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    connect = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    with running_daemon(env={"INTENTD_SOCKET_MODE": "0666"}) as daemon:
        daemon.socket.parent.chmod(0o711)
        tried = [
            subprocess.run([sys.executable, "-c", connect, str(path)], capture_output=True)
            for path in (daemon.socket, daemon.admin_socket)
        ]
        assert [done.returncode == 0 for done in tried] == [True, False]
        assert b"PermissionError" in tried[1].stderr
        assert daemon.admin_socket.stat().st_mode & 0o777 == 0o660


def test_apps_cannot_use_up_the_admins_connections() -> None:
    """Each socket counts its own."""
    env = {"INTENTD_MAX_CONNECTIONS": "1"}
    with running_daemon(env=env) as daemon, Connection(daemon.socket) as one:
        assert one.ask("GET", "/healthz").status == 200
        assert ask(daemon.socket, "GET", "/healthz").status == 503
        assert ask(daemon.admin_socket, "GET", "/v1/stats").status == 200


def test_a_full_queue_of_texts_does_not_keep_corrections_out() -> None:
    """Who is turned away with 429 can still say what an earlier answer should have been."""
    body = json.dumps(
        {"texts": [f"{n} " + "why did the bridge fail? " * 100 for n in range(256)]}
    ).encode()
    with running_daemon(env={"INTENTD_QUEUE_SIZE": "1"}) as daemon, ExitStack() as stack:
        crowd = [stack.enter_context(Connection(daemon.socket)) for _ in range(4)]
        for one in crowd:
            one.send(request("POST", "/v1/classify", body))
        wait_until(lambda: any(one.has_reply() for one in crowd), "somebody is turned away")
        assert post(daemon.socket, "/v1/classify", {"text": "x"}).status == 429
        assert correct(daemon, text=TEXT, label=OTHER).status == 201


def test_a_broken_store_stops_corrections_and_nothing_else() -> None:
    """507 with Retry-After; answers, readiness and the admin's figures go on."""
    with short_directory() as directory:
        (directory / "file").write_bytes(b"")
        state = str(directory / "file" / "state")
        with start(directory, env={"INTENTD_STATE_DIR": state}) as daemon:
            asked = post(daemon.socket, "/v1/classify", {"text": TEXT})
            refused = correct(daemon, text=TEXT, label=OTHER)
            assert (asked.status, refused.status, refused.code) == (200, 507, "store_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert ask(daemon.socket, "GET", "/readyz").status == 200
            assert metric(daemon.socket, "intentd_store_ok") == 0
            with AdminClient(daemon.admin_socket) as admin, pytest.raises(StoreUnavailable):
                admin.outbox()
            assert "corrections cannot be kept" in daemon.log
            assert CANARY not in daemon.log
            assert daemon.stop() == 0


def test_everything_is_there_after_a_restart() -> None:
    """Corrections take effect, and the last answers before the stop can still be judged."""
    with short_directory() as directory:
        with start(directory) as daemon, Client(daemon.socket) as client:
            client.correct(OTHER, text=TEXT)
            last = client.classify("find papers")
            assert daemon.stop() == 0
            assert all(p.stat().st_size == 0 for p in daemon.state_dir.glob("*-wal"))
        with start(directory) as daemon, Client(daemon.socket) as client:
            assert client.classify(TEXT).label == OTHER
            assert client.correct(OTHER, prediction_id=last.id).predicted_label == last.label


@pytest.mark.parametrize("predictions", ["hash", "off"])
def test_texts_that_are_not_to_be_kept_leave_no_trace(predictions: str) -> None:
    """No byte of a text in any file of the state directory, while running or after."""
    with short_directory() as directory:
        with start(directory, env={"INTENTD_PREDICTIONS": predictions}) as daemon:
            post(daemon.socket, "/v1/classify", {"text": TEXT, "content": CANARY})
            ask(daemon.socket, "GET", "/v1/review")  # flushes the log
            assert not holds(daemon.state_dir, CANARY)
        assert not holds(daemon.state_dir, CANARY)


def test_an_erased_text_leaves_no_trace(fresh: Daemon) -> None:
    """Neither in a database nor in its write-ahead log; the tombstone has no text."""
    with Client(fresh.socket) as client, AdminClient(fresh.admin_socket) as admin:
        client.classify(TEXT)
        client.correct(OTHER, text=TEXT)
        client.review()
        assert holds(fresh.state_dir, CANARY)
        admin.erase_text(TEXT)
        assert not holds(fresh.state_dir, CANARY)
        [record] = admin.outbox().records
        assert set(record.model_dump()) == {"type", "schema_version", "id", "occurred_utc"}


def holds(directory: Path, word: str) -> bool:
    """Whether any file in the directory holds the word's bytes."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return any(word.encode() in path.read_bytes() for path in files)


def test_a_crash_writes_no_texts() -> None:
    """The limit on core files is zero, whatever it was before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if not hard:
        pytest.skip("core files are forbidden here anyway")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        with running_daemon() as daemon:
            assert resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE)[0] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def test_the_state_directory_is_private(fresh: Daemon) -> None:
    """Made with no configuration at all, for its owner alone."""
    assert fresh.state_dir.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o077 for p in fresh.state_dir.iterdir()} == {0}


def test_a_second_daemon_on_the_same_state_is_told_so(fresh: Daemon) -> None:
    """It classifies, and keeps its hands off the other's corrections."""
    env = {"INTENTD_STATE_DIR": str(fresh.state_dir)}
    with running_daemon(env=env) as second:
        assert correct(second, text=TEXT, label=OTHER).status == 507
        assert "another process" in second.log
    assert correct(fresh, text=TEXT, label=OTHER).status == 201


def test_both_sockets_can_come_from_the_service_manager() -> None:
    """As systemd passes them: by number, told apart by name."""
    with short_directory() as directory:
        paths = [directory / "one.sock", directory / "two.sock"]
        listening = [socket.socket(socket.AF_UNIX) for _ in paths]
        for one, path in zip(listening, paths, strict=True):
            one.bind(str(path))
            one.listen()
        script = (
            "import os, sys\n"
            "os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2',"
            " LISTEN_FDNAMES='admin:api')\n"
            "from edge.cli import main\n"
            "sys.argv = ['intentd', 'serve']; main()\n"
        )
        numbers = [os.dup(one.fileno()) for one in listening]  # clear of 3 and 4
        with short_directory() as home:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *map(str, numbers)],
                pass_fds=numbers,
                env=clean_environment(home),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            try:
                assert process.stdout is not None
                assert str(paths[1]).encode() in process.stdout.readline()
                assert ask(paths[0], "GET", "/v1/stats").status == 200
                assert ask(paths[1], "GET", "/v1/model").status == 200
            finally:
                process.terminate()
                process.communicate(timeout=30)
        assert all(path.exists() for path in paths)
        for one in listening:
            one.close()
        for number in numbers:
            os.close(number)
