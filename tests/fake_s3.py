"""An object store that speaks enough of S3 for s3fs: put, get with ranges, head, list."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["FakeS3", "running_s3"]

MADE = "2026-11-28T00:00:00.000Z"


@dataclass
class FakeS3:
    """What it holds, and how it is reached."""

    port: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    """`bucket/key` → content."""
    puts: list[str] = field(default_factory=list)
    """What was written, in order."""
    refuse: int = 0
    """Status of every answer, if not 0."""

    @property
    def environment(self) -> dict[str, str]:
        """What makes botocore ask here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def running_s3() -> Iterator[FakeS3]:
    """One in a thread of this process."""
    fake = FakeS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = _body(self)
            if not _refused(fake, self):
                fake.objects[_key(self)] = body
                fake.puts.append(_key(self))
                _answer(self, 200, b"", {"ETag": _etag(body)})

        def do_GET(self) -> None:
            if not _refused(fake, self):
                _get(fake, self)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        fake.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            http.shutdown()
            thread.join()


def _get(fake: FakeS3, request: BaseHTTPRequestHandler) -> None:
    query = parse_qs(urlsplit(request.path).query)
    key = _key(request)
    if "list-type" in query:
        _list(fake, request, key.strip("/"), query.get("prefix", [""])[0])
    elif key not in fake.objects:
        _error(request, 404, "NoSuchKey")
    else:
        _send(request, fake.objects[key])


def _send(request: BaseHTTPRequestHandler, body: bytes) -> None:
    headers = {"ETag": _etag(body), "Last-Modified": "Sat, 28 Nov 2026 00:00:00 GMT"}
    wanted = request.headers.get("Range")
    if wanted is None:
        _answer(request, 200, body, headers)
        return
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    _answer(request, 206, body[start : end + 1], headers)


def _list(fake: FakeS3, request: BaseHTTPRequestHandler, bucket: str, prefix: str) -> None:
    keys = [
        k.removeprefix(f"{bucket}/") for k in fake.objects if k.startswith(f"{bucket}/{prefix}")
    ]
    rows = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(fake.objects[f'{bucket}/{key}'])}</Size>"
        f"<LastModified>{MADE}</LastModified></Contents>"
        for key in keys
    )
    head = f"<Name>{bucket}</Name><KeyCount>{len(keys)}</KeyCount><IsTruncated>false</IsTruncated>"
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    text = f"<ListBucketResult {space}>{head}{rows}</ListBucketResult>"
    _answer(request, 200, text.encode(), {"Content-Type": "application/xml"})


def _refused(fake: FakeS3, request: BaseHTTPRequestHandler) -> bool:
    if fake.refuse:
        _error(request, fake.refuse, "AccessDenied")
    return bool(fake.refuse)


def _error(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    _answer(request, status, text.encode(), {"Content-Type": "application/xml"})


def _answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
) -> None:
    request.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """The content, also where it comes in signed pieces."""
    data = request.rfile.read(int(request.headers.get("Content-Length", 0)))
    if "aws-chunked" not in request.headers.get("Content-Encoding", ""):
        return data
    out = b""
    while data:
        head, _, rest = data.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return out
        out, data = out + rest[:size], rest[size + 2 :]
    return out


def _key(request: BaseHTTPRequestHandler) -> str:
    return unquote(urlsplit(request.path).path).lstrip("/")


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
