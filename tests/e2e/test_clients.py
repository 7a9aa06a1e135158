"""Clients that people have: Hugging Face's, old and new, curl, Node, and a few formats."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from edge.bundle import STARTER, read_bundle
from tests.daemons import Daemon, clean_environment
from tests.e2e.talk import CANARY, PATIENCE_S, TOKEN, ask, post

TEXT = "play some jazz"
LABELS = ["music", "the weather"]
QUESTIONS = Path(__file__).with_name("hub_questions.py")
NEW_HUB = os.environ.get("TEST_HUB", "")


def elements(daemon: Daemon, text: str, **fields: Any) -> list[dict[str, Any]]:
    """The scores that our own route gives, which every format must carry unchanged."""
    return list(post(daemon.socket, "/v1/classify", {"text": text, **fields}).json["scores"])


class SocketConnection(urllib3.connection.HTTPConnection):
    """A connection to a Unix socket, whose path is the host."""

    def __init__(self, path: str) -> None:
        super().__init__("intentd", timeout=PATIENCE_S)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class SocketPool(urllib3.HTTPConnectionPool):
    """Connections to one Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("intentd")
        self.path = path

    def _new_conn(self) -> SocketConnection:
        return SocketConnection(self.path)


class SocketAdapter(HTTPAdapter):
    """Sends what `requests` is asked for to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.pool = SocketPool(str(path))

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> SocketPool:
        """The one pool, whatever the host."""
        return self.pool

    def close(self) -> None:
        """Close the pool's connections."""
        self.pool.close()
        super().close()


@pytest.fixture
def old_hub(daemon: Daemon) -> Iterator[Any]:
    """An `InferenceClient` of huggingface_hub before 1.0, which speaks through `requests`."""
    hub = pytest.importorskip("huggingface_hub", "0.30", reason="huggingface_hub is not installed")
    if not hasattr(hub, "configure_http_backend"):
        pytest.skip(f"huggingface_hub {hub.__version__} is no client of the old kind")
    session = requests.Session()
    session.mount("http://intentd", SocketAdapter(daemon.socket))
    hub.configure_http_backend(lambda: session)
    yield hub.InferenceClient(model="http://intentd/", token=TOKEN)
    hub.configure_http_backend()
    session.close()


def test_old_hub_client_reads_zero_shot(daemon: Daemon, old_hub: Any) -> None:
    """Below 1.2 it reads one object with parallel lists."""
    found = old_hub.zero_shot_classification(f"{TEXT} {CANARY}", LABELS)
    expected = elements(daemon, f"{TEXT} {CANARY}", labels=LABELS)
    assert [{"label": e.label, "score": e.score} for e in found] == expected


def test_old_hub_client_scores_labels_by_themselves(daemon: Daemon, old_hub: Any) -> None:
    """`multi_label` is passed on."""
    found = old_hub.zero_shot_classification(TEXT, LABELS, multi_label=True)
    expected = elements(daemon, TEXT, labels=LABELS, multi_label=True)
    assert [{"label": e.label, "score": e.score} for e in found] == expected


def test_old_hub_client_reads_text_classification(daemon: Daemon, old_hub: Any) -> None:
    """The default intents, best first; `top_k` may be larger than there are labels."""
    expected = elements(daemon, TEXT)
    for top_k, count in ((None, len(expected)), (1, 1), (100_000, len(expected))):
        found = old_hub.text_classification(TEXT, top_k=top_k)
        assert [{"label": e.label, "score": e.score} for e in found] == expected[:count]


def test_old_hub_client_shows_what_is_wrong(old_hub: Any) -> None:
    """A refusal's message reaches the programmer."""
    with pytest.raises(requests.HTTPError, match="send some words"):
        old_hub.text_classification(" ")


@pytest.mark.skipif(not NEW_HUB, reason="TEST_HUB names no directory with huggingface_hub")
def test_new_hub_client(daemon: Daemon) -> None:
    """From 1.2 on it reads a list of elements, over its own HTTP library, sync and async."""
    env = clean_environment(daemon.socket.parent)
    env["PYTHONPATH"] = os.pathsep.join([NEW_HUB, env["PYTHONPATH"]])
    command = [sys.executable, str(QUESTIONS), str(daemon.socket), TOKEN]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert tuple(map(int, found["version"].split(".")[:2])) >= (1, 2)
    assert found["zero_shot"] == found["async"] == elements(daemon, TEXT, labels=LABELS)
    expected = elements(daemon, "sum this up")
    assert found["text"] == found["named"] == expected
    assert found["top_1"] == expected[:1]
    assert "send some words" in found["error"]


HUB_QUESTION = {"inputs": TEXT, "parameters": {"candidate_labels": LABELS}}


@pytest.mark.parametrize(
    ("agent", "query", "is_pipeline"),
    [
        ("unknown/None; hf_hub/0.36.2; python/3.11.7", "", True),
        ("hf_hub/1.1.9", "", True),
        ("hf_hub/1.2.0", "", False),
        ("hf_hub/2.4.0", "", False),
        ("hf_hub/10.0", "", False),
        ("curl/8", "", False),
        ("hf_hub/2.4.0", "?format=pipeline", True),
        ("hf_hub/0.36.2", "?format=list", False),
    ],
)
def test_zero_shot_shape_follows_the_client(
    daemon: Daemon, agent: str, query: str, is_pipeline: bool
) -> None:
    """The version in User-Agent decides, unless the request says it."""
    found = post(daemon.socket, f"/{query}", HUB_QUESTION, f"User-Agent: {agent}").json
    expected = elements(daemon, TEXT, labels=LABELS)
    if is_pipeline:
        assert found["sequence"] == TEXT
        found = [
            {"label": label, "score": score}
            for label, score in zip(found["labels"], found["scores"], strict=True)
        ]
    assert found == expected


