"""Every route of a real daemon, as its users call it."""

from __future__ import annotations

import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from edge import errors, wire
from edge.bundle import STARTER, read_bundle
from edge.labels import DEFAULT_INTENTS, read_label_set
from edge.protocol import REFUSALS
from edge.wire import (
    BatchAnswer,
    ClassifyAnswer,
    ClassifyRequest,
    IntentsAnswer,
    ModelAnswer,
    Problem,
)
from edge.wire.base import AnswerModel, RequestModel
from tests.daemons import Daemon
from tests.e2e.talk import CANARY, Connection, ask, metric, post

TEXT = f"Please sum this article up in three sentences. {CANARY}"
DOCS = Path(__file__).parents[2] / "docs" / "api.md"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW")


def classify(daemon: Daemon, **message: Any) -> ClassifyAnswer:
    """One answer, which must have exactly the documented fields."""
    reply = post(daemon.socket, "/v1/classify", message)
    assert reply.status == 200, reply
    answer = ClassifyAnswer.model_validate_json(reply.body)
    assert answer.model_dump(mode="json") == reply.json
    return answer


def test_classify_answers_every_field(daemon: Daemon) -> None:
    """A text gets a label, scores, and the facts that tell where they come from."""
    bundle, labels = read_bundle(STARTER), read_label_set(DEFAULT_INTENTS)
    answer = classify(daemon, text=f"{TEXT}, asked by this test alone")
    assert not answer.cached
    assert answer.raw_label == answer.scores[0].label
    assert answer.label in (None, answer.raw_label)
    assert answer.labels == ([answer.label] if answer.label else [])
    assert {score.label for score in answer.scores} == set(labels.names)
    assert 0 < sum(score.score for score in answer.scores) <= 1 + 1e-9  # softmax in float64
    assert answer.scores == sorted(answer.scores, key=lambda score: -score.score)
    assert answer.model.digest == bundle.digest
    assert (answer.model.name, answer.model.phase) == (bundle.manifest.name, "starter")
    assert (answer.label_set.name, answer.label_set.digest) == (labels.name, labels.digest)
    assert 2 < answer.tokens.used < 40
    assert not answer.tokens.truncated
    assert answer.timings.infer_ms > 0
    assert answer.timings.queue_ms >= 0


def test_ids_are_unique_and_ordered_by_time(daemon: Daemon) -> None:
    """Each prediction has a UUIDv7 of its own, whose first 48 bits are the clock's milliseconds."""
    before_ms = time.time_ns() // 1_000_000
    reply = post(daemon.socket, "/v1/classify", {"texts": [TEXT] * 50})
    after_ms = time.time_ns() // 1_000_000
    ids = [uuid.UUID(answer["id"]) for answer in reply.json["predictions"]]
    assert len(set(ids)) == 50
    assert {(item.version, item.variant) for item in ids} == {(7, uuid.RFC_4122)}
    assert all(before_ms <= item.int >> 80 <= after_ms for item in ids)


def test_batch_is_answered_in_the_order_of_its_texts(daemon: Daemon) -> None:
    """Each text of a batch gets what it gets alone."""
    texts = [TEXT, "find papers on solar panels", "why did the bridge fail?"]
    reply = post(daemon.socket, "/v1/classify", {"texts": texts})
    answers = BatchAnswer.model_validate_json(reply.body).predictions
    assert [answer.scores for answer in answers] == [
        classify(daemon, text=text).scores for text in texts
    ]


def test_request_brings_its_own_labels(daemon: Daemon) -> None:
    """Labels of the request replace the default ones, and are told apart by the set's digest."""
    answer = classify(daemon, text="play some jazz", labels=["music", "the weather"])
    assert [score.label for score in answer.scores] == ["music", "the weather"]
    assert answer.label_set.name == "request"
    assert answer.label_set.digest != classify(daemon, text="play some jazz").label_set.digest


