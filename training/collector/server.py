"""Serves the application: one process or several on one port, plain or TLS."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from edge.errors import CannotStart
from training.collector.logs import configure_logging
from training.collector.settings import Settings

__all__ = ["serve"]

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
DRAIN_TIMEOUT_S = 10
KEEP_ALIVE_S = 10
START_TIMEOUT_S = 60
BACKLOG = 1024

SayReady = Callable[[str], None]


class _OneProcess(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, say_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_ready = say_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._say_ready()


class _SeveralProcesses(Multiprocess):
    """Restarts a process that died; stops altogether if one cannot start."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], say_ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._say_ready = say_ready

    def init_processes(self) -> None:
        super().init_processes()
        if all(one.wait_until_ready(START_TIMEOUT_S, self.should_exit) for one in self.processes):
            self._say_ready()


def serve(settings: Settings, say_ready: SayReady) -> None:
    """Answer until SIGTERM or Ctrl-C.

    Args:
        settings: What to serve, and how.
        say_ready: Called with the address once it answers.

    Raises:
        CannotStart: The port is taken.
    """
    with _shared_metrics(settings.processes):
        config = uvicorn.Config(
            partial(_make_app, settings),
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.processes,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            access_log=False,  # our own lines name routes, not paths
            log_config=None,
            proxy_headers=False,  # nothing depends on the client's address
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        _run(config, say_ready)


def _make_app(settings: Settings) -> FastAPI:
    """In the process that will serve it; the metrics read their directory when imported."""
    from training.collector.app import create_app

    configure_logging(settings.log_level)
    return create_app(settings)


def _run(config: uvicorn.Config, say_ready: SayReady) -> None:
    with _bind(config) as listening:
        host, port = listening.getsockname()[:2]
        scheme = "https" if config.is_ssl else "http"
        address = f"[{host}]" if ":" in host else host
        tell = partial(say_ready, f"{scheme}://{address}:{port}")
        if config.workers > 1:
            _SeveralProcesses(config, [listening], tell).run()
        else:
            _OneProcess(config, tell).run(sockets=[listening])


def _bind(config: uvicorn.Config) -> socket.socket:
    try:
        return config.bind_socket()
    except SystemExit:  # uvicorn's way to say it; its log line holds the reason
        raise CannotStart(
            f"{config.host}:{config.port}: expected a free port, found one that cannot be used; "
            "stop what listens there, or choose another --port"
        ) from None


@contextmanager
def _shared_metrics(processes: int) -> Iterator[None]:
    """A directory in which several processes count together, for as long as they run."""
    if processes == 1:
        yield
        return
    directory = tempfile.mkdtemp(prefix="intentd-collect-metrics-")
    os.environ[METRICS_VARIABLE] = directory
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
