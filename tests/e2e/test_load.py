"""A real daemon under more work than it can do at once: nobody starves, nothing is lost."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon, running_daemon
from tests.e2e.conftest import check_log
from tests.e2e.talk import CANARY, Connection, ask, metric, post, request, wait_until

LONG_TEXT = f"{CANARY} and the harbour was quiet; gulls sat on the wall.\n" * 60
TEXTS = [
    "sum this up",
    "find papers on solar panels",
    "why did it fail?",
    LONG_TEXT,
    "a",
    "🦕 " * 90,
]


NUMBERS = itertools.count()


def new_text() -> str:
    """A short text that never came before."""
    return f"sum number {next(NUMBERS)} up"


def batch(size: int, **fields: Any) -> bytes:
    """A request of many texts that never came before, each of which costs a whole window."""
    message = {"texts": [f"{next(NUMBERS)} {LONG_TEXT}" for _ in range(size)], **fields}
    return request("POST", "/v1/classify", json.dumps(message).encode())


@contextmanager
def busy(daemon: Daemon, size: int, count: int = 2) -> Iterator[list[Connection]]:
    """Several batches in work at once; as many run as there are workers, `count - 1` more wait."""
    workers = ask(daemon.socket, "GET", "/v1/model").json["parallel_runs"]
    with ExitStack() as opened:
        connections = [
            opened.enter_context(Connection(daemon.socket)) for _ in range(count + workers - 1)
        ]
        for connection in connections:
            connection.send(batch(size))
        wait_until(lambda: metric(daemon.socket, "intentd_queue_depth") >= count - 1, "all at work")
        yield connections


def test_single_text_overtakes_batches(daemon: Daemon) -> None:
    """A text that comes after 512 others is answered while nearly all of them still wait."""
    before = metric(daemon.socket, "intentd_predictions_total")
    with busy(daemon, 256) as batches:
        assert post(daemon.socket, "/v1/classify", {"text": new_text()}).status == 200
        assert metric(daemon.socket, "intentd_predictions_total") == before + 1
        for connection in batches:
            assert not connection.has_reply()


def test_deadline_holds_in_the_queue(daemon: Daemon) -> None:
    """A request whose deadline passes before its turn is told so, and costs nothing more."""
    with busy(daemon, 16) as batches:
        message = {"text": new_text(), "deadline_ms": 1}
        reply = post(daemon.socket, "/v1/classify", message)
        assert (reply.status, reply.code) == (503, "deadline_exceeded")
        assert int(reply.headers["retry-after"]) >= 1
        for connection in batches:
            assert connection.reply().status == 200


def test_deadline_ends_a_batch_midway(daemon: Daemon) -> None:
    """It is looked at before each text: an answer that comes too late is of no use."""
    with Connection(daemon.socket) as connection:
        connection.send(batch(256, deadline_ms=50))
        assert connection.reply().code == "deadline_exceeded"


def test_work_for_clients_that_left_is_dropped(daemon: Daemon) -> None:
    """Eight batches whose clients hang up cost less than half of what answering them would."""

    def cpu_s() -> float:
        return metric(daemon.socket, "process_cpu_seconds_total")

    start_s = cpu_s()
    with Connection(daemon.socket) as connection:
        connection.send(batch(256))
        assert connection.reply().status == 200
    answered_s, start_s = cpu_s() - start_s, cpu_s()
    before = metric(daemon.socket, "intentd_requests_total", status="499")
    with busy(daemon, 256, count=8):
        pass
    wait_until(lambda: metric(daemon.socket, "intentd_queue_depth") == 0, "nothing waits")
    assert metric(daemon.socket, "intentd_requests_total", status="499") > before
    assert cpu_s() - start_s < 4 * answered_s


@pytest.fixture(scope="module")
def narrow() -> Iterator[Daemon]:
    """A daemon in which one request may wait."""
    env = {"INTENTD_QUEUE_SIZE": "1", "INTENTD_REPEAT_CACHE": "0"}
    with running_daemon(env=env) as daemon:
        yield daemon
        check_log(daemon)


def test_burst_is_turned_away_at_once_and_nothing_is_lost(narrow: Daemon) -> None:
    """With the queue full, more requests get 429 and when to come back; each gets an answer."""
    connections = [Connection(narrow.socket) for _ in range(24)]
    for connection in connections:
        connection.send(batch(4))
    replies = [connection.reply() for connection in connections]
    statuses = Counter(reply.status for reply in replies)
    assert set(statuses) == {200, 429}
    for reply in replies:
        if reply.status == 429:
            assert reply.code == "overloaded"
            assert int(reply.headers["retry-after"]) >= 1
        else:
            assert len(reply.json["predictions"]) == 4
    for connection in connections:
        assert connection.ask("GET", "/healthz").status == 200
        connection.close()


OVERLOAD_S = float(os.environ.get("TEST_OVERLOAD_S", "3"))
MEGABYTE = 1 << 20


def test_tenfold_overload_sheds_questions_and_no_correction() -> None:
    """Whoever is turned away is told when to come back; each correction is kept; memory is bounded.

    `TEST_OVERLOAD_S=30` makes it as long as the promise.
    """
    env = {"INTENTD_QUEUE_SIZE": "4", "INTENTD_MAX_CONNECTIONS": "64"}
    with running_daemon(env=env) as daemon:
        statuses: Counter[tuple[int, bool]] = Counter()
        corrections: Counter[int] = Counter()
        ends = time.monotonic() + OVERLOAD_S

        def ask_on(_: int) -> None:
            with Connection(daemon.socket) as connection:
                while time.monotonic() < ends:
                    connection.send(batch(4))
                    reply = connection.reply()
                    hint = int(reply.headers.get("retry-after", 0)) >= 1
                    statuses[reply.status, hint] += 1

        def correct_on(number: int) -> None:
            with Connection(daemon.socket) as connection:
                for turn in itertools.count():
                    text = {"text": f"{number} {turn} gulls", "label": "SUMMARIZE"}
                    reply = connection.ask("POST", "/v1/corrections", json.dumps(text).encode())
                    corrections[reply.status] += 1
                    if time.monotonic() > ends:
                        return

        before = metric(daemon.socket, "process_resident_memory_bytes")
        with ThreadPoolExecutor(44) as pool:  # four run or wait at once: ten times too many
            asking = [pool.submit(ask_on, number) for number in range(40)]
            correcting = [pool.submit(correct_on, number) for number in range(4)]
            for one in asking + correcting:
                one.result()
        grown = metric(daemon.socket, "process_resident_memory_bytes") - before
        told = f"{statuses[200, False]} answered, {statuses[429, True]} shed, "
        told += f"{corrections[201]} corrections, {grown / MEGABYTE:+.1f} MiB\n"
        sys.stdout.write(told)
        assert set(statuses) == {(200, False), (429, True)}, statuses
        assert statuses[429, True] > statuses[200, False]
        assert set(corrections) == {201}, corrections
        assert metric(daemon.socket, "intentd_corrections_total") == corrections[201]
        assert grown < 64 * MEGABYTE
        check_log(daemon)


def test_overload_is_said_in_the_foreign_formats(narrow: Daemon) -> None:
    """Their clients look for `error`, and text-embeddings-inference's for its kind."""
    connections = [Connection(narrow.socket) for _ in range(24)]
    body = json.dumps({"inputs": [[LONG_TEXT]] * 4}).encode()
    for connection in connections:
        connection.send(request("POST", "/predict", body))
    refused = [reply for c in connections if (reply := c.reply()).status == 429]
    assert refused
    for reply in refused:
        assert reply.json["error_type"] == "Overloaded"
        assert int(reply.headers["retry-after"]) >= 1
    for connection in connections:
        connection.close()