def test_multi_label_gives_every_label_that_reaches_its_threshold(daemon: Daemon) -> None:
    """Any number of labels may hold, where else they share 1 among them."""
    labels = ["music", "songs", "jazz"]
    alone = classify(daemon, text="play some jazz", labels=labels)
    answer = classify(daemon, text="play some jazz", labels=labels, multi_label=True)
    assert sum(score.score for score in alone.scores) <= 1 + 1e-9  # softmax in float64
    assert sum(score.score for score in answer.scores) > 1
    assert len(answer.labels) > 1
    assert answer.labels == [score.label for score in answer.scores][: len(answer.labels)]


def test_top_k_limits_the_scores_and_nothing_else(daemon: Daemon) -> None:
    """The first k scores are those of the whole answer."""
    whole, cut = classify(daemon, text=TEXT), classify(daemon, text=TEXT, top_k=2)
    assert cut.scores == whole.scores[:2]
    assert cut.raw_label == whole.raw_label
    assert len(classify(daemon, text=TEXT, top_k=64).scores) == len(whole.scores)


def test_max_tokens_lowers_the_window_and_never_raises_it(daemon: Daemon) -> None:
    """A cut text is reported as cut."""
    text = "word " * 40
    window = read_bundle(STARTER).manifest.max_tokens
    assert classify(daemon, text=text, max_tokens=16).tokens.model_dump() == {
        "used": 16,
        "truncated": True,
        "window": 16,
        "window_reason": "max_tokens",
    }
    wide = classify(daemon, text=text, max_tokens=100_000)
    assert wide.tokens.used <= window
    assert not wide.tokens.truncated
    assert classify(daemon, text="word " * 5000).tokens.truncated


def test_content_is_accepted_beside_the_text(daemon: Daemon) -> None:
    """An app may send the request and the article apart."""
    answer = classify(daemon, text="sum this up", content="The harbour was quiet. " * 2000)
    assert answer.label_set.name == read_label_set(DEFAULT_INTENTS).name


def test_generous_deadline_changes_nothing(daemon: Daemon) -> None:
    """The longest deadline is ten minutes."""
    answer = classify(daemon, text=TEXT, deadline_ms=600_000)
    assert answer.scores == classify(daemon, text=TEXT).scores


@pytest.mark.parametrize(
    "text",
    ["a", "nul \0 inside", "\ufeffbom", "🦕" * 100, "a\u0301\u0327" * 50, "</s> [SEP] <mask>",
     "\u202eright to left", "x" * 20_000, "\U0010ffff", "ﷺ" * 1000],
    ids=["letter", "nul", "bom", "emoji", "accents", "specials", "bidi", "run", "last", "wide"],
)  # fmt: skip
def test_odd_texts_are_texts(daemon: Daemon, text: str) -> None:
    """Whatever is Unicode and not blank is classified."""
    assert classify(daemon, text=text).tokens.used >= 2


def test_intents_are_the_default_label_set(daemon: Daemon) -> None:
    """What is scored when a request brings no labels."""
    labels = read_label_set(DEFAULT_INTENTS)
    answer = IntentsAnswer.model_validate_json(ask(daemon.socket, "GET", "/v1/intents").body)
    assert [intent.name for intent in answer.intents] == list(labels.names)
    assert [intent.description for intent in answer.intents] == [
        intent.description for intent in labels.intents
    ]
    assert answer.label_set.digest == labels.digest
    assert not answer.fixed
    assert all(0 <= intent.threshold <= 1 for intent in answer.intents)


def test_model_is_the_bundle(daemon: Daemon) -> None:
    """The digest is the one that the bundle has on disk."""
    manifest = read_bundle(STARTER).manifest
    answer = ModelAnswer.model_validate_json(ask(daemon.socket, "GET", "/v1/model").body)
    assert answer.model.digest == read_bundle(STARTER).digest
    assert (answer.task, answer.max_tokens) == (manifest.task.value, manifest.max_tokens)
    assert answer.quantization == manifest.quantization.recipe
    assert answer.licence == manifest.licence
    assert answer.runtime.startswith("onnxruntime 1.")
    assert answer.threads >= 1


def test_health_and_readiness_are_plain_words(daemon: Daemon) -> None:
    """For probes that look at the status, and people who look at the body."""
    with Connection(daemon.socket) as connection:
        assert connection.ask("GET", "/healthz").body == b"ok\n"
        assert connection.ask("GET", "/readyz").body == b"ready\n"


