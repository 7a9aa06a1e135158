"""`edge.api` inside this process: what its routes do when the service behind them fails."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from edge.api import create_app
from edge.asgi import Message
from edge.corrections import Corrections
from edge.errors import Overloaded
from edge.metrics import Metrics
from edge.service import Service

SECRET = "xyzzyplugh"
MAX_BODY_BYTES = 1000


@dataclass
class FakeService:
    """A service that fails as told, with an error that quotes the user, as libraries' errors do."""

    error: BaseException = field(default_factory=lambda: ValueError(f"cannot read {SECRET!r}"))
    is_ready: bool = True
    label_set: None = None
    healthy: bool = True

    def is_healthy(self) -> bool:
        """As told."""
        return self.healthy

    async def classify(self, *_: Any) -> list[Any]:
        """Fail as told."""
        raise self.error


@dataclass
class FakeCorrections:
    """The use cases of corrections, which fail as told."""

    error: BaseException

    async def correct(self, *_: Any) -> Any:
        """Fail as told."""
        raise self.error

    async def measure(self) -> None:
        """Nothing to measure."""


class Asked:
    """One request to the application, and what came of it."""

    def __init__(
        self, service: FakeService, method: str, path: str, parts: list[bytes] | None = None
    ) -> None:
        self.metrics = Metrics()
        self.sent: list[Message] = []
        self._parts = [b'{"%s": "a"}' % (b"text" if "/v1/" in path else b"inputs")]
        if parts is not None:
            self._parts = parts
        fakes = cast(Service, service), cast(Corrections, FakeCorrections(service.error))
        app = create_app(*fakes, self.metrics, "1", MAX_BODY_BYTES)
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        asyncio.run(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        """Each part in turn; with none left, the client has gone."""
        if not self._parts:
            return {"type": "http.disconnect"}
        part = self._parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": part[-1:] != b"}"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The answer's."""
        return int(self.sent[0]["status"])

    @property
    def json(self) -> Any:
        """The answer's body."""
        return json.loads(self.sent[1]["body"])

    def count(self, route: str, status: int) -> bool:
        """Whether the request was counted as this, and as nothing else."""
        lines = self.metrics.render().decode().splitlines()
        shown = [line for line in lines if line.startswith("intentd_requests_total{")]
        counted = [line for line in shown if not line.endswith(" 0.0")]
        return counted == [f'intentd_requests_total{{route="{route}",status="{status}"}} 1.0']


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged, as the daemon prints it."""
    return "\n".join(logging.Formatter().format(record) for record in caplog.records)


def test_bug_is_answered_and_logged_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where, never what: an exception's message may quote the user."""
    asked = Asked(FakeService(), "POST", "/v1/classify")
    assert (asked.status, asked.json["code"]) == (500, "internal_error")
    assert "report it" in asked.json["detail"]
    assert SECRET not in json.dumps(asked.json)
    assert SECRET not in logged(caplog)
    assert "ValueError in /v1/classify" in logged(caplog)
    assert ", in classify" in logged(caplog)
    assert asked.count("/v1/classify", 500)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", None), ("/models/a/b", None), ("/pipeline/text-classification", None),
     ("/predict", "Backend")],
)  # fmt: skip
def test_bug_is_said_in_foreign_formats(path: str, kind: str | None) -> None:
    """Also a bug is a string under `error`, for clients that look there."""
    asked = Asked(FakeService(), "POST", path)
    assert asked.status == 500
    assert "a bug in intentd" in asked.json["error"]
    assert asked.json.get("error_type") == kind


def test_retry_after_comes_with_every_refusal_that_passes() -> None:
    """Whoever is turned away for now is told when to come back."""
    asked = Asked(FakeService(Overloaded("later")), "POST", "/v1/classify")
    assert asked.status == 429
    assert (b"retry-after", b"1") in asked.sent[0]["headers"]


def test_request_that_the_server_gives_up_is_told_so() -> None:
    """At the end of a drain the server cancels; the client gets an answer, not a hang-up."""
    asked = Asked(FakeService(asyncio.CancelledError()), "POST", "/v1/classify")
    assert (asked.status, asked.json["code"]) == (503, "not_ready")


def test_client_that_leaves_midway_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """A body that breaks off is counted, and nothing is logged."""
    asked = Asked(FakeService(), "POST", "/v1/classify", parts=[b'{"text": '])
    assert asked.count("/v1/classify", 499)
    assert logged(caplog) == ""


def test_body_is_counted_as_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    """Reading stops at the first byte too many; the rest is never held in memory."""
    parts = [b" " * 400] * 100
    asked = Asked(FakeService(), "POST", "/v1/classify", parts)
    assert (asked.status, asked.json["code"]) == (413, "body_too_large")
    assert len(parts) == 97
    assert asked.count("/v1/classify", 413)
    assert logged(caplog) == ""


@pytest.mark.parametrize(
    ("path", "service", "status"),
    [
        ("/healthz", FakeService(), 200),
        ("/healthz", FakeService(is_ready=False), 200),
        ("/healthz", FakeService(healthy=False), 503),
        ("/readyz", FakeService(), 200),
        ("/readyz", FakeService(is_ready=False), 503),
    ],
)
def test_health_is_progress_and_readiness_is_an_answer(
    path: str, service: FakeService, status: int
) -> None:
    """A daemon that starts or drains is healthy and not ready; a stuck one is to be restarted."""
    asked = Asked(service, "GET", path)
    assert asked.status == status
    assert f'intentd_requests_total{{route="{path}"' not in asked.metrics.render().decode()
