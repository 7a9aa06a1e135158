"""The daemon's life: open the sockets, load the model, warm up, say ready, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from edge import __version__, notify
from edge.corrections import Corrections
from edge.curation import Curation
from edge.ledger import open_ledger
from edge.listener import inherited_sockets, open_listener
from edge.memory import limit_arenas
from edge.metrics import Metrics
from edge.protocol import ConnectionLimits, server_config
from edge.service import Service
from edge.settings import Settings
from edge.swap.start import Start, start_on
from edge.wire import ModelInfo

if TYPE_CHECKING:  # it needs the web framework, see `_build`
    from edge.swap.desk import ModelDesk

__all__ = ["configure_logging", "serve"]

log = logging.getLogger("intentd")

API_SOCKET = "api"
"""`FileDescriptorName=` of the socket unit for apps."""
ADMIN_SOCKET = "admin"
"""`FileDescriptorName=` of the socket unit for the admin."""
ADMIN_CONNECTIONS = 32
ADMIN_BODY_TIMEOUT_S = 3600.0  # a bundle may be large, and its disk slow
TICK_S = 1.0  # how often a server renews its Date header


def serve(settings: Settings, on_ready: Callable[[str, ModelInfo], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: The effective settings.
        on_ready: Called once, after a warm inference, with the address that apps connect to, and
            the bundle that answers there.

    Raises:
        CannotStart: A socket, the bundle or the label set cannot be used.
    """
    _forbid_core_dumps()
    limit_arenas()
    with _sockets(settings) as sockets, contextlib.ExitStack() as open_files:
        server = _build(settings, sockets, on_ready, open_files)
        asyncio.run(server.serve(sockets=[sockets.api]))


def configure_logging(level: str) -> None:
    """Log to stderr, one line an event; journald adds the time and the unit."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop are ours


def _forbid_core_dumps() -> None:
    """A core would hold the texts that were in memory."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _build(
    settings: Settings,
    sockets: _Sockets,
    on_ready: Callable[[str, ModelInfo], None],
    open_files: contextlib.ExitStack,
) -> _Server:
    """Both servers, wired to one service, whose slot alone keeps the model from here on."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(start_on, settings)
        # The web framework takes as long to import as the starter to load, so they do it together.
        from edge.admin import create_admin_app
        from edge.api import create_app
        from edge.swap.desk import open_desk

        start, predictor = loading.result()
    del loading  # it would keep the model
    metrics = Metrics()
    ledger = open_files.enter_context(contextlib.closing(open_ledger(settings)))
    keeps = settings.predictions != "off"
    corrections = Corrections(ledger, metrics, settings.corrections_apply, keeps)
    service = Service(predictor, settings, metrics, corrections)
    desk = open_desk(settings, service, ledger, metrics, start)
    limits, drain_s, most = _limits(settings), settings.drain_timeout_s, settings.max_body_bytes
    app = create_app(service, corrections, metrics, __version__, most)
    admin_app = create_admin_app(service, Curation(ledger), metrics, __version__, most, desk)
    admin = _AdminServer(server_config(admin_app, _for_admins(limits), drain_s), sockets.admin)
    announce = partial(on_ready, sockets.address, service.describe_model().model)
    life = _Life(service, desk, start)
    return _Server(server_config(app, limits, drain_s), life, admin, announce)


def _for_admins(limits: ConnectionLimits) -> ConnectionLimits:
    """Few connections, and a bundle on its way makes room for nobody."""
    patience_s = ADMIN_BODY_TIMEOUT_S
    return replace(
        limits, max_connections=ADMIN_CONNECTIONS, body_timeout_s=patience_s, grace_s=patience_s
    )


@dataclass(frozen=True, slots=True)
class _Life:
    """What begins and ends with the servers."""

    service: Service
    desk: ModelDesk
    start: Start


@dataclass(frozen=True, slots=True)
class _Sockets:
    """Both listening sockets."""

    api: socket.socket
    address: str
    """What apps connect to."""
    admin: socket.socket


@contextlib.contextmanager
def _sockets(settings: Settings) -> Iterator[_Sockets]:
    """The sockets that systemd passed, else our own; first of all, so that a second daemon fails.

    A lone socket of systemd's needs no name; the admin's is known by its name alone.
    """
    with contextlib.ExitStack() as stack:
        inherited = inherited_sockets()
        admin = inherited.pop(ADMIN_SOCKET, None)
        api = inherited.get(API_SOCKET) or next(iter(inherited.values()), None)
        address = str(settings.socket.absolute())
        if api is None:
            mode, group = settings.mode_bits, settings.socket_group
            api = stack.enter_context(open_listener(settings.socket, mode, group or None)).socket
        else:
            address = str(api.getsockname())
        if admin is None:
            mode, group = settings.admin_mode_bits, settings.admin_socket_group
            listener = open_listener(settings.admin_socket, mode, group or None)
            admin = stack.enter_context(listener).socket
        yield _Sockets(api, address, admin)


def _limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=settings.max_connections,
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
    )


class _ForcibleServer(uvicorn.Server):
    """Uvicorn, with fewer wake-ups, and no traceback of what a second Ctrl-C finds in flight."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop = asyncio.Event()

    def stop_soon(self) -> None:
        """Begin to drain."""
        self.should_exit = True
        self._stop.set()

    async def main_loop(self) -> None:
        """Wait for the end, with a tenth of the wake-ups of uvicorn's own loop."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain; when forced, cancel the rest in good order."""
        await self._stop_accepting()
        await super().shutdown(sockets)
        if self.force_exit:
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()

    async def _stop_accepting(self) -> None:
        """Leave who waits in the backlog there, and let in whom the loop has accepted already.

        Closing the server first would reset the latter: asyncio takes a step between the two.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)


class _AdminServer(_ForcibleServer):
    """The admin's server, whose life the other one decides."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self._listening = listening
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Accept connections; returns once it does."""
        self._task = asyncio.create_task(self.serve(sockets=[self._listening]))
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait((self._task, begun), return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if self._task.done():
            await self._task  # it failed: say how

    async def end(self) -> None:
        """Drain and stop."""
        self.stop_soon()
        if self._task is not None:
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self._begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the other server."""
        yield


class _Server(_ForcibleServer):
    """Uvicorn with our order of events: warm before ready, drained before closed."""

    def __init__(
        self,
        config: uvicorn.Config,
        life: _Life,
        admin: _AdminServer,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service, self._desk, self._start = life.service, life.desk, life.start
        self._admin = admin
        self._on_ready = on_ready
        self._watchdog: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Warm up, accept connections, and only then say so."""
        await self._service.warm_up()
        await super().startup(sockets)
        if not self.started:
            return
        await self._desk.begin(self._start)
        await self._admin.begin()
        notify.ready("answering")
        self._watchdog = asyncio.create_task(notify.watchdog(self._service.is_healthy))
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, let those in flight finish, then stop the model's thread."""
        notify.stopping("draining")
        log.info("stopping: requests in flight are finished first")
        if self._watchdog is not None:
            self._watchdog.cancel()
        await self._desk.close()
        await asyncio.gather(super().shutdown(sockets), self._admin.end())
        await asyncio.to_thread(self._service.close)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one ends both servers at once."""
        super().handle_exit(sig, frame)
        self._stop.set()
        self._admin.force_exit = self.force_exit

    def handle_reload(self) -> None:
        """Read `current` again, in the background."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        notify.reloading()
        await self._desk.reload()
        notify.ready("answering")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal without raising it again: our cleanup must run, and the exit be 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self.handle_reload)
        yield