def test_every_hub_route_answers_alike(daemon: Daemon) -> None:
    """The same question gets the same answer; headers carry what the format has no field for."""
    digest = read_bundle(STARTER).digest
    task = "pipeline/zero-shot-classification"
    for path in ("/", "/models/a", "/models/org/name", f"/{task}", f"/models/org/name/{task}"):
        reply = post(daemon.socket, path, HUB_QUESTION)
        assert reply.json == elements(daemon, TEXT, labels=LABELS)
        assert reply.headers["x-intentd-model"] == digest
        assert reply.headers["x-intentd-truncated"] == "false"
    reply = post(daemon.socket, "/", {"inputs": "word " * 5000})
    assert reply.headers["x-intentd-truncated"] == "true"


def test_hub_batches_are_lists_of_answers(daemon: Daemon) -> None:
    """Several inputs, and labels in one string with commas, as that format allows."""
    message = {"inputs": [TEXT, "will it rain?"], "parameters": {"candidate_labels": "music, rain"}}
    expected = [elements(daemon, text, labels=["music", "rain"]) for text in message["inputs"]]
    assert post(daemon.socket, "/", message).json == expected
    assert post(daemon.socket, "/", {"inputs": [TEXT]}).json == [elements(daemon, TEXT)]


def test_tei_answers_one_text_flat_and_a_batch_nested(daemon: Daemon) -> None:
    """As text-embeddings-inference does, which reads two strings as a pair."""
    expected = elements(daemon, TEXT)
    assert post(daemon.socket, "/predict", {"inputs": TEXT}).json == expected
    batch = {"inputs": [[TEXT], ["will it rain?"]], "truncate": False, "raw_scores": False}
    assert post(daemon.socket, "/predict", batch).json == [
        expected,
        elements(daemon, "will it rain?"),
    ]


def test_tei_refuses_to_cut_a_text_when_told_so(daemon: Daemon) -> None:
    """`truncate: false` on a text longer than the window is an error, and `true` is not."""
    message = {"inputs": f"{CANARY} " * 5000, "truncate": False}
    reply = post(daemon.socket, "/predict", message)
    assert (reply.status, reply.json["error_type"]) == (422, "Validation")
    assert post(daemon.socket, "/predict", message | {"truncate": True}).status == 200


def test_curl_asks_and_reads(daemon: Daemon) -> None:
    """The line that the documentation shows; curl calls the body a form, which does not matter."""
    curl = shutil.which("curl") or pytest.skip("curl is not installed")
    url, data = "http://localhost/v1/classify", json.dumps({"text": TEXT})
    command = [curl, "-sS", "--unix-socket", str(daemon.socket), url, "-d", data]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert json.loads(done.stdout)["scores"] == elements(daemon, TEXT)


def test_curl_reads_the_refusal_of_a_large_file(daemon: Daemon, tmp_path: Path) -> None:
    """It asks first (Expect: 100-continue), and is told before it sends."""
    curl = shutil.which("curl") or pytest.skip("curl is not installed")
    (tmp_path / "body").write_bytes(b" " * (8 << 20))
    source = f"@{tmp_path / 'body'}"
    command = [curl, "-sS", "--unix-socket", str(daemon.socket), "http://localhost/v1/classify"]
    command += ["--data-binary", source]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert json.loads(done.stdout)["code"] == "body_too_large"


NODE = """
const http = require("http");
const [socketPath, text, size] = process.argv.slice(1);
const body = JSON.stringify({ text: text.repeat(Number(size)) });
const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
const options = { socketPath, path: "/v1/classify", method: "POST", headers };
const request = http.request(options, (response) => {
  let answer = "";
  response.on("data", (part) => (answer += part));
  response.on("end", () => process.stdout.write(answer));
});
request.on("error", (error) => process.stdout.write(JSON.stringify({ code: error.code })));
request.end(body);
"""


@pytest.mark.parametrize("size", [1, 2_000_000])
def test_node_asks_and_reads(daemon: Daemon, size: int) -> None:
    """Node's `http` over `socketPath`; it sends the whole body before it reads any refusal."""
    node = shutil.which("node") or pytest.skip("node is not installed")
    command = [node, "-e", NODE, str(daemon.socket), TEXT, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    if size == 1:
        assert answer["scores"] == elements(daemon, TEXT)
    else:
        assert answer["code"] == "body_too_large"


def test_authorization_is_neither_needed_nor_kept(daemon: Daemon) -> None:
    """Hub clients send the user's token to whatever they are pointed at; it must end here."""
    header = f"Authorization: Bearer {TOKEN}"
    assert post(daemon.socket, "/", HUB_QUESTION, header).status == 200
    assert TOKEN.encode() not in post(daemon.socket, "/", {"inputs": ""}, header).body
    assert ask(daemon.socket, "POST", "/", b"{", header).status == 400
    assert TOKEN not in daemon.log
    assert TOKEN.encode() not in ask(daemon.socket, "GET", "/metrics").body
