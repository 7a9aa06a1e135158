"""The typed client, against the real daemon, and against fakes that behave as no daemon should."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import calls, errors
from edge.calls import ClassifyOptions, classify_body
from edge.client import AsyncClient, Client
from edge.errors import (
    DaemonUnreachable,
    DeadlineExceeded,
    EdgeError,
    InvalidRequest,
    InvalidText,
    MalformedBody,
    NotReady,
    Overloaded,
    Unavailable,
)
from edge.wire import ClassifyAnswer, ClassifyRequest, decode
from tests.daemons import Daemon, running_daemon, short_directory

# httpcore2 leaves the socket of a failed connect to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

TEXT = "find the invoice from May"
NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))
ALL_ERRORS = sorted(calls.ERROR_OF_CODE.values(), key=lambda kind: kind.code)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with every default."""
    with running_daemon() as started:
        yield started


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of it."""
    with Client(daemon.socket) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Collects what a failed connect left, within the test that ignores the warning about it."""
    yield
    gc.collect()


@contextmanager
def fake_daemon(reply: bytes | None) -> Iterator[tuple[Path, list[bytes]]]:
    """Answers every connection's first request with `reply`; None keeps silent until the end."""
    seen: list[bytes] = []
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "s"))
        listening.listen()
        done = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    if done.is_set():
                        return
                    seen.append(connection.recv(65536))
                    if reply is None:
                        done.wait(30)
                    else:
                        connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield directory / "s", seen
        finally:
            done.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(directory / "s"))
                thread.join()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_classify_gives_a_typed_answer(client: Client) -> None:
    """One text, the default intents."""
    answer = client.classify(TEXT)

    assert isinstance(answer, ClassifyAnswer)
    assert answer.raw_label == "SEARCH_ONLY"
    assert {score.label for score in answer.scores} == {
        intent.name for intent in client.intents().intents
    }


def test_classify_many_keeps_the_order(client: Client) -> None:
    """Answer i belongs to text i, and equals what the text gets alone."""
    texts = [TEXT, "sum this article up in two lines", "why did the server crash?"]

    answers = client.classify_many(texts)

    alone = [client.classify(text) for text in texts]
    assert [answer.scores for answer in answers] == [answer.scores for answer in alone]


def test_every_option_reaches_the_daemon(client: Client) -> None:
    """Own labels, independent scores, a cut list and a lowered window all show in the answer."""
    long = "please " * 100 + TEXT

    answer = client.classify(
        long, labels=("cats", "dogs", "birds"), multi_label=True, top_k=2, max_tokens=20
    )

    assert len(answer.scores) == 2
    assert {score.label for score in answer.scores} < {"cats", "dogs", "birds"}
    assert answer.tokens.used <= 20
    assert answer.tokens.truncated


def test_content_is_read_beside_the_text(client: Client) -> None:
    """It goes in a field of its own, and an empty one is as good as none."""
    alone = client.classify("sum it up", content="")

    beside = client.classify("sum it up", content="The committee met on Tuesday. " * 5)

    assert alone.raw_label == client.classify("sum it up").raw_label
    assert beside.raw_label


def test_deadline_is_sent(client: Client) -> None:
    """A deadline out of range is refused by the daemon, which shows that it arrived."""
    with pytest.raises(InvalidRequest, match="deadline_ms"):
        client.classify(TEXT, deadline_ms=0)

    assert client.classify(TEXT, deadline_ms=60_000).raw_label


def test_async_client_answers_as_the_sync_one(daemon: Daemon, client: Client) -> None:
    """Two hundred at once: more than one client may open connections, fewer than are refused."""

    async def ask() -> list[ClassifyAnswer]:
        async with AsyncClient(daemon.socket) as concurrent:
            assert await concurrent.is_ready()
            assert await concurrent.model() == client.model()
            assert await concurrent.intents() == client.intents()
            assert "intentd_requests_total" in await concurrent.metrics()
            assert len(await concurrent.classify_many([TEXT, TEXT])) == 2
            return await asyncio.gather(*(concurrent.classify(TEXT) for _ in range(200)))

    answers = asyncio.run(ask())

    assert {tuple(answer.scores) for answer in answers} == {tuple(client.classify(TEXT).scores)}


