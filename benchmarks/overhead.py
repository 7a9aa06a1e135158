"""What the daemon adds to the model: p50 over the socket minus p50 of the bare `session.run`.

Both are measured in turn, in several rounds, each alone on the machine while it is measured. The
bare run gets the very rows that the daemon makes of the text, in this process, on the same threads.
It is measured back to back, and once more with a pause before each run, as between two requests:
the runtime's threads have gone to sleep by then, and the model is slower by what waking them costs.

    python -m benchmarks.overhead --rounds 5
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from edge.bundle import MODEL, STARTER, TOKENIZER, read_bundle
from edge.runtime import Graph, RuntimeOptions
from edge.similarity import segments
from edge.tokens import TextTokenizer, pad_rows
from tests.daemons import running_daemon

TEXT = (
    "Please have a look at the attached minutes and tell me in two or three sentences "
    "what was decided about the budget"
)
TARGET_MS = 1.5
PAUSE_S = 0.001


class UnixConnection(http.client.HTTPConnection):
    """The standard library's client: a lean one, so that the daemon is what is measured."""

    def __init__(self, path: Path) -> None:
        super().__init__("intentd")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def main() -> None:
    """Print one row a round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300, help="per round and side")
    parser.add_argument("--bundle", type=Path, default=STARTER)
    options = parser.parse_args()
    run_bare = bare(options.bundle)
    with running_daemon("--bundle", str(options.bundle)) as daemon:
        request = over(daemon.socket)
        rounds = [
            (
                p50(request, options.requests),
                p50(run_bare, options.requests),
                p50(run_bare, options.requests, PAUSE_S),
            )
            for _ in range(options.rounds)
        ]
    print(f"{describe_machine()}\n\n{table(rounds)}")


def bare(path: Path) -> Callable[[], object]:
    """One `session.run` on the rows of the text."""
    bundle = read_bundle(path)
    tokenizer = TextTokenizer((path / TOKENIZER).read_bytes())
    graph = Graph(path / MODEL, RuntimeOptions())
    room = bundle.manifest.max_tokens - tokenizer.n_special_single
    rows = [tokenizer.single(tokenizer.encode(part, room).ids) for part in segments(TEXT)]
    names = ("input_ids", "attention_mask", "token_type_ids")
    feed: dict[str, np.ndarray] = dict(zip(names, pad_rows(rows, tokenizer.pad_id), strict=True))
    return lambda: graph.run(feed)


def over(path: Path) -> Callable[[], object]:
    """One request on a connection that stays open."""
    connection = UnixConnection(path)
    body = json.dumps({"text": TEXT})

    def request() -> object:
        connection.request("POST", "/v1/classify", body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())["label"]

    return request


def p50(call: Callable[[], object], times: int, pause_s: float = 0.0) -> float:
    """Median in milliseconds, after a tenth as many calls to warm up; pauses do not count."""
    for _ in range(times // 10):
        call()
    measured = []
    for _ in range(times):
        if pause_s:
            time.sleep(pause_s)
        started = time.perf_counter()
        call()
        measured.append((time.perf_counter() - started) * 1e3)
    return statistics.median(measured)


def table(rounds: list[tuple[float, float, float]]) -> str:
    """Markdown: a row a round, then the medians and the target."""
    lines = [
        "| round | over the socket, p50 | bare run, p50 | bare run after a pause | overhead |",
        "|---|---|---|---|---|",
    ]
    for number, (socket_ms, bare_ms, paused_ms) in enumerate(rounds, 1):
        cells = (socket_ms, bare_ms, paused_ms, socket_ms - bare_ms)
        lines.append(f"| {number} | " + " | ".join(f"{cell:.2f} ms" for cell in cells) + " |")
    overhead = statistics.median(over - bare_ms for over, bare_ms, _ in rounds)
    paused = statistics.median(over - paused_ms for over, _, paused_ms in rounds)
    verdict = "met" if overhead <= TARGET_MS else "missed"
    lines += [
        f"\noverhead, median of rounds: {overhead:.2f} ms (target ≤ {TARGET_MS}: {verdict}); "
        f"over the run after a pause: {paused:.2f} ms"
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
