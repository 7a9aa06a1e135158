"""What a daemon says to requests that cannot be answered: one table, and what holds of all rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.daemons import Daemon
from tests.e2e.talk import CANARY, Connection, Reply, ask, request

MIB = 1 << 20
TEXT = f"tell me about {CANARY}"


@dataclass(frozen=True, slots=True)
class Bad:
    """One row: what is sent, and the refusal that it gets."""

    id: str
    body: Any
    """Bytes as they are; anything else as JSON."""
    status: int
    code: str
    hint: str
    """Part of the message: what to do, or where."""
    headers: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def value(id: str, hint: str, **fields: Any) -> Bad:
    """A row whose field has an unacceptable value, beside a good text if it brings none."""
    message = fields if {"text", "texts"} & fields.keys() else {"text": TEXT, **fields}
    return Bad(id, message, 422, "invalid_value", hint)


def malformed(id: str, body: bytes) -> Bad:
    """A row whose body is no JSON."""
    return Bad(id, body, 400, "malformed_body", "send one JSON object in UTF-8")


def text(id: str, **fields: Any) -> Bad:
    """A row whose text cannot be classified."""
    return Bad(id, fields, 422, "invalid_text", "send some words")


NESTED = 100_000
TABLE = [
    text("empty text", text=""),
    text("blank text", text=" \t\n\u3000\u00a0"),
    text("empty text in a batch", texts=[TEXT, ""]),
    text("endless blank text", text=" " * 100_000),
    malformed("no body", b""),
    malformed("blank body", b" \n"),
    malformed("half a body", b'{"text": "' + CANARY.encode()),
    malformed("two bodies", json.dumps({"text": TEXT}).encode() * 2),
    malformed("words after the body", b'{"text": "a"} ' + CANARY.encode()),
    malformed("form", f"text={CANARY}".encode()),
    malformed("single quotes", f"{{'text': '{CANARY}'}}".encode()),
    malformed("trailing comma", f'{{"text": "{CANARY}",}}'.encode()),
    malformed("lone leading surrogate", f'{{"text": "{CANARY} \\ud83e"}}'.encode()),
    malformed("lone trailing surrogate", f'{{"text": "{CANARY} \\udd95 x"}}'.encode()),
    malformed("surrogates swapped", f'{{"text": "{CANARY} \\udd95\\ud83e"}}'.encode()),
    malformed("surrogate in a name", b'{"t\\ud800t": "a"}'),
    malformed("invalid utf-8", b'{"text": "' + CANARY.encode() + b' \xff"}'),
    malformed("overlong utf-8", b'{"text": "\xc0\xaf"}'),
    malformed("surrogate as utf-8", b'{"text": "\xed\xa0\x80"}'),
    malformed("utf-8 cut short", b'{"text": "\xf0\x9f\xa6"}'),
    malformed("byte order mark", b"\xef\xbb\xbf" + b'{"text": "a"}'),
    malformed("utf-16", '{"text": "a"}'.encode("utf-16")),
    malformed("raw control character", b'{"text": "a\x00b"}'),
    malformed("array bomb", b"[" * NESTED),
    malformed("closed array bomb", b'{"text": ' + b"[" * NESTED + b"]" * NESTED + b"}"),
    malformed("object bomb", b'{"a": ' * NESTED),
    malformed(
        "bomb in an unknown field", b'{"text":"a","x":' + b"[" * NESTED + b"]" * NESTED + b"}"
    ),
    malformed("number of 5 000 digits", b'{"text": "a", "top_k": ' + b"9" * 5000 + b"}"),
    malformed("gzip by its content", b"\x1f\x8b\x08\x00" + CANARY.encode()),
    Bad(
        "declared gzip",
        b"\x1f\x8b\x08\x00",
        415,
        "unsupported_encoding",
        "uncompressed",
        ("Content-Encoding: gzip",),
    ),
    Bad(
        "declared encodings",
        {"text": TEXT},
        415,
        "unsupported_encoding",
        "uncompressed",
        ("Content-Encoding: identity, br",),
    ),
    Bad("body too large", b" " * (MIB + 1), 413, "body_too_large", "send less text"),
    Bad("long text", {"text": CANARY * 200_000}, 413, "body_too_large", "send less text"),
    Bad("array", [TEXT], 422, "invalid_value", "body: Input should be an object"),
    Bad("string", TEXT, 422, "invalid_value", "body: Input should be an object"),
    Bad("number", 5, 422, "invalid_value", "body: Input should be an object"),
    Bad("null", None, 422, "invalid_value", "body: Input should be an object"),
    Bad("no text", {}, 422, "invalid_value", "exactly one of text and texts"),
    value("null text", "exactly one of text and texts", text=None),
    value("text and texts", "exactly one of text and texts", text=TEXT, texts=[TEXT]),
    value("content for a batch", "send one request for each text", texts=[TEXT], content=CANARY),
    value("number as text", "text: Input should be a valid string", text=5),
    value("list as text", "text: Input should be a valid string", text=[TEXT]),
    value("object as text", "text: Input should be a valid string", text={"a": TEXT}),
    value("text as texts", "texts: Input should be a valid", texts=TEXT),
    value("no texts", "texts: List should have at least 1 item", texts=[]),
    value("null among texts", "texts.1: Input should be a valid string", texts=[TEXT, None]),
    value("257 texts", "send them in several requests", texts=[TEXT] * 257),
    value("number as content", "content: Input should be a valid string", content=1.5),
    value("no labels", "labels: List should have at least 1 item", labels=[]),
    value("empty label", "label 1 is empty", labels=["a", ""]),
    value("blank label", "label 0 is empty", labels=["\u2003", "a"]),
    value("duplicate labels", "label 1 is a duplicate", labels=[CANARY, CANARY]),
    value(
        "10 000 labels", "at most 64 labels, found 10000", labels=[str(i) for i in range(10_000)]
    ),
    value("65 labels", "split them in groups", labels=[str(i) for i in range(65)]),
    value("long label", "at most 512 fit", labels=[CANARY * 1000]),
    value("labels as a string", "labels: Input should be a valid", labels="a,b"),
    value("numbers as labels", "labels.0: Input should be a valid string", labels=[1, 2]),
    value("labels as an object", "labels: Input should be a valid", labels={"a": 1}),
    value(
        "multi_label as a string", "multi_label: Input should be a valid bool", multi_label="true"
    ),
    value("multi_label as a number", "multi_label: Input should be a valid bool", multi_label=1),
    value("null multi_label", "multi_label: Input should be a valid bool", multi_label=None),
    value(
        "template for an embedding bundle",
        "leave the field out",
        hypothesis_template=f"{CANARY} {{}}",
    ),
    value("endless template", "at most 1024 characters", hypothesis_template="{}" + CANARY * 1000),
    value("top_k 0", "top_k: Input should be greater", top_k=0),
    value("top_k -1", "top_k: Input should be greater", top_k=-1),
    value("top_k 10^9", "top_k: Input should be less", top_k=10**9),
    value("top_k 10^400", "top_k: Input should be less", top_k=10**400),
    value("top_k 1.0", "top_k: Input should be a valid int", top_k=1.0),
    value("top_k true", "top_k: Input should be a valid int", top_k=True),
    value("top_k NaN", "top_k: Input should be a valid int", top_k=float("nan")),
    value("top_k Infinity", "top_k: Input should be a valid int", top_k=float("inf")),
    value("max_tokens 0", "max_tokens: Input should be greater", max_tokens=0),
    value(
        "max_tokens -Infinity", "max_tokens: Input should be a valid int", max_tokens=-float("inf")
    ),
    value("max_tokens as a string", "max_tokens: Input should be a valid int", max_tokens="9"),
    Bad(
        "max_tokens 1",
        {"text": TEXT, "max_tokens": 1},
        422,
        "window_too_small",
        "ask for at least 3",
    ),
    Bad(
        "max_tokens 2",
        {"text": TEXT, "max_tokens": 2},
        422,
        "window_too_small",
        "ask for at least 3",
    ),
    value("deadline_ms 0", "deadline_ms: Input should be greater", deadline_ms=0),
    value("deadline_ms -5", "deadline_ms: Input should be greater", deadline_ms=-5),
    value("deadline_ms 10^12", "deadline_ms: Input should be less", deadline_ms=10**12),
    value("deadline_ms NaN", "deadline_ms: Input should be a valid int", deadline_ms=float("nan")),
    value("misspelt field", "label: unknown field; known are text", label=["a"]),
    value("text in the place of a field", "unknown field; known are text", **{f"my {CANARY}": 1}),
    value("endless field", "unknown field; known are text", **{CANARY * 1000: 1}),
    value("__class__", "__class__: unknown field", __class__="a"),
]


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.id)
def test_bad_input_is_refused_and_the_connection_goes_on(daemon: Daemon, bad: Bad) -> None:
    """A stable code, a message that says what to do and repeats no text; then business as usual."""
    with Connection(daemon.socket) as connection:
        reply = connection.ask("POST", "/v1/classify", bad.data, *bad.headers)
        assert (reply.status, reply.code) == (bad.status, bad.code), reply
        assert bad.hint in reply.json["detail"]
        assert CANARY.encode() not in reply.body
        assert len(reply.body) < 1000
        good = json.dumps({"text": TEXT}).encode()
        assert connection.ask("POST", "/v1/classify", good).status == 200


@pytest.mark.parametrize(
    "bad", [b for b in TABLE if b.status in (400, 413, 415)], ids=lambda b: b.id
)
@pytest.mark.parametrize(
    "path", ["/", "/models/org/name", "/pipeline/text-classification", "/predict"]
)
def test_foreign_routes_say_it_in_their_own_format(daemon: Daemon, bad: Bad, path: str) -> None:
    """Clients of those formats look for a string under `error`."""
    with Connection(daemon.socket) as connection:
        check_foreign(
            connection.ask("POST", path, bad.data, *bad.headers), path, bad.status, bad.hint
        )
        assert connection.ask("POST", path, json.dumps({"inputs": TEXT}).encode()).status == 200


def check_foreign(reply: Reply, path: str, status: int, hint: str) -> None:
    """A refusal as Hugging Face's and text-embeddings-inference's clients read it."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    is_tei = path == "/predict"
    assert set(reply.json) == ({"error", "error_type"} if is_tei else {"error"})
    assert hint in reply.json["error"]
    assert not is_tei or reply.json["error_type"] == "Validation"
    assert CANARY.encode() not in reply.body


