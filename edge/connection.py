"""One HTTP connection pool to one of the daemon's sockets, sync and async; knows no route.

No proxy, no redirect, no retry: the socket, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from edge.calls import Call, explain_failure, transport_options

__all__ = ["AsyncConnection", "Connection"]

BASE_URL = "http://intentd"  # the name goes nowhere: the socket is the address

Answer = TypeVar("Answer")


class Connection:
    """May be shared by threads. Use it as a context manager, or close it.

    Every call raises the error that the daemon answered, as the class of `edge.errors` with its
    code: `InvalidRequest` and its kin (sending it again will not help), `Unavailable` and its kin
    (try again after `retry_after_s` seconds), or `DaemonUnreachable`.
    """

    def __init__(self, socket: Path) -> None:
        """Connects at the first call."""
        self.socket = socket
        transport = httpx2.HTTPTransport(**transport_options(socket))
        self._http = httpx2.Client(transport=transport, base_url=BASE_URL, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call[Answer]) -> Answer:
        try:
            response = self._http.request(**call.arguments)
        except httpx2.TransportError as error:
            raise explain_failure(error, self.socket, call.timeout_s) from error
        return call.answer(response)


class AsyncConnection:
    """`Connection`, for asyncio; it belongs to the event loop of the first call."""

    def __init__(self, socket: Path) -> None:
        """Connects at the first call."""
        self.socket = socket
        transport = httpx2.AsyncHTTPTransport(**transport_options(socket))
        self._http = httpx2.AsyncClient(transport=transport, base_url=BASE_URL, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: Call[Answer]) -> Answer:
        try:
            response = await self._http.request(**call.arguments)
        except httpx2.TransportError as error:
            raise explain_failure(error, self.socket, call.timeout_s) from error
        return call.answer(response)
