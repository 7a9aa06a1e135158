"""A proxy for HTTP that loses, repeats, cuts and delays: what a bad network does to a request."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["FaultyProxy", "running_proxy"]

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST
MAX_DELAY_S = 0.05
ACCEPT_ROUNDS = 5  # of the loop, until a connection that was just accepted has its own task
FAULTS = {
    "drop": 0.15,
    "reset_after_commit": 0.10,
    "truncate": 0.05,
    "duplicate": 0.15,
    "delay": 0.15,
}
"""The share of requests that each befalls; the first three lose the answer (30 %)."""


@dataclass(slots=True)
class FaultyProxy:
    """One request a connection; what happens to it is drawn anew each time."""

    upstream_port: int
    rng: random.Random
    port: int = 0
    done: Counter[str] = field(default_factory=Counter)
    """How often each fault, or `none`, has happened."""
    _more: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_requests(self, count: int, deadline_s: float) -> bool:
        """Wait until so many requests came in all; False if they did not come in time."""
        with self._more:
            return self._more.wait_for(lambda: self.done.total() >= count, deadline_s)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, and its answer back, or not."""
        try:
            await self._pass_on(reader, writer)
        finally:
            writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.rng.choices([*FAULTS, "none"], [*FAULTS.values(), 1 - sum(FAULTS.values())])[0]
        with suppress(OSError, asyncio.IncompleteReadError):
            request = await _read_message(reader)
            with self._more:
                self.done[fault] += 1
                self._more.notify_all()
            if answer := await self._answer(fault, request):
                writer.write(answer)
                await writer.drain()
        if fault in ("drop", "reset_after_commit"):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    async def _answer(self, fault: str, request: bytes) -> bytes:
        if fault == "drop":
            return b""
        if fault == "delay":
            await asyncio.sleep(self.rng.uniform(0, MAX_DELAY_S))
        if fault == "duplicate":
            await self._ask(request)
        answer = await self._ask(request)
        if fault == "truncate":
            return answer[: len(answer) - 2]
        return b"" if fault == "reset_after_commit" else answer

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        try:
            writer.write(request)
            return await _read_message(reader)
        finally:
            writer.close()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Head and body; the connection is told to end after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    length = next((int(x[15:]) for x in lines if x.lower().startswith(b"content-length:")), 0)
    lines.insert(1, b"Connection: close")
    return b"\r\n".join(lines) + await reader.readexactly(length)


async def _end_tasks() -> None:
    """Cancel what is still open, and wait for it: the loop must not be closed under it."""
    for _ in range(ACCEPT_ROUNDS):
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def running_proxy(upstream_port: int, seed: int) -> Iterator[FaultyProxy]:
    """A proxy on a port of its own, in a thread, until the block ends."""
    proxy = FaultyProxy(upstream_port, random.Random(seed))
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        with suppress(asyncio.CancelledError):
            await server.serve_forever()
        await _end_tasks()

    task = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
