"""What the daemon costs a box on its starter bundle: seconds to start, memory, disk, milliseconds.

python -m benchmarks.footprint
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.overhead import UnixConnection, p50
from edge.bundle import STARTER
from edge.client import Client
from tests.daemons import Daemon, running_daemon

SHORT = "find the invoice from May"
ARTICLE_BYTES = 20_000
SENTENCE = "The committee met on Tuesday and went through the list of open points once more. "


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    started = []
    for _ in range(options.starts):
        began = time.perf_counter()
        with running_daemon():
            started.append(time.perf_counter() - began)
    with running_daemon() as daemon:
        fresh = rss_mb(daemon)
        short = request_ms(daemon, SHORT, options.requests)
        article = SENTENCE * (ARTICLE_BYTES // len(SENTENCE)) + "What did they decide, in short?"
        long = request_ms(daemon, article, options.requests)
        used = rss_mb(daemon)
    size = sum(file.stat().st_size for file in STARTER.iterdir()) / 1e6
    rows = {
        f"from exec to ready, median of {options.starts}": f"{statistics.median(started):.2f} s",
        "short request over the socket, p50": f"{short:.1f} ms",
        "20 KB text over the socket, p50": f"{long:.1f} ms",
        f"memory when ready, and after {options.requests * 2} requests": (
            f"{fresh:.0f} MB, {used:.0f} MB"
        ),
        "the bundle on disk": f"{size:.0f} MB",
    }
    print(f"{describe_machine()}\n\n| starter bundle | |\n|---|---|")
    for what, value in rows.items():
        print(f"| {what} | {value} |")


def request_ms(daemon: Daemon, text: str, times: int) -> float:
    """Median milliseconds of one request on an open connection."""
    connection = UnixConnection(daemon.socket)
    body = json.dumps({"text": text})

    def request() -> object:
        connection.request("POST", "/v1/classify", body)
        return connection.getresponse().read()

    return p50(request, times)


def rss_mb(daemon: Daemon) -> float:
    """Resident memory in MB, as the daemon's own metrics give it."""
    with Client(Path(daemon.socket)) as client:
        found = re.search(r"^process_resident_memory_bytes (\S+)", client.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1]) / 1e6


if __name__ == "__main__":
    main()