def test_metrics_count_answers_texts_and_refusals(daemon: Daemon) -> None:
    """Prometheus sees each request with its route and status, and each text with its reason."""

    def read() -> list[float]:
        requests = "intentd_requests_total"
        return [
            metric(daemon.socket, "intentd_predictions_total"),
            metric(daemon.socket, requests, route="/v1/classify", status="200"),
            metric(daemon.socket, requests, route="/v1/classify", status="413"),
            metric(daemon.socket, requests, route="unknown", status="404"),
            metric(daemon.socket, "intentd_truncated_total"),
        ]

    before = read()
    post(daemon.socket, "/v1/classify", {"texts": ["one", "two " * 5000]})
    ask(daemon.socket, "POST", "/v1/classify", b" " * (1 << 21))
    ask(daemon.socket, "GET", f"/{CANARY}")
    assert [after - b for after, b in zip(read(), before, strict=True)] == [2, 1, 1, 1, 1]
    reply = ask(daemon.socket, "GET", "/metrics")
    assert CANARY.encode() not in reply.body
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_answers_are_kept_alive_and_pipelined(daemon: Daemon) -> None:
    """One connection serves many requests, also when they come before the answers went."""
    body = json.dumps({"text": TEXT}).encode()
    with Connection(daemon.socket) as connection:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.send((head.encode() + body) * 10)
        assert [connection.reply().status for _ in range(10)] == [200] * 10
        assert connection.ask("GET", "/healthz").status == 200


def test_http_1_0_is_answered_and_closed(daemon: Daemon) -> None:
    """Old scripts and load balancers' checks speak it."""
    with Connection(daemon.socket) as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.reply().body == b"ok\n"
        assert connection.is_closed()


@pytest.mark.parametrize(
    "header",
    ["Host: evil.example", "Host:", "Host: [::1]:99999", "Content-Type: text/plain",
     "Content-Type: \t;;=", "Authorization: Bearer " + "x" * 4000, "Cookie: a=b",
     "Content-Encoding: identity", "Origin: https://evil.example", "Upgrade: websocket"],
)  # fmt: skip
def test_headers_that_do_not_matter_are_ignored(daemon: Daemon, header: str) -> None:
    """A Unix socket has no host to check; the body is JSON whatever it is called."""
    body = json.dumps({"text": TEXT}).encode()
    lines = ["POST /v1/classify HTTP/1.1", header, f"Content-Length: {len(body)}"]
    if not header.startswith("Host"):
        lines.append("Host: x")
    with Connection(daemon.socket) as connection:
        connection.send("\r\n".join([*lines, "", ""]).encode() + body)
        assert connection.reply().status == 200


def openapi(daemon: Daemon) -> dict[str, Any]:
    """The daemon's own description."""
    return dict(ask(daemon.socket, "GET", "/openapi.json").json)


def test_other_methods_are_refused_with_the_ones_allowed(daemon: Daemon) -> None:
    """Each route has one method; a 405 names it, as HTTP demands."""
    with Connection(daemon.socket) as connection:
        for path, operations in openapi(daemon)["paths"].items():
            (allowed,) = [method.upper() for method in operations]
            for method in set(METHODS) - {allowed}:
                reply = connection.ask(method, path.replace("{", "").replace("}", ""))
                assert reply.status == 405, (method, path)
                assert reply.headers["allow"] == allowed
                assert method == "HEAD" or reply.code == "method_not_allowed"


def test_unknown_paths_get_404_and_never_a_redirect(daemon: Daemon) -> None:
    """A redirect would carry the text to wherever the Host header points."""
    with Connection(daemon.socket) as connection:
        for path in ("/nope", "/v1/classify/", "/v1", "/predict/", "//", "/docs", "/%00"):
            reply = connection.ask("POST", path, b"{}")
            assert (reply.status, reply.code) == (404, "not_found"), path


