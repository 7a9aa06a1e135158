"""A stand-in for the Hugging Face hub, on loopback: the wire format that its client really reads.

Recorded from the client's own requests (huggingface_hub 0.36): a JSON description of a revision,
then for every file a HEAD with the commit, ETag and size in its headers, and a GET. Weights are
large files: the hub answers with a redirect to its storage, and names their hash and size itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

__all__ = ["FakeHub", "serve_hub"]

JSON = "application/json"
LARGE = (".safetensors", ".bin", ".msgpack")
STORAGE = "/storage/"


@dataclass
class FakeHub:
    """One model on a server: its commits, and what was asked for."""

    model: str
    files: Mapping[str, bytes]
    commit: str = "c0ffee" + 34 * "0"
    gated: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """`METHOD path` of every request, in order."""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(f"{method} {path}")
        if path.startswith(f"/api/models/{self.model}/revision/"):
            return self._describe(path.rsplit("/", 1)[1])
        if path.startswith(f"/{self.model}/resolve/{self.commit}/"):
            name = path.rsplit("/", 1)[1]
            return self._redirect(name) if name.endswith(LARGE) else self._send(name)
        if path.startswith(STORAGE):
            return self._send(path.rsplit("/", 1)[1])
        return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"}, b""

    def _describe(self, revision: str) -> tuple[int, dict[str, str], bytes]:
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if revision not in ("main", self.commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        siblings = [{"rfilename": name} for name in self.files]
        body = {"id": self.model, "modelId": self.model, "sha": self.commit, "siblings": siblings}
        return 200, {"Content-Type": JSON}, json.dumps(body).encode()

    def _redirect(self, name: str) -> tuple[int, dict[str, str], bytes]:
        data = self.files[name]
        headers = {
            "Location": f"{self.url}{STORAGE}{name}",
            "ETag": '"of-the-pointer"',
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": self.commit,
        }
        return 302, headers, b""

    def _send(self, name: str) -> tuple[int, dict[str, str], bytes]:
        data = self.files[name]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.commit,
            "Content-Type": "application/octet-stream",
        }
        return 200, headers, data


@contextmanager
def serve_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve until the block ends; sets `hub.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply("GET")

        def do_HEAD(self) -> None:
            self._reply("HEAD")

        def _reply(self, method: str) -> None:
            status, headers, body = hub.answer(method, self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if method == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