def test_both_clients_offer_the_same_calls() -> None:
    """Names and parameters; whoever knows one knows the other."""

    def calls_of(kind: type) -> dict[str, Any]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: str(inspect.signature(member))
            for name, member in members
            if not name.startswith("_")
        }

    assert calls_of(Client) == calls_of(AsyncClient)


def test_threads_may_share_a_client(client: Client) -> None:
    """Each gets the answer to its own text."""
    texts = [f"{TEXT} {number}" for number in range(32)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.classify, texts))

    assert [a.scores for a in answers] == [a.scores for a in client.classify_many(texts)]


@pytest.mark.parametrize(
    ("text", "expected"), [("", InvalidText), (" \n ", InvalidText), ("\ud800", MalformedBody)]
)
def test_a_refusal_is_raised_as_its_class(
    client: Client, text: str, expected: type[EdgeError]
) -> None:
    """The daemon's own words and code arrive."""
    with pytest.raises(expected) as caught:
        client.classify(text)

    assert caught.value.code == expected.code
    assert str(caught.value)


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.code)
def test_every_code_becomes_its_class(kind: type[EdgeError]) -> None:
    """Whatever the edge raises on purpose comes back as it was raised."""
    problem = {"title": "t", "status": kind.http_status, "code": kind.code, "detail": "why"}
    response = httpx2.Response(kind.http_status, json=problem, headers={"Retry-After": "7"})

    with pytest.raises(EdgeError) as caught:
        calls.MODEL.answer(response)

    assert type(caught.value) is kind
    assert (caught.value.code, str(caught.value)) == (kind.code, "why")
    assert getattr(caught.value, "retry_after_s", 7) == 7


def test_every_error_has_a_code_of_its_own() -> None:
    """Two classes with one code could not be told apart by a client."""
    exported = {
        kind
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, EdgeError)
    }

    assert set(ALL_ERRORS) == exported


@pytest.mark.parametrize(
    ("status", "expected"),
    [("404 Not Found", InvalidRequest), ("503 x", Unavailable), ("500 x", EdgeError)],
)
def test_an_unknown_code_keeps_its_name(status: str, expected: type[EdgeError]) -> None:
    """A newer daemon's code is passed on, in the class that its status suggests."""
    number = int(status.split()[0])
    body = json.dumps({"title": "t", "status": number, "code": "from_2031", "detail": "why"})

    with (
        fake_daemon(http(status, body.encode())) as (path, _),
        Client(path) as client,
        pytest.raises(EdgeError) as caught,
    ):
        client.model()

    assert type(caught.value) is expected
    assert caught.value.code == "from_2031"


@pytest.mark.parametrize(
    "reply",
    [http("502 x", b"<html>"), http("200 OK", b"{}"), http("302 x", b"", "Location: /elsewhere")],
)
def test_an_answer_that_is_none_is_an_error(reply: bytes) -> None:
    """Something else than a daemon may listen there; a redirect is not followed."""
    with fake_daemon(reply) as (path, seen), Client(path) as client:
        with pytest.raises(EdgeError, match="daemon"):
            client.classify(TEXT)

        assert len(seen) == 1


def test_nothing_is_sent_twice() -> None:
    """A daemon that dies over a request is not given it again."""
    with fake_daemon(b"") as (path, seen), Client(path) as client:
        with pytest.raises(DaemonUnreachable, match="without an answer"):
            client.classify(TEXT)

        assert len(seen) == 1