HUB = [
    ("no inputs", "/", {"parameters": {}}, "inputs: Field required"),
    ("empty inputs", "/", {"inputs": ""}, "send some words"),
    ("blank among inputs", "/", {"inputs": [TEXT, " "]}, "send some words"),
    ("no texts", "/", {"inputs": []}, "at least 1 item"),
    ("number as inputs", "/", {"inputs": 5}, "inputs"),
    ("257 inputs", "/", {"inputs": [TEXT] * 257}, "at most 256"),
    (
        "string of no labels",
        "/",
        {"inputs": TEXT, "parameters": {"candidate_labels": ""}},
        "label 0",
    ),
    (
        "list of no labels",
        "/",
        {"inputs": TEXT, "parameters": {"candidate_labels": []}},
        "at least 1",
    ),
    (
        "duplicate labels",
        "/",
        {"inputs": TEXT, "parameters": {"candidate_labels": "a,a"}},
        "duplicate",
    ),
    ("top_k 0", "/", {"inputs": TEXT, "parameters": {"top_k": 0}}, "parameters.top_k"),
    (
        "raw logits",
        "/",
        {"inputs": TEXT, "parameters": {"function_to_apply": "none"}},
        "raw logits",
    ),
    (
        "unknown function",
        "/",
        {"inputs": TEXT, "parameters": {"function_to_apply": "x"}},
        "function_to",
    ),
    ("unknown task", f"/pipeline/{CANARY}", {"inputs": TEXT}, "task: expected one of"),
    (
        "unknown task of a model",
        f"/models/a/pipeline/{CANARY}",
        {"inputs": TEXT},
        "task: expected one",
    ),
    ("zero-shot without labels", "/pipeline/zero-shot-classification", {"inputs": TEXT}, "labels"),
    ("unknown format", "/?format=xml", {"inputs": TEXT}, "format: expected pipeline or list"),
    ("pair", "/predict", {"inputs": [TEXT, TEXT]}, "pairs are not served"),
    ("batch of pairs", "/predict", {"inputs": [[TEXT, TEXT]]}, "pairs are not served"),
    ("raw scores", "/predict", {"inputs": TEXT, "raw_scores": True}, "raw logits are not served"),
    ("too long", "/predict", {"inputs": "a " * 9999, "truncate": False}, "send truncate: true"),
    ("empty inputs", "/predict", {"inputs": ""}, "send some words"),
    ("nested batch", "/predict", {"inputs": [[[TEXT]]]}, "inputs"),
]


