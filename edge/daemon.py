"""The daemon's life: open the socket, load the model, warm up, say ready, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from edge import __version__, notify
from edge.api import create_app
from edge.listener import Listener, inherited_sockets, open_listener
from edge.metrics import Metrics
from edge.protocol import ConnectionLimits, server_config
from edge.service import Service, open_predictor
from edge.settings import Settings
from edge.wire import ModelInfo

__all__ = ["configure_logging", "open_predictor", "serve"]

log = logging.getLogger("intentd")

API_SOCKET = "api"
"""`FileDescriptorName=` of the socket unit for apps."""


def serve(settings: Settings, on_ready: Callable[[str, ModelInfo], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: The effective settings.
        on_ready: Called once, after a warm inference, with the address that apps connect to, and
            the bundle that answers there.

    Raises:
        CannotStart: The socket, the bundle or the label set cannot be used.
    """
    with _sockets(settings) as (listening, address):
        service, metrics = _load(settings)
        app = create_app(service, metrics, __version__, settings.max_body_bytes)
        config = server_config(app, _limits(settings), settings.drain_timeout_s)
        server = _Server(config, service, lambda: on_ready(address, service.describe_model().model))
        asyncio.run(server.serve(sockets=listening))


def configure_logging(level: str) -> None:
    """Log to stderr, one line an event; journald adds the time and the unit."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop are ours


def _load(settings: Settings) -> tuple[Service, Metrics]:
    metrics = Metrics()
    return Service(open_predictor(settings), settings, metrics), metrics


@contextlib.contextmanager
def _sockets(settings: Settings) -> Iterator[tuple[list[socket.socket], str]]:
    """The socket that systemd passed, else our own; first of all, so that a second daemon fails."""
    inherited = inherited_sockets()
    if inherited:
        chosen = inherited.get(API_SOCKET) or next(iter(inherited.values()))
        yield [chosen], str(chosen.getsockname())
        return
    listener: Listener = open_listener(
        settings.socket, settings.mode_bits, settings.socket_group or None
    )
    with listener:
        yield [listener.socket], str(listener.path)


def _limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=settings.max_connections,
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
    )


class _Server(uvicorn.Server):
    """Uvicorn with our order of events: warm before ready, drained before closed."""

    def __init__(
        self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready
        self._watchdog: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Warm up, accept connections, and only then say so."""
        await self._service.warm_up()
        await super().startup(sockets)
        if not self.started:
            return
        notify.ready("answering")
        self._watchdog = asyncio.create_task(notify.watchdog(self._service.is_healthy))
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, let those in flight finish, then stop the model's thread."""
        notify.stopping("draining")
        log.info("stopping: requests in flight are finished first")
        if self._watchdog is not None:
            self._watchdog.cancel()
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C; uvicorn would leave tracebacks of what is in flight
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()
        await asyncio.to_thread(self._service.close)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal without raising it again: our cleanup must run, and the exit be 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