@pytest.mark.parametrize("socket", ["socket", "admin_socket"])
def test_openapi_document_is_sound(daemon: Daemon, socket: str) -> None:
    """It parses as OpenAPI 3.1, what it refers to exists, and ids are unique."""
    document = json.loads(ask(getattr(daemon, socket), "GET", "/openapi.json").body)
    OpenAPI.model_validate(document)
    for ref in re.findall(r'"\$ref": ?"#/([^"]+)"', json.dumps(document)):
        node: Any = document
        for part in ref.split("/"):
            node = node[part]
    paths = document["paths"].items()
    operations = [(path, operation) for path, entry in paths for operation in entry.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, operation in operations:
        declared = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        assert declared == re.findall(r"{(\w+)}", path)
        assert operation["description"]


@pytest.mark.parametrize(
    ("socket", "path", "model"),
    [
        ("socket", "/v1/classify", ClassifyRequest),
        ("socket", "/v1/corrections", wire.CorrectionRequest),
        ("admin_socket", "/v1/outbox/ack", wire.AckRequest),
    ],
)
def test_openapi_describes_the_request_that_is_read(
    daemon: Daemon, socket: str, path: str, model: type[RequestModel]
) -> None:
    """The schema's fields are the model's, with its bounds."""
    document = json.loads(ask(getattr(daemon, socket), "GET", "/openapi.json").body)
    body = document["paths"][path]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(model.model_fields)
    assert schema["additionalProperties"] is False


def test_documentation_names_every_route_and_field(daemon: Daemon) -> None:
    """A route or a field that is not in docs/api.md does not exist for its reader."""
    text = DOCS.read_text("utf-8")
    admins = json.loads(ask(daemon.admin_socket, "GET", "/openapi.json").body)
    for path, operations in [*openapi(daemon)["paths"].items(), *admins["paths"].items()]:
        for method in operations:
            assert f"`{method.upper()} {path}`" in text
    messages = [value for value in vars(wire).values() if isinstance(value, type)]
    models = [
        m for m in messages if issubclass(m, (RequestModel, AnswerModel)) and m is not Problem
    ]
    named = [item for model in models for item in model.model_fields.items()]
    for name in {info.alias or field for field, info in named}:
        assert f"`{name}`" in text, name


def test_documentation_explains_every_code() -> None:
    """Each code that an answer can carry has a row with its status, its meaning and what to do."""
    groups = (errors.InvalidRequest, errors.Unavailable)
    raised: list[type[errors.EdgeError]] = [
        leaf
        for group in groups
        for leaf in group.__subclasses__()
        if leaf.__module__ == errors.__name__  # other programs in this process have their own
    ]
    raised += [errors.BundleCorrupt, errors.BundleUntrusted]
    raised += [errors.BundleOlder, errors.BundleIncompatible, errors.EdgeError]
    codes = {(error.code, error.http_status) for error in raised}
    codes |= {(code, status) for status, (code, _) in REFUSALS.items()}
    codes |= {("not_found", 404), ("method_not_allowed", 405), ("unavailable", 503)}
    codes -= {(errors.ClientGone.code, errors.ClientGone.http_status)}  # nobody is left to read it
    row = re.compile(r"^\| `(\w+)` \| ([\d, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)
    rows = row.findall(DOCS.read_text("utf-8"))
    documented = {(code, int(s)) for code, statuses, *_ in rows for s in statuses.split(",")}
    assert documented == codes


def test_a_budget_of_time_is_answered_within_it_and_said(daemon: Daemon) -> None:
    """The window shrinks to what can be read in time; without a budget it is the bundle's."""
    text = "why did the harbour freeze over in the winter of the great storm " * 60
    tight = classify(daemon, text=text, latency_budget_ms=1)
    own = classify(daemon, text=text)
    assert tight.tokens.window_reason == "latency_budget"
    assert tight.tokens.truncated
    assert tight.tokens.window == tight.tokens.used < own.tokens.used
    assert own.tokens.window_reason == "model"
    assert own.tokens.window == read_bundle(STARTER).manifest.max_tokens
    again = classify(daemon, text=text, max_tokens=tight.tokens.window)
    assert (again.scores, again.tokens.window_reason) == (tight.scores, "max_tokens")