@pytest.mark.parametrize(
    ("path", "body", "hint"), [row[1:] for row in HUB], ids=[r[0] for r in HUB]
)
def test_values_that_foreign_formats_allow_are_refused(
    daemon: Daemon, path: str, body: Any, hint: str
) -> None:
    """What the format has and this service has not is said, not guessed."""
    reply = ask(daemon.socket, "POST", path, json.dumps(body).encode())
    check_foreign(reply, path, 422, hint)


@pytest.mark.parametrize(
    "target", ["/models/../../etc/passwd", "/models/%2e%2e%2f%00", "/models//", "/models/a%20b?x=y"]
)
def test_model_names_are_only_names(daemon: Daemon, target: str) -> None:
    """The one bundle answers whatever name it is called by; no file is looked for."""
    assert ask(daemon.socket, "POST", target, b'{"inputs": "hi"}').status == 200


def chunked(*sizes: int) -> bytes:
    """A request without Content-Length, whose chunks have these sizes."""
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (b"%x\r\n%s\r\n" % (size, b" " * size) for size in sizes)
    return head + b"".join(chunks) + b"0\r\n\r\n"


def test_undeclared_body_over_the_limit_is_refused(daemon: Daemon) -> None:
    """Bytes are counted as they come; the rest is dropped, and the connection goes on."""
    with Connection(daemon.socket) as connection:
        connection.send(chunked(*[65_536] * 40))
        assert connection.reply().code == "body_too_large"
        assert connection.ask("GET", "/healthz").status == 200