def scores(path: Path, **message: Any) -> list[Any]:
    """The scores of each text, as printed: equal only if every bit is."""
    reply = post(path, "/v1/classify", message)
    assert reply.status == 200, reply
    answers = reply.json.get("predictions", [reply.json])
    return [[(s["label"], repr(s["score"])) for s in answer["scores"]] for answer in answers]


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Daemon]:
    """A daemon that asks its model anew for every text."""
    with running_daemon(env={"INTENTD_REPEAT_CACHE": "0"}) as daemon:
        yield daemon
        check_log(daemon)


@pytest.mark.parametrize("kind", ["daemon", "forgetful"])
def test_scores_are_the_same_to_the_last_bit(request: pytest.FixtureRequest, kind: str) -> None:
    """Alone, in a batch, or beside 16 other clients: a text's scores depend on it alone.

    Whether they come from the model each time, or are still in memory.
    """
    daemon: Daemon = request.getfixturevalue(kind)
    alone = [scores(daemon.socket, text=text)[0] for text in TEXTS]
    assert scores(daemon.socket, texts=TEXTS) == alone
    assert scores(daemon.socket, texts=TEXTS[::-1]) == alone[::-1]
    own = {"labels": ["music", "weather"]}
    own_alone = [scores(daemon.socket, text=text, **own)[0] for text in TEXTS]

    def client(number: int) -> None:
        turn = number % len(TEXTS)
        for index in [*range(turn, len(TEXTS)), *range(turn)]:
            assert scores(daemon.socket, text=TEXTS[index]) == [alone[index]]
        assert scores(daemon.socket, texts=TEXTS) == alone
        assert scores(daemon.socket, texts=TEXTS, **own) == own_alone

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(client, range(16)))