def test_a_silent_daemon_runs_into_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client stops waiting soon after its own deadline."""
    monkeypatch.setattr(calls, "AFTER_DEADLINE_S", 0.0)

    with (
        fake_daemon(None) as (path, _),
        Client(path) as client,
        pytest.raises(DeadlineExceeded, match=r"0\.05 s"),
    ):
        client.classify(TEXT, deadline_ms=50)


@pytest.mark.parametrize("deadline_ms", [-(10**12), 10**30])
def test_a_deadline_out_of_range_is_the_daemons_to_refuse(client: Client, deadline_ms: int) -> None:
    """It must not become a time-out that the operating system cannot hold."""
    with pytest.raises(InvalidRequest):
        client.classify(TEXT, deadline_ms=deadline_ms)


def test_an_unreachable_daemon_names_the_socket_and_the_command() -> None:
    """No file, a dead socket, a path too long, and a file that is no socket."""
    with short_directory() as directory:
        (directory / "file").touch()
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(directory / "dead"))
        dead.close()
        for name in ("missing", "dead", "file", "x" * 200):
            with Client(directory / name) as client:
                assert not client.is_ready()
                with pytest.raises(DaemonUnreachable, match="intentd serve --socket") as caught:
                    client.model()
                assert str(directory / name) in str(caught.value)


def test_async_client_says_that_nobody_answers() -> None:
    """The same message as the sync client's."""

    async def ask() -> None:
        async with AsyncClient("/tmp/itd-nowhere/s") as client:
            assert not await client.is_ready()
            await client.model()

    with pytest.raises(DaemonUnreachable, match="/tmp/itd-nowhere/s: nobody answers"):
        asyncio.run(ask())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to every socket")
def test_a_forbidden_socket_says_whom_to_ask() -> None:
    """The file's permissions are the authorisation."""
    with fake_daemon(http("200 OK")) as (path, _), Client(path) as client:
        path.chmod(0)
        with pytest.raises(DaemonUnreachable, match="group"):
            client.model()
        path.chmod(0o600)


def test_is_ready_is_false_while_the_daemon_stops() -> None:
    """It answers, but not for long."""
    body = json.dumps({"title": "t", "status": 503, "code": NotReady.code, "detail": "stopping"})

    with fake_daemon(http("503 x", body.encode())) as (path, _), Client(path) as client:
        assert not client.is_ready()


def test_retry_after_is_on_the_error() -> None:
    """The caller decides whether to wait; the client does not."""
    body = json.dumps({"title": "t", "status": 429, "code": Overloaded.code, "detail": "full"})

    with (
        fake_daemon(http("429 x", body.encode(), "Retry-After: 3")) as (path, _),
        Client(path) as client,
        pytest.raises(Overloaded) as caught,
    ):
        client.classify(TEXT)

    assert caught.value.retry_after_s == 3


def test_proxies_of_the_environment_are_ignored(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts go to the socket, whatever the environment says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with Client(daemon.socket) as client:
        assert client.classify(TEXT).raw_label


def test_the_default_socket_is_the_one_in_the_environment(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app needs no code to be pointed to another daemon."""
    monkeypatch.setenv("INTENTD_SOCKET", str(daemon.socket))

    with Client() as client:
        assert client.is_ready()


@given(
    text=NO_SURROGATES,
    content=st.none() | NO_SURROGATES,
    labels=st.none() | st.lists(NO_SURROGATES, min_size=1),
    top_k=st.none() | st.integers(1, 64),
)
def test_a_body_is_read_as_it_was_meant(
    text: str, content: str | None, labels: list[str] | None, top_k: int | None
) -> None:
    """What the daemon's decoder reads is what the client was given, for any text."""
    options: ClassifyOptions = {"labels": labels, "top_k": top_k, "multi_label": True}

    request = decode(ClassifyRequest, classify_body(text, content, options))

    assert request == ClassifyRequest(
        text=text, content=content, labels=labels, top_k=top_k, multi_label=True
    )


def test_a_body_is_not_blown_up_by_escapes() -> None:
    """A text in Chinese takes its UTF-8 size, so that the body's limit means the same for all."""
    text = "请总结这篇文章" * 1000

    assert len(classify_body(text, None, {})) < len(text.encode()) + 20
