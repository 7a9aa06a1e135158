"""The Python client of `api.sock`: typed calls, sync and async, and the daemon's errors as ours.

It talks to the socket and to nothing else: no proxy, no redirect, no retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx2

from edge.calls import (
    INTENTS,
    METRICS,
    MODEL,
    READY,
    Call,
    ClassifyOptions,
    classify_call,
    classify_many_call,
    explain_failure,
    transport_options,
)
from edge.errors import DaemonUnreachable, Unavailable
from edge.settings import find_socket
from edge.wire import ClassifyAnswer, IntentsAnswer, ModelAnswer

__all__ = ["AsyncClient", "ClassifyOptions", "Client"]

BASE_URL = "http://intentd"  # the name goes nowhere: the socket is the address

Answer = TypeVar("Answer")


class Client:
    """A client of one daemon; may be shared by threads. Use it as a context manager, or close it.

    Every call raises the error that the daemon answered, as the class of `edge.errors` with its
    code: `InvalidRequest` and its kin (sending it again will not help), `Unavailable` and its kin
    (try again after `retry_after_s` seconds), or `DaemonUnreachable`.
    """

    def __init__(self, socket: Path | str | None = None) -> None:
        """Connects at the first call.

        Args:
            socket: The daemon's socket; None means `edge.settings.find_socket()`.
        """
        self.socket = Path(socket) if socket is not None else find_socket()
        transport = httpx2.HTTPTransport(**transport_options(self.socket))
        self._http = httpx2.Client(transport=transport, base_url=BASE_URL, trust_env=False)

    def classify(
        self, text: str, *, content: str | None = None, **options: Unpack[ClassifyOptions]
    ) -> ClassifyAnswer:
        """What one text asks for.

        Args:
            text: The request to be understood.
            content: What the request is about; gets what the text leaves of the window.
            options: See `ClassifyOptions`.
        """
        return self._send(classify_call(text, content, options))

    def classify_many(
        self, texts: Sequence[str], **options: Unpack[ClassifyOptions]
    ) -> list[ClassifyAnswer]:
        """What each of several texts (256 by default, at most) asks for, in their order."""
        return self._send(classify_many_call(texts, options))

    def intents(self) -> IntentsAnswer:
        """The intents that are scored when a request brings no labels."""
        return self._send(INTENTS)

    def model(self) -> ModelAnswer:
        """The bundle that answers."""
        return self._send(MODEL)

    def metrics(self) -> str:
        """The daemon's metrics, in the Prometheus text format."""
        return self._send(METRICS)

    def is_ready(self) -> bool:
        """Whether a request would be answered now; False also when nobody listens."""
        try:
            self._send(READY)
        except (Unavailable, DaemonUnreachable):
            return False
        return True

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


class AsyncClient:
    """`Client`, for asyncio."""

    def __init__(self, socket: Path | str | None = None) -> None:
        """As `Client`; the connections belong to the event loop of the first call."""
        self.socket = Path(socket) if socket is not None else find_socket()
        transport = httpx2.AsyncHTTPTransport(**transport_options(self.socket))
        self._http = httpx2.AsyncClient(transport=transport, base_url=BASE_URL, trust_env=False)

    async def classify(
        self, text: str, *, content: str | None = None, **options: Unpack[ClassifyOptions]
    ) -> ClassifyAnswer:
        """As `Client.classify`; cancelling it drops the request in the daemon's queue."""
        return await self._send(classify_call(text, content, options))

    async def classify_many(
        self, texts: Sequence[str], **options: Unpack[ClassifyOptions]
    ) -> list[ClassifyAnswer]:
        """As `Client.classify_many`."""
        return await self._send(classify_many_call(texts, options))

    async def intents(self) -> IntentsAnswer:
        """As `Client.intents`."""
        return await self._send(INTENTS)

    async def model(self) -> ModelAnswer:
        """As `Client.model`."""
        return await self._send(MODEL)

    async def metrics(self) -> str:
        """As `Client.metrics`."""
        return await self._send(METRICS)

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        try:
            await self._send(READY)
        except (Unavailable, DaemonUnreachable):
            return False
        return True

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
