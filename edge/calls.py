"""What the clients share: one request, how its answer is read, and which error it may be.

It opens no connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from edge.errors import (
    DaemonUnreachable,
    DeadlineExceeded,
    EdgeError,
    InvalidRequest,
    Unavailable,
)
from edge.wire import (
    MAX_DEADLINE_MS,
    BatchAnswer,
    ClassifyAnswer,
    IntentsAnswer,
    ModelAnswer,
    Problem,
)

__all__ = [
    "INTENTS",
    "METRICS",
    "MODEL",
    "READY",
    "Call",
    "ClassifyOptions",
    "classify_body",
    "classify_call",
    "classify_many_call",
    "explain_failure",
    "reader",
    "transport_options",
]

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 600.0  # 256 texts on the slowest box that this is made for
AFTER_DEADLINE_S = 60.0  # the model's run that is under way when the deadline passes
PROBE_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 16  # fewer than the daemon's queue holds, so that no client is its own crowd
JSON_HEADERS = {"Content-Type": "application/json"}
FIRST_ERROR_STATUS = 400
FIRST_SERVER_ERROR_STATUS = 500

Answer = TypeVar("Answer")
Message = TypeVar("Message", bound=BaseModel)


class ClassifyOptions(TypedDict, total=False):
    """What may be said beside the text; `None` is the same as not said."""

    labels: Sequence[str] | None
    """Labels for this request; none means the daemon's own intents."""
    multi_label: bool
    """Score each label by itself, instead of sharing 1 among them."""
    hypothesis_template: str | None
    """English sentence with one `{}` for the label (zero-shot NLI bundles only)."""
    top_k: int | None
    """How many scores to return; none means all."""
    max_tokens: int | None
    """Lowers the model's window for this request."""
    latency_budget_ms: int | None
    """Milliseconds that reading the text may take; lowers the window to fit."""
    deadline_ms: int | None
    """Milliseconds after which an answer is of no use."""


def classify_body(
    question: str | Sequence[str], content: str | None, options: ClassifyOptions
) -> bytes:
    """The JSON body of `POST /v1/classify`: `text` for a string, `texts` for several.

    It judges nothing; whoever answers does.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if "labels" in given:
        given["labels"] = list(given["labels"])
    if content is not None:
        given["content"] = content
    key, texts = ("text", question) if isinstance(question, str) else ("texts", list(question))
    # Not ASCII: escapes would double what a text in Chinese takes of the body's limit. Surrogates
    # pass, and are refused by the daemon with a message that says so.
    return json.dumps({key: texts, **given}, ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request, and how its answer is read; the same for both clients."""

    path: str
    read: Callable[[bytes], Answer]
    body: bytes | Iterable[bytes] | None = None
    """Pieces are sent as they come, and once: such a call is good for one try."""
    timeout_s: float = ANSWER_TIMEOUT_S
    method: str | None = None
    """None means POST with a body, GET without."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What a body that is not JSON says of itself."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What `httpx2` wants to know."""
        return {
            "method": self.method or ("GET" if self.body is None else "POST"),
            "url": self.path,
            "content": self.body,
            "headers": self.headers or ({} if self.body is None else JSON_HEADERS),
            "timeout": httpx2.Timeout(self.timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
        }

    def answer(self, response: httpx2.Response) -> Answer:
        """The answer, or the daemon's error raised."""
        if response.status_code >= FIRST_ERROR_STATUS:
            raise _error_of(response)
        return self.read(response.content)


def reader(model: type[Message]) -> Callable[[bytes], Message]:
    """How an answer of this model is read."""

    def read(body: bytes) -> Message:
        try:
            return model.model_validate_json(body)
        except ValidationError:
            raise EdgeError(
                f"expected a {model.__name__} from the daemon, found something else; "
                "use a client of the daemon's version"
            ) from None

    return read


READY: Call[bytes] = Call("/readyz", bytes, timeout_s=PROBE_TIMEOUT_S)
METRICS: Call[str] = Call("/metrics", bytes.decode)
INTENTS = Call("/v1/intents", reader(IntentsAnswer))
MODEL = Call("/v1/model", reader(ModelAnswer))


def classify_call(text: str, content: str | None, options: ClassifyOptions) -> Call[ClassifyAnswer]:
    """`POST /v1/classify` with one text."""
    body = classify_body(text, content, options)
    return Call("/v1/classify", reader(ClassifyAnswer), body, _timeout_s(options))


def classify_many_call(
    texts: Sequence[str], options: ClassifyOptions
) -> Call[list[ClassifyAnswer]]:
    """`POST /v1/classify` with several texts."""
    read = reader(BatchAnswer)
    body = classify_body(list(texts), None, options)
    return Call("/v1/classify", lambda found: read(found).predictions, body, _timeout_s(options))


def _timeout_s(options: ClassifyOptions) -> float:
    deadline_ms = options.get("deadline_ms")
    if deadline_ms is None:
        return ANSWER_TIMEOUT_S
    # Within what the daemon accepts: one out of range must reach it, to be refused with a reason.
    return min(max(deadline_ms, 0), MAX_DEADLINE_MS) / 1e3 + AFTER_DEADLINE_S


def transport_options(socket: Path) -> dict[str, Any]:
    """What an `httpx2` transport needs to talk to this socket, and to nothing else."""
    return {
        "uds": str(socket),
        "verify": False,  # nothing is encrypted on a Unix socket; reading the certificates is slow
        "trust_env": False,
        "limits": httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
        ),
    }


def _error_classes(root: type[EdgeError]) -> Iterator[type[EdgeError]]:
    """Those of the contract; others' subclasses share a code, and never leave their process."""
    yield root
    for leaf in root.__subclasses__():
        if leaf.__module__ == EdgeError.__module__:
            yield from _error_classes(leaf)


ERROR_OF_CODE = {kind.code: kind for kind in _error_classes(EdgeError)}


def _error_of(response: httpx2.Response) -> EdgeError:
    """The daemon's problem as our error; a code that we do not know keeps its name."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return EdgeError(f"the daemon answered {response.status_code} without saying why")
    error = ERROR_OF_CODE.get(problem.code, _error_class(response.status_code))(problem.detail)
    error.code, error.http_status = problem.code, response.status_code
    if isinstance(error, Unavailable):
        seconds = response.headers.get("retry-after", "")
        error.retry_after_s = int(seconds) if seconds.isdecimal() else error.retry_after_s
    return error


def _error_class(status: int) -> type[EdgeError]:
    if status == Unavailable.http_status:
        return Unavailable
    return InvalidRequest if status < FIRST_SERVER_ERROR_STATUS else EdgeError


def explain_failure(error: httpx2.TransportError, socket: Path, timeout_s: float) -> EdgeError:
    """Why there is no answer, and what to do."""
    if isinstance(error, httpx2.TimeoutException):
        return DeadlineExceeded(
            f"{socket}: expected an answer within {timeout_s:g} s, found none; "
            "look at the daemon's load (intentd status)"
        )
    if isinstance(error, httpx2.ConnectError):
        advice = f"start the daemon (intentd serve --socket {socket}, or systemctl start intentd)"
        if "Permission denied" in str(error):
            advice = "you may not connect; ask to be put in the group that owns the socket"
        return DaemonUnreachable(f"{socket}: nobody answers there ({error}); {advice}")
    return DaemonUnreachable(
        f"{socket}: the daemon closed the connection without an answer; "
        "see its log (journalctl -u intentd), and try again"
    )