def test_body_of_exactly_the_limit_is_read(daemon: Daemon) -> None:
    """The limit is the last size that is accepted, declared or not."""
    body = json.dumps({"text": TEXT}).encode()
    with Connection(daemon.socket) as connection:
        assert connection.ask("POST", "/v1/classify", body.ljust(MIB)).status == 200
        connection.send(chunked(MIB))
        assert connection.reply().code == "malformed_body"
        connection.send(chunked(MIB, 1))
        assert connection.reply().code == "body_too_large"


def test_refusal_is_read_by_clients_that_send_everything_first(daemon: Daemon) -> None:
    """The socket takes the whole of a body far too large, lest the client see a broken pipe."""
    with Connection(daemon.socket) as connection:
        connection.send_all_or_fail(request("POST", "/v1/classify", b" " * (24 * MIB)))
        assert connection.reply().code == "body_too_large"


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        ("Content-Length: -1", 400, "malformed_request"),
        ("Content-Length: 1e3", 400, "malformed_request"),
        ("Content-Length: 2\r\nContent-Length: 3", 400, "malformed_request"),
        ("Content-Length: 9223372036854775808", 413, "body_too_large"),
        ("Transfer-Encoding: gzip, chunked", 501, "unsupported_encoding"),
        ("Bad Header\r\nContent-Length: 2", 400, "malformed_request"),
        ("Folded: a\r\n b\rc\r\nContent-Length: 2", 400, "malformed_request"),
        ("Long: " + "a" * 20_000, 431, "headers_too_large"),
    ],
    ids=["negative", "exponent", "two", "huge", "gzip", "space", "folded", "long"],
)
def test_malformed_heads_are_refused(daemon: Daemon, head: str, status: int, code: str) -> None:
    """A request whose extent is in doubt is never guessed at."""
    with Connection(daemon.socket) as connection:
        connection.send(f"POST /v1/classify HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{{}}".encode())
        reply = connection.reply()
        assert (reply.status, reply.code) == (status, code)
    assert ask(daemon.socket, "GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"\x00" * 64 + b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"HELO\r\n\r\n",
    ],
    ids=["tls", "zeros", "http09", "smtp"],
)
def test_other_protocols_get_a_400(daemon: Daemon, data: bytes) -> None:
    """Whoever speaks something else is told so and closed."""
    with Connection(daemon.socket) as connection:
        connection.send(data)
        assert connection.reply().code == "malformed_request"
        assert connection.is_closed()


def test_body_longer_than_declared_is_cut_at_what_was_declared(daemon: Daemon) -> None:
    """The rest is taken for the next request, which it is not."""
    with Connection(daemon.socket) as connection:
        connection.send(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        connection.send(json.dumps({"text": TEXT}).encode() + b"\r\n\r\n")
        assert connection.reply().code == "malformed_body"
        assert connection.reply().code == "malformed_request"
        assert connection.is_closed()
