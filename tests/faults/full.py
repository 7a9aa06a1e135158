"""Fills the disk of a daemon and prints, as JSON, what it did; for a small file system only.

python -m tests.faults.full DIRECTORY
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.daemons import start
from tests.e2e.talk import Reply, ask, post, wait_until
from tests.faults.clients import all_corrections, correction

__all__ = ["main"]

PADDING = 20_000
MAX_FREE_BYTES = 64 * 1024


def main() -> None:
    """Run the daemon, fill the disk, look, erase, make room, look again, restart, look again."""
    directory = Path(sys.argv[1])
    found: dict[str, Any] = {}
    acknowledged: dict[str, str] = {}
    with start(directory) as daemon:
        fill(directory, daemon.socket, acknowledged)
        refused = [correct(daemon.socket, 5000 + n, acknowledged) for n in range(20)]
        last = next(reply for reply in refused if reply.status != 201)
        found["refused"] = [reply.status for reply in refused if reply.status != 201]
        found["code"], found["retry_after"] = last.json["code"], last.headers.get("retry-after", 0)
        texts = [{"text": f"say {n} in short"} for n in range(50)]
        found["classified"] = [post(daemon.socket, "/v1/classify", t).status for t in texts]
        found |= erase(directory, acknowledged)
        (directory / "ballast").unlink()
        resumed = correct(daemon.socket, 9000, acknowledged)
        found["resumed"] = resumed.status
        wait_until(lambda: bool(health(directory)["ok"]), "health")
        found["ok_after"] = health(directory)["ok"]
    with start(directory):
        stored = {row["id"]: row["text"] for row in all_corrections(directory / "admin.sock")}
    found["acknowledged"] = len(acknowledged)
    found["missing"] = [id for id, text in acknowledged.items() if stored.get(id) != text]
    found["unasked"] = [id for id in stored if id not in acknowledged]
    print(json.dumps(found))  # noqa: T201 - what it is for


def fill(directory: Path, socket: Path, acknowledged: dict[str, str]) -> None:
    """Corrections until one is refused, then bytes until there is room for none."""
    number = 0
    while correct(socket, number, acknowledged).status == 201:
        number += 1
    with (directory / "ballast").open("wb", buffering=0) as ballast:
        for size in (65_536, 4096, 1):
            try:
                while ballast.write(bytes(size)):
                    pass
            except OSError:
                continue


def correct(socket: Path, number: int, acknowledged: dict[str, str]) -> Reply:
    """Send a correction, and note it if it was acknowledged."""
    message = correction(number, PADDING)
    reply = post(socket, "/v1/corrections", message)
    if reply.status == 201:
        acknowledged[reply.json["id"]] = message["text"]
    return reply


def erase(directory: Path, acknowledged: dict[str, str]) -> dict[str, Any]:
    """Erase the first correction on the full disk."""
    id, text = next(iter(acknowledged.items()))
    status = os.statvfs(directory)
    erased = ask(directory / "admin.sock", "DELETE", f"/v1/corrections/{id}")
    needle = text[:12].encode()
    files = [path for path in (directory / "intentd").rglob("*") if path.is_file()]
    if erased.status == 200:
        del acknowledged[id]
    return {
        "free_before_erasing": status.f_bavail * status.f_frsize,
        "erased": erased.status,
        "remnants": [path.name for path in files if needle in path.read_bytes()],
    }


def health(directory: Path) -> dict[str, Any]:
    """How the store is, as the admin sees it."""
    found: dict[str, Any] = ask(directory / "admin.sock", "GET", "/v1/stats").json["store"]
    return found


if __name__ == "__main__":
    main()