def test_repeated_text_is_answered_from_memory(daemon: Daemon) -> None:
    """It says so, has an id of its own, and is corrected like any other answer."""
    message = {"text": "is the ferry late again?", "labels": ["timetable", "music"]}
    first, again = (post(daemon.socket, "/v1/classify", message).json for _ in range(2))
    assert (first["cached"], again["cached"]) == (False, True)
    assert again["scores"] == first["scores"]
    other = next(label for label in message["labels"] if label != first["raw_label"])
    made = {"prediction_id": again["id"], "label": other}
    assert post(daemon.socket, "/v1/corrections", made).status == 201
    corrected = post(daemon.socket, "/v1/classify", message).json
    assert (corrected["cached"], corrected["label"]) == (True, other)
    assert corrected["reason"] == "corrected"


def test_health_answers_while_the_model_is_busy(daemon: Daemon) -> None:
    """A watchdog's probe does not wait for the model."""
    with busy(daemon, 64) as batches:
        for target in ("/healthz", "/readyz", "/v1/model", "/v1/intents"):
            assert ask(daemon.socket, "GET", target).status == 200
        assert not any(connection.has_reply() for connection in batches)


@pytest.fixture(scope="module")
def strict() -> Iterator[Daemon]:
    """A daemon that takes little at once, as its environment says."""
    env = {
        "INTENTD_MAX_BODY_BYTES": "2000",
        "INTENTD_MAX_TEXTS": "2",
        "INTENTD_MAX_CONNECTIONS": "2",
    }
    with running_daemon(env=env) as daemon:
        yield daemon
        check_log(daemon)


@pytest.fixture(scope="module")
def hasty() -> Iterator[Daemon]:
    """A daemon that waits for nobody for long, as its environment says."""
    env = {f"INTENTD_{stage}_TIMEOUT_S": "0.3" for stage in ("HEADER", "BODY", "IDLE")}
    with running_daemon(env=env) as daemon:
        yield daemon
        check_log(daemon)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"POST /v1/classify HTTP/1.1\r\n", "request_timeout"),
        (b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", "request_timeout"),
        (b"", None),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", None),
    ],
    ids=["headers", "body", "nothing", "idle"],
)
def test_slow_clients_are_closed(hasty: Daemon, sent: bytes, code: str | None) -> None:
    """Half a request is told so in time; a silent or idle connection just ends."""
    with Connection(hasty.socket) as connection:
        connection.send(sent)
        if code is not None:
            assert connection.reply().code == code
        elif sent:
            assert connection.reply().status == 200
        assert connection.is_closed()


def test_limits_are_the_settings(strict: Daemon) -> None:
    """Size and number are refused at what was configured."""
    with Connection(strict.socket) as connection:
        assert connection.ask("POST", "/v1/classify", b" " * 2001).code == "body_too_large"
        body = json.dumps({"texts": ["a"] * 3}).encode()
        assert "at most 2" in connection.ask("POST", "/v1/classify", body).json["detail"]


def test_connections_over_the_limit_get_503(strict: Daemon) -> None:
    """They are told when to come back."""
    with Connection(strict.socket) as one, Connection(strict.socket) as two:
        for connection in (one, two):
            assert connection.ask("GET", "/healthz").status == 200
        reply = ask(strict.socket, "GET", "/healthz")
        assert (reply.status, reply.code) == (503, "unavailable")
        assert int(reply.headers["retry-after"]) >= 1
