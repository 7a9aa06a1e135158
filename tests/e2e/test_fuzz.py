"""Arbitrary requests to a real daemon: each gets a documented answer, and the daemon goes on."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.wire import ClassifyRequest
from tests.daemons import Daemon
from tests.e2e.talk import CANARY, Connection, Reply, ask

STATUSES = {200, 400, 413, 422, 429, 503}
CODES = {"malformed_body", "invalid_value", "invalid_text", "window_too_small", "body_too_large"}
FUZZ = settings(
    max_examples=250,
    deadline=None,  # two cores, shared with other tests
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

words = st.text(max_size=40).map(lambda text: f"{CANARY} {text}")
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
other_labels = anything.filter(lambda labels: CANARY not in repr(labels))  # answers repeat labels
plausible: dict[str, st.SearchStrategy[Any]] = {
    "text": words,
    "texts": st.lists(words, max_size=4),
    "content": words,
    "labels": st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5, unique=True),
    "multi_label": st.booleans(),
    "hypothesis_template": st.sampled_from(["{}", "a {}", "{0}", "{label.__class__}", "{", "%s"]),
    "top_k": st.integers(-1, 66),
    "max_tokens": st.integers(-1, 300),
    "latency_budget_ms": st.integers(0, 600_001),
    "deadline_ms": st.integers(0, 600_001),
}


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A request that is nearly right: some fields, most of them plausible."""
    names = draw(st.sets(st.sampled_from(sorted(plausible)), max_size=4)) | {"text"}
    odd = {"text": words, "labels": other_labels}
    return {name: draw(plausible[name] | odd.get(name, anything)) for name in names}


def check(reply: Reply) -> None:
    """A documented answer that repeats no text."""
    assert reply.status in STATUSES, reply
    assert CANARY.encode() not in reply.body
    if reply.status != 200:
        assert reply.code in CODES | {"overloaded", "deadline_exceeded"}


def send(daemon: Daemon, body: bytes) -> None:
    """Post it, and check both the answer and that the connection goes on."""
    with Connection(daemon.socket) as connection:
        check(connection.ask("POST", "/v1/classify", body))
        assert connection.ask("GET", "/healthz").status == 200


def test_every_field_is_fuzzed() -> None:
    """A new field of the request gets its strategy here."""
    assert set(plausible) == set(ClassifyRequest.model_fields)


@FUZZ
@given(messages())
def test_nearly_right_messages_are_answered(daemon: Daemon, message: dict[str, Any]) -> None:
    """Any mix of good and bad values gets an answer or a refusal, never a bug."""
    send(daemon, json.dumps(message).encode())


@FUZZ
@given(anything)
def test_any_json_is_answered(daemon: Daemon, message: Any) -> None:
    """Any JSON, also what only Python calls JSON."""
    send(daemon, json.dumps(message).encode())


@FUZZ
@given(st.binary(max_size=200) | words.map(str.encode))
def test_any_bytes_are_answered(daemon: Daemon, body: bytes) -> None:
    """Any body at all."""
    send(daemon, body)


@FUZZ
@given(
    st.sampled_from(["/", "/models/x", "/pipeline/text-classification", "/predict"]),
    st.fixed_dictionaries({"inputs": words | anything}, optional={"parameters": anything}),
)
def test_foreign_routes_answer_any_json(daemon: Daemon, path: str, message: dict[str, Any]) -> None:
    """The same holds for the foreign formats, whose errors are strings."""
    reply = ask(daemon.socket, "POST", path, json.dumps(message).encode())
    assert reply.status in STATUSES, reply
    assert reply.status == 200 or isinstance(reply.json["error"], str)
    if reply.status != 200:
        assert CANARY.encode() not in reply.body
