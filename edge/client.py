"""The Python client of `api.sock`: typed calls, sync and async, and the daemon's errors as ours.

It talks to the socket and to nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from edge.admin_client import ActivateOptions, AdminClient
from edge.calls import (
    INTENTS,
    METRICS,
    MODEL,
    READY,
    ClassifyOptions,
    classify_call,
    classify_many_call,
)
from edge.connection import AsyncConnection, Connection
from edge.correction_calls import (
    ConfirmOptions,
    CorrectionOptions,
    confirm_call,
    correct_call,
    correction_call,
    review_call,
)
from edge.errors import DaemonUnreachable, Unavailable
from edge.settings import find_socket
from edge.wire import (
    ClassifyAnswer,
    CorrectionAnswer,
    CorrectionFate,
    IntentsAnswer,
    ModelAnswer,
    ReviewAnswer,
)

__all__ = [
    "ActivateOptions",
    "AdminClient",
    "AsyncClient",
    "ClassifyOptions",
    "Client",
    "ConfirmOptions",
    "CorrectionOptions",
]


class Client(Connection):
    """A client of one daemon; see `Connection` for the errors that every call may raise."""

    def __init__(self, socket: Path | str | None = None) -> None:
        """Connects at the first call.

        Args:
            socket: The daemon's socket; None means `edge.settings.find_socket()`.
        """
        super().__init__(Path(socket) if socket is not None else find_socket())

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

    def correct(self, label: str | None, **options: Unpack[CorrectionOptions]) -> CorrectionAnswer:
        """Say what a text should have been; durable when this returns.

        Args:
            label: The right label; None says: none of these.
            options: See `CorrectionOptions`; `prediction_id`, `text` or both.
        """
        return self._send(correct_call(label, options))

    def confirm(self, prediction_id: str, **options: Unpack[ConfirmOptions]) -> CorrectionAnswer:
        """Say that an answer was right; durable when this returns."""
        return self._send(confirm_call(prediction_id, options))

    def correction(self, correction_id: str) -> CorrectionFate:
        """How far a correction has come."""
        return self._send(correction_call(correction_id))

    def review(self, limit: int = 20) -> ReviewAnswer:
        """What to label next."""
        return self._send(review_call(limit))

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


class AsyncClient(AsyncConnection):
    """`Client`, for asyncio."""

    def __init__(self, socket: Path | str | None = None) -> None:
        """As `Client`; the connections belong to the event loop of the first call."""
        super().__init__(Path(socket) if socket is not None else find_socket())

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

    async def correct(
        self, label: str | None, **options: Unpack[CorrectionOptions]
    ) -> CorrectionAnswer:
        """As `Client.correct`."""
        return await self._send(correct_call(label, options))

    async def confirm(
        self, prediction_id: str, **options: Unpack[ConfirmOptions]
    ) -> CorrectionAnswer:
        """As `Client.confirm`."""
        return await self._send(confirm_call(prediction_id, options))

    async def correction(self, correction_id: str) -> CorrectionFate:
        """As `Client.correction`."""
        return await self._send(correction_call(correction_id))

    async def review(self, limit: int = 20) -> ReviewAnswer:
        """As `Client.review`."""
        return await self._send(review_call(limit))

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
