"""A daemon, a collector and `intentd sync`: real processes, with a bad network between them.

Whatever is started here is stopped here, by its pid.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.cli import main as intentd
from edge.client import AdminClient
from edge.store.corrections import CorrectionStore
from edge.store.records import Kind, NewCorrection
from tests.commands import Done, run_command
from tests.daemons import ROOT, Daemon, clean_environment, short_directory
from tests.daemons import start as start_daemon
from tests.faulty_proxy import FaultyProxy, running_proxy
from training.collector.cli import main as intentd_collect

__all__ = ["World", "running_world"]

DEADLINE_S = 60.0
POLL_S = 0.02
LOT = 500  # the store takes no more at once than it can write
INTENTD = [sys.executable, "-m", "edge.cli"]
COLLECT = [sys.executable, "-m", "training.collector.cli"]


@dataclass(slots=True)
class World:
    """Both ends and what lies between them."""

    home: Path
    env: dict[str, str]
    port: int
    daemon: Daemon
    collector: subprocess.Popen[bytes]
    proxy: FaultyProxy | None = None
    killed: list[str] = field(default_factory=list)

    @property
    def admin(self) -> AdminClient:
        """A client of admin.sock; close it."""
        return AdminClient(self.daemon.socket.with_name("admin.sock"))

    @property
    def left(self) -> int:
        """Records in the outbox."""
        with self.admin as client:
            return client.stats().outbox

    def configure(self, **settings: Any) -> None:
        """Write the table [sync]; the upstream is the proxy, or else the collector itself."""
        port = self.proxy.port if self.proxy else self.port
        table = {"upstream": f"http://127.0.0.1:{port}", "token_file": str(self.home / "token")}
        lines = [f"{key} = {json.dumps(value)}" for key, value in (table | settings).items()]
        (self.home / "sync.toml").write_text("\n".join(["[sync]", *lines]))

    def start_sync(self, *args: str) -> subprocess.Popen[bytes]:
        """A run of `intentd sync`."""
        return subprocess.Popen(
            [*INTENTD, *self._sync_words(args)],
            env=self.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def sync(self, *args: str) -> Done:
        """The same, to its end, in this process."""
        return run_command(intentd, "intentd", *self._sync_words(args), env=self.env)

    def _sync_words(self, args: Sequence[str]) -> list[str]:
        admin = self.daemon.socket.with_name("admin.sock")
        given = ["--config", str(self.home / "sync.toml"), "--admin-socket", str(admin)]
        return ["sync", *given, *args]

    def collect(self, *args: str, stdin: str = "") -> str:
        """What a command of `intentd-collect` prints."""
        env = _collector_environment(self.home)
        done = run_command(intentd_collect, "intentd-collect", *args, env=env, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def exported(self) -> list[dict[str, Any]]:
        """Every correction that the collector gives to training."""
        return [json.loads(line) for line in self.collect("export").splitlines()]

    def kill(self, victim: str) -> None:
        """SIGKILL the daemon or the collector, and start it again."""
        if victim == "daemon":
            self.daemon.stop(signal.SIGKILL)
            self.daemon = start_daemon(self.home)
        else:
            self.collector.kill()
            self.collector.wait()
            self.collector = _start_collector(self.home, self.port)
        self.killed.append(victim)


@contextmanager
def running_world(texts: Sequence[str] = (), seed: int | None = None) -> Iterator[World]:
    """A box with corrections of these texts, and a collector that knows it.

    Args:
        texts: One correction each.
        seed: Of the faults between the two; None means a network without any.
    """
    with short_directory() as home:
        _fill(home / "intentd", texts)
        env = clean_environment(home)
        port = _free_port()
        daemon = start_daemon(home)
        collector = _start_collector(home, port)
        world = World(home, env, port, daemon, collector)
        try:
            _let_in(world)
            with _proxy(world, seed):
                world.configure()
                yield world
        finally:
            world.daemon.stop(signal.SIGKILL)
            world.collector.kill()
            world.collector.wait()


@contextmanager
def _proxy(world: World, seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with running_proxy(world.port, seed) as world.proxy:
        yield


def _fill(state_dir: Path, texts: Sequence[str]) -> None:
    """Straight into the store: 10 000 requests would take longer than the test."""
    store = CorrectionStore.open(state_dir)
    rng = random.Random(0)
    labels = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
    for start in range(0, len(texts), LOT):
        lot = [_correction(text, rng.choice(labels), labels) for text in texts[start : start + LOT]]
        for future in [store.record(one) for one in lot]:
            future.result(DEADLINE_S)
    store.close()


def _correction(text: str, label: str, labels: tuple[str, ...]) -> NewCorrection:
    return NewCorrection(
        text=text,
        content=None,
        label=label,
        kind=Kind.CORRECTION,
        predicted_label=None,
        score=None,
        prediction_id=None,
        labels=labels,
        label_set="0f" * 32,
        model="",
        phase="",
    )


def _collector_environment(home: Path) -> dict[str, str]:
    """Of its own: the box does not know the collector's variable."""
    database = f"sqlite:///{home}/collector.db"
    return clean_environment(home) | {"COLLECTOR_DATABASE": database}


def _let_in(world: World) -> None:
    with world.admin as client:
        device = client.cursor().device_id
    token = world.home / "token"
    token.touch(mode=0o600)
    token.write_text(world.collect("device", "add", device))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_collector(home: Path, port: int) -> subprocess.Popen[bytes]:
    command = [*COLLECT, "serve", "--port", str(port), "--rate-per-minute", "0"]
    log = home / "collector.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=_collector_environment(home), cwd=ROOT, stdout=out, stderr=out
        )
    deadline = time.monotonic() + DEADLINE_S
    while b"answers on" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the collector did not start\n{log.read_text()}")
        time.sleep(POLL_S)
    return process
