"""Servers and how one talks to them: intentd over its Unix socket, the others over TCP loopback."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks import venv
from benchmarks.graphs import Graphs
from benchmarks.processes import family, send
from benchmarks.replies import Reply
from benchmarks.works import Question
from edge.bench import UnixConnection
from edge.settings import Settings
from tests.daemons import ROOT, running_daemon, short_directory

__all__ = ["COMPILED", "Server", "has_setting", "infinity", "intentd", "mlflow", "plain"]

BIN = Path(sys.executable).parent
"""MLflow looks for uvicorn on the path."""
READY_S = 180.0
STOP_S = 30.0
POLL_S = 0.1
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""An installed intentd has its modules compiled; a checkout must be let keep what it compiles."""
HEADERS = {"Content-Type": "application/json"}

Connect = Callable[[], http.client.HTTPConnection]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server is asked, and where its answer holds the scores."""

    path: str
    body: Callable[[Question], dict[str, Any]]
    scores: Callable[[Any], dict[str, float]]


def _ask_intentd(question: Question) -> dict[str, Any]:
    return {"text": question.text} | ({"labels": question.labels} if question.labels else {})


def _by_label(rows: Any) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows}


INTENTD = Dialect("/v1/classify", _ask_intentd, lambda found: _by_label(found["scores"]))
PLAIN = Dialect("/classify", lambda question: {"text": question.text}, dict)
INFINITY = Dialect(
    "/classify",
    lambda question: {"input": [question.text], "model": "measured"},
    lambda found: _by_label(found["data"][0]),
)
MLFLOW = Dialect(
    "/invocations",
    lambda question: {"inputs": [question.text]},
    lambda found: dict(found["predictions"][0]),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers; each client keeps one connection."""

    pid: int
    connect: Connect
    dialect: Dialect
    socket: Path | None = None

    def ask(self, questions: Sequence[Question], clients: int = 1) -> list[Reply]:
        """All of them; the clients draw from one pile. Bodies are made before the clock starts."""
        bodies = [_encode(self.dialect.body(question)) for question in questions]
        answers: list[tuple[float, bytes]] = [(0.0, b"")] * len(bodies)
        pile = itertools.count()

        def client() -> None:
            connection = self.connect()
            connection.connect()
            while (number := next(pile)) < len(bodies):
                answers[number] = _exchange(connection, self.dialect.path, bodies[number])
            connection.close()

        _together(client, clients)
        read = self.dialect.scores
        return [Reply(ms, read(json.loads(answer))) for ms, answer in answers]


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _exchange(
    connection: http.client.HTTPConnection, path: str, body: bytes
) -> tuple[float, bytes]:
    began = time.perf_counter()
    connection.request("POST", path, body, HEADERS)
    response = connection.getresponse()
    answer = response.read()
    ms = (time.perf_counter() - began) * 1e3
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"expected an answer, found {response.status}: {answer[:300]!r}")
    return ms, answer


def _together(client: Callable[[], None], clients: int) -> None:
    """Raise what any of them raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            client()
        except BaseException as error:  # noqa: BLE001 — raised again below, in the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def has_setting(name: str) -> bool:
    """Whether this intentd knows a setting; older ones can be measured too."""
    return name in {field.name for field in fields(Settings)}


@contextmanager
def intentd(graphs: Graphs, settings: Mapping[str, object] | None = None) -> Iterator[Server]:
    """Our daemon, everything at its default: the prediction log is on."""
    environment = {f"INTENTD_{key.upper()}": str(value) for key, value in (settings or {}).items()}
    with running_daemon("--bundle", str(graphs.bundle), env=COMPILED | environment) as daemon:
        path = daemon.socket
        yield Server(daemon.process.pid, lambda: UnixConnection(path), INTENTD, path)


@contextmanager
def plain(graphs: Graphs) -> Iterator[Server]:
    """Thirty lines that anybody could write."""
    port = _free_port()
    command = [
        sys.executable, "-m", "benchmarks.plain_server", str(graphs.optimum), str(graphs.source),
        str(port),
    ]  # fmt: skip
    with _serving(command, port, "/openapi.json", PLAIN) as server:
        yield server


@contextmanager
def infinity(graphs: Graphs) -> Iterator[Server]:
    """Infinity in a virtual environment of its own: its dependencies are not ours."""
    port = _free_port()
    command = [
        str(venv.infinity() / "bin" / "infinity_emb"), "v2", "--model-id", str(graphs.source),
        "--served-model-name", "measured", "--engine", "torch", "--device", "cpu", "--port",
        str(port), "--host", "127.0.0.1", "--no-bettertransformer", "--log-level", "warning",
    ]  # fmt: skip
    with _serving(command, port, "/health", INFINITY) as server:
        yield server


@contextmanager
def mlflow(graphs: Graphs) -> Iterator[Server]:
    """`mlflow models serve` on a python_function over Optimum's int8."""
    from benchmarks.mlflow_model import save

    port = _free_port()
    model = graphs.optimum.parent / "mlflow"
    if not model.is_dir():
        save(model, graphs.optimum, graphs.source)
    command = [
        str(BIN / "mlflow"), "models", "serve", "--env-manager", "local",
        "--model-uri", str(model), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with _serving(command, port, "/health", MLFLOW) as server:
        yield server


@contextmanager
def _serving(command: Sequence[str], port: int, probe: str, dialect: Dialect) -> Iterator[Server]:
    with short_directory() as directory, (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        )
        try:
            _wait_until_ready(process, port, probe, directory / "log")
            yield Server(process.pid, lambda: _tcp(port), dialect)
        finally:
            _end(process)


def _tcp(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, probe: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _answers(port, probe):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text("utf-8", "replace")[-2000:]
            raise RuntimeError(f"{process.args!r} did not get ready within {READY_S:g} s:\n{tail}")
        time.sleep(POLL_S)


def _answers(port: int, probe: str) -> bool:
    try:
        connection = _tcp(port)
        connection.request("GET", probe)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its children too: they were all started here."""
    members = family(process.pid)
    send(members, signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        send([pid for pid in members if Path(f"/proc/{pid}").exists()], signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
