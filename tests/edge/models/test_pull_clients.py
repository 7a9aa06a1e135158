"""`edge.models.remote` over the real clients of HTTPS and S3, against servers on this machine."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.bundle import MODEL, Bundle
from edge.errors import NotFound, Unavailable
from edge.models.pull import pull_bundle
from tests.edge.models.bundles import files_of, make_bundle
from tests.edge.models.test_pull import publish

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
BUCKET = "models"


@dataclass
class Site:
    """Files over HTTP as S3 serves them too: HEAD, ranges, and an ETag."""

    root: Path
    cut_bytes: int = 0
    """After so many the next answer for a model breaks off; 0: none does."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each GET."""
    port: int = 0


@contextmanager
def serving(site: Site, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            reply(site, self, with_body=False)

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Range")))
            reply(site, self, with_body=True)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that trusts nobody hangs up in the handshake."""

    with Server(("127.0.0.1", 0), Handler) as http:
        site.port = http.server_address[1]
        if tls is not None:
            http.socket = tls.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            http.shutdown()
            thread.join()


def reply(site: Site, request: BaseHTTPRequestHandler, with_body: bool) -> None:
    """One file, or a part of it."""
    path = site.root / request.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
    body = path.read_bytes() if path.is_file() else None
    found = RANGE.fullmatch(request.headers.get("Range", ""))
    if body is None:
        request.send_response(404)
    elif found:
        first, last = int(found[1]), int(found[2] or len(body) - 1)
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        body = body[first : last + 1]
    else:
        request.send_response(200)
    body = body or b""
    request.send_header("Content-Length", str(len(body)))
    request.send_header("ETag", '"1"')
    request.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
    request.end_headers()
    if with_body and path.name == MODEL and site.cut_bytes:
        body, site.cut_bytes = body[: site.cut_bytes], 0
        request.close_connection = True
    if with_body:
        request.wfile.write(body)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle to publish."""
    return make_bundle(tmp_path / "made")


@pytest.fixture
def site(tmp_path: Path, bundle: Bundle) -> Site:
    """Where it is published."""
    publish(bundle, tmp_path / "site")
    return Site(tmp_path / "site")


def certificate(directory: Path) -> Path:
    """A key and a certificate for this machine that signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intentd test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("is_trusted", [True, False])
def test_https_server_must_be_known(
    site: Site, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    """One whose certificate nobody vouches for is not read, whatever it serves."""
    pem = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    site.cut_bytes = 100
    with serving(site, tls):
        location = f"https://127.0.0.1:{site.port}/{BUCKET}"
        if not is_trusted:
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                pull_bundle(location, bundle.digest, tmp_path / "cache", first_wait_s=0)
            assert site.asked == []
            return
        path = pull_bundle(location, bundle.digest, tmp_path / "cache", first_wait_s=0)
    assert files_of(path) == files_of(bundle.path)
    parts = [wanted for name, wanted in site.asked if name.endswith(MODEL)]
    assert parts == [None, "bytes=100-"]


@pytest.fixture
def s3(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The same place as a bucket, which the real client of S3 is told to ask."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'intentd[s3]'")
    with serving(site):
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{site.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "nowhere",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(site.root / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(site.root / "none"),
        }.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield site
        s3fs.S3FileSystem.clear_instance_cache()


def test_bucket_is_pulled_from_and_a_part_is_resumed(
    s3: Site, bundle: Bundle, tmp_path: Path
) -> None:
    """By the real client: what lies here already is not asked for again."""
    folder = tmp_path / "cache" / bundle.digest
    folder.mkdir(parents=True)
    model = (bundle.path / MODEL).read_bytes()
    (folder / f"{MODEL}.part").write_bytes(model[:100])

    path = pull_bundle(f"s3://{BUCKET}", bundle.digest, tmp_path / "cache", first_wait_s=0)

    assert files_of(path) == files_of(bundle.path)
    parts = [wanted for name, wanted in s3.asked if name.endswith(MODEL)]
    assert parts
    assert all(wanted and wanted.startswith("bytes=100-") for wanted in parts), parts


def test_bucket_without_an_index_says_so(s3: Site, bundle: Bundle, tmp_path: Path) -> None:
    """A wrong prefix is the usual mistake."""
    with pytest.raises(NotFound, match=r"index\.json"):
        pull_bundle(f"s3://{BUCKET}/elsewhere", bundle.digest, tmp_path / "cache", first_wait_s=0)
