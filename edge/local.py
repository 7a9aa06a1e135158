"""Answers in this process, without a daemon, as the daemon would: same checks, same limits."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self, Unpack

from edge.calls import ClassifyOptions, classify_body
from edge.metrics import Metrics
from edge.service import Service, open_predictor
from edge.settings import Settings
from edge.wire import ClassifyAnswer, ClassifyRequest, decode

__all__ = ["LocalClassifier"]


class LocalClassifier:
    """Stands in for `edge.client.Client.classify`. One thread at a time, and always the same."""

    def __init__(self, settings: Settings) -> None:
        """Loads the model.

        Raises:
            CannotStart: The bundle or the label set cannot be used.
        """
        self._service = Service(open_predictor(settings), settings, Metrics())
        self._runner = asyncio.Runner()

    def classify(
        self, text: str, *, content: str | None = None, **options: Unpack[ClassifyOptions]
    ) -> ClassifyAnswer:
        """As `Client.classify`."""
        request = decode(ClassifyRequest, classify_body(text, content, options))
        (answer,) = self._runner.run(self._service.classify(request, _never))
        return answer

    def close(self) -> None:
        """Stop the model's thread."""
        self._service.close()
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


async def _never() -> bool:
    return False
