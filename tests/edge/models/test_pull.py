"""`edge.models.pull`: from servers that break off, lie or know no ranges, and from directories."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fsspec.registry import _registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundle import MANIFEST, MODEL, SIGNATURE, TOKENIZER, Bundle, read_bundle
from edge.errors import BundleCorrupt, InvalidValue, NotFound, SyncRefused, Unavailable
from edge.models.pull import INDEX, pull_bundle, read_index
from edge.models.remote import open_remote
from edge.models.versions import VersionStore
from export.sign import make_keys, sign_bundle
from tests.edge.models.bundles import Files, files_of, make_bundle


def publish(bundle: Bundle, root: Path) -> Path:
    """Lay a bundle and its index out as a publisher does."""
    target = root / "bundles" / bundle.digest
    target.mkdir(parents=True, exist_ok=True)
    for name, data in files_of(bundle.path).items():
        (target / name).write_bytes(data)
    manifest = bundle.manifest
    entry = {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "files": {name: file.model_dump() for name, file in manifest.files.items()},
        "created_utc": manifest.created_utc,
        "signature": (bundle.path / SIGNATURE).exists(),
    }
    index = root / INDEX
    known = json.loads(index.read_text())["bundles"] if index.exists() else []
    index.write_text(json.dumps({"schema_version": 1, "bundles": [*known, entry]}))
    return target


@dataclass
class FakeServer:
    """A server of files with the faults that it is told to have."""

    root: Path
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers for a model break off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    redirect: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each request."""
    port: int = 0

    @property
    def location(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/models"

    def body(self, path: str) -> bytes | None:
        """The file, or None."""
        file = self.root / path.removeprefix("/models/")
        return file.read_bytes() if file.is_file() else None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    """A stand-in server on this machine."""
    fake = FakeServer(tmp_path / "published")
    fake.root.mkdir()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(fake, self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        fake.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        http.shutdown()
        thread.join()


def answer(fake: FakeServer, request: BaseHTTPRequestHandler) -> None:
    """One answer."""
    wanted = request.headers.get("Range")
    fake.asked.append((request.path, wanted))
    body = fake.body(request.path)
    status = fake.statuses.pop(0) if fake.statuses else 200 if body is not None else 404
    if fake.redirect:
        request.send_response(302)
        request.send_header("Location", fake.redirect + request.path)
        status, body = 0, b""
    body = body or b""
    start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fake.ranges else 0
    if status:
        if start and status == 200:
            status = 206 if start < len(body) else 416
        request.send_response(status)
    if status == 206:
        request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    body = body[start:] if status in (200, 206) else b""
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.path.endswith(MODEL) and fake.cuts:
        body = body[: fake.cuts.pop(0)]
        request.close_connection = True
    request.wfile.write(body)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle to publish."""
    return make_bundle(tmp_path / "made")


@pytest.fixture
def files(bundle: Bundle) -> Files:
    """Its files."""
    return files_of(bundle.path)


def pull(server: FakeServer, bundle: Bundle, cache: Path, **options: object) -> Path:
    """Pull without waiting between tries."""
    return pull_bundle(server.location, bundle.digest, cache, first_wait_s=0, **options)  # type: ignore[arg-type]


def test_pulled_bundle_is_the_published_one(
    server: FakeServer, bundle: Bundle, files: Files, tmp_path: Path
) -> None:
    """Whole, verified, and ready to be installed; the progress ends at the total."""
    publish(bundle, server.root)
    told: list[tuple[int, int]] = []
    path = pull(server, bundle, tmp_path / "cache", progress=lambda *now: told.append(now))

    assert files_of(path) == files
    assert VersionStore(tmp_path / "store").install(path).digest == bundle.digest
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == sum(f.size for f in bundle.manifest.files.values())


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_is_resumed(
    server: FakeServer, bundle: Bundle, files: Files, tmp_path: Path, ranges: bool
) -> None:
    """Where the server knows ranges, nothing is sent twice; where not, it starts over."""
    publish(bundle, server.root)
    server.ranges, server.cuts = ranges, [700, 800, 100]
    path = pull(server, bundle, tmp_path / "cache")
    asked = [wanted for name, wanted in server.asked if name.endswith(MODEL)]

    assert files_of(path) == files
    expected = [None, "bytes=700-", "bytes=1500-", "bytes=1600-"]
    assert asked == expected if ranges else asked[:2] == expected[:2]


def test_the_next_pull_goes_on_where_this_one_failed(
    server: FakeServer, bundle: Bundle, files: Files, tmp_path: Path
) -> None:
    """What came is kept; what is complete is not fetched again."""
    publish(bundle, server.root)
    server.cuts = [500] + [0] * 5
    with pytest.raises(Unavailable, match=MODEL):
        pull(server, bundle, tmp_path / "cache")
    server.asked.clear()

    assert files_of(pull(server, bundle, tmp_path / "cache")) == files
    assert (f"/models/bundles/{bundle.digest}/{MODEL}", "bytes=500-") in server.asked
    server.asked.clear()
    pull(server, bundle, tmp_path / "cache")
    assert [name.rpartition("/")[2] for name, _ in server.asked] == [INDEX, MANIFEST]


def test_damaged_remains_are_fetched_again(
    server: FakeServer, bundle: Bundle, files: Files, tmp_path: Path
) -> None:
    """A part with other bytes, one that is too long, a finished file that rotted."""
    publish(bundle, server.root)
    folder = tmp_path / "cache" / bundle.digest
    folder.mkdir(parents=True)
    (folder / f"{MODEL}.part").write_bytes(b"x" * 100)
    (folder / f"{TOKENIZER}.part").write_bytes(b"x" * 10_000)
    (folder / "CARD.md").write_bytes(b"x" * len(files["CARD.md"]))

    assert files_of(pull(server, bundle, tmp_path / "cache")) == files


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("change", ["flip", "longer", "shorter"])
def test_wrong_bytes_are_refused_and_not_kept(
    server: FakeServer, bundle: Bundle, tmp_path: Path, change: str, ranges: bool
) -> None:
    """Other content, more of it, less of it: none of it stays to be served or resumed."""
    path = publish(bundle, server.root) / MODEL
    server.ranges = ranges
    data = path.read_bytes()
    wrong = {"flip": data[:-1] + b"\x00\x01"[data[-1] == 0 :][:1], "longer": data + b"x"}
    path.write_bytes(wrong.get(change, data[:-5]))
    with pytest.raises((BundleCorrupt, Unavailable)):
        pull(server, bundle, tmp_path / "cache")
    folder = tmp_path / "cache" / bundle.digest

    assert not (folder / MODEL).exists()
    if change != "shorter":  # what is too short may only have broken off
        assert not (folder / f"{MODEL}.part").exists()
    path.write_bytes(data)
    assert read_bundle(pull(server, bundle, tmp_path / "cache")).digest == bundle.digest


def test_another_bundle_under_the_digest_is_refused(
    server: FakeServer, bundle: Bundle, tmp_path: Path
) -> None:
    """Sound in itself, and not what was asked for; its large files are not even fetched."""
    target = publish(bundle, server.root)
    for name, data in files_of(make_bundle(tmp_path / "evil", licence="evil").path).items():
        (target / name).write_bytes(data)

    with pytest.raises(BundleCorrupt, match=f"expected the manifest of {bundle.digest}"):
        pull(server, bundle, tmp_path / "cache")
    assert not [name for name, _ in server.asked if name.endswith(MODEL)]


def test_signature_is_demanded_before_the_large_files(
    server: FakeServer, bundle: Bundle, tmp_path: Path
) -> None:
    """Where a key is trusted; and a signed bundle comes with its signature."""
    key = make_keys(tmp_path / "key")
    publish(bundle, server.root)
    with pytest.raises(BundleCorrupt, match=r"expected manifest\.sig"):
        pull(server, bundle, tmp_path / "cache", trusted_keys=key)
    assert not [name for name, _ in server.asked if name.endswith(MODEL)]

    (server.root / INDEX).unlink()
    sign_bundle(bundle, tmp_path / "key")
    publish(bundle, server.root)
    path = pull(server, bundle, tmp_path / "cache", trusted_keys=key)
    assert (path / SIGNATURE).is_file()


def test_passing_failures_are_tried_again(
    server: FakeServer, bundle: Bundle, tmp_path: Path
) -> None:
    """A server that is overloaded for a moment."""
    publish(bundle, server.root)
    server.statuses = [200, 200, 503, 429]

    assert read_bundle(pull(server, bundle, tmp_path / "cache")).digest == bundle.digest


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (401, SyncRefused), (403, SyncRefused)]
)
def test_refusals_are_told_at_once(
    server: FakeServer, bundle: Bundle, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    """Asking again would not help."""
    publish(bundle, server.root)
    server.statuses = [status]

    with pytest.raises(error, match=str(status)):
        pull(server, bundle, tmp_path / "cache")
    assert len(server.asked) == 1


def test_redirect_to_a_server_without_encryption_is_refused(
    server: FakeServer, bundle: Bundle, tmp_path: Path
) -> None:
    """Nor is such an address taken from the admin."""
    server.redirect = "http://models.example"

    with pytest.raises(InvalidValue, match="expected https"):
        pull(server, bundle, tmp_path / "cache")
    with pytest.raises(InvalidValue, match="expected https"):
        read_index("http://models.example/x")


@pytest.mark.parametrize("location", ["", "models", "ftp://x/y", "/etc", "https://[::"])
def test_other_addresses_are_refused(location: str) -> None:
    """With what is expected."""
    with pytest.raises(InvalidValue, match="address"), open_remote(location):
        pass


def test_a_server_that_is_not_there_is_told(bundle: Bundle, tmp_path: Path) -> None:
    """As something that may pass."""
    with pytest.raises(Unavailable, match="cannot be read now"):
        pull_bundle("http://127.0.0.1:1/x", bundle.digest, tmp_path, first_wait_s=0)


def test_a_directory_is_pulled_from_by_the_start_of_a_digest(
    bundle: Bundle, files: Files, tmp_path: Path
) -> None:
    """A mounted share, by a `file://` address."""
    publish(bundle, tmp_path / "share")
    location = (tmp_path / "share").as_uri()
    path = pull_bundle(location, bundle.digest[:8], tmp_path / "cache")

    assert files_of(path) == files
    assert [(entry.name, entry.version) for entry in read_index(location)] == [("tiny", "1")]


def test_a_part_from_a_directory_is_resumed(bundle: Bundle, files: Files, tmp_path: Path) -> None:
    """From its offset, as from a server."""
    publish(bundle, tmp_path / "share")
    folder = tmp_path / "cache" / bundle.digest
    folder.mkdir(parents=True)
    (folder / f"{MODEL}.part").write_bytes(files[MODEL][:100])
    told: list[int] = []
    location = (tmp_path / "share").as_uri()
    path = pull_bundle(
        location, bundle.digest, tmp_path / "cache", progress=lambda done, _: told.append(done)
    )

    assert files_of(path) == files


def test_unknown_and_ambiguous_digests_are_told(bundle: Bundle, tmp_path: Path) -> None:
    """And such as are none."""
    publish(bundle, tmp_path / "share")
    location = (tmp_path / "share").as_uri()
    for digest, error in (("0" * 64, NotFound), ("a", InvalidValue), ("../../etc", NotFound)):
        with pytest.raises(error, match="digest"):
            pull_bundle(location, digest, tmp_path / "cache")
    with pytest.raises(NotFound, match="no such file"):
        read_index((tmp_path / "nowhere").as_uri())


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        '{"schema_version": 2, "bundles": []}',
        '{"schema_version": 1, "bundles": [{"digest": "../../x"}]}',
        "[" * 100_000,
        " " * (9 << 20),
    ],
)
def test_damaged_index_is_refused(tmp_path: Path, index: str) -> None:
    """Whatever lies there."""
    (tmp_path / INDEX).write_text(index)

    with pytest.raises(InvalidValue, match=r"index\.json"):
        read_index(tmp_path.as_uri())


def test_one_pull_of_a_bundle_at_a_time(server: FakeServer, bundle: Bundle, tmp_path: Path) -> None:
    """The second is told, instead of both writing to one file."""
    publish(bundle, server.root)
    errors: list[InvalidValue] = []

    def again(done: int, total: int) -> None:
        try:
            pull(server, bundle, tmp_path / "cache")
        except InvalidValue as error:
            errors.append(error)

    pull(server, bundle, tmp_path / "cache", progress=again)
    assert errors
    assert "another process" in str(errors[0])


@given(cuts=st.lists(st.integers(1, 3000), max_size=4), ranges=st.booleans())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cuts_end_in_the_same_bundle(
    server: FakeServer,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    ranges: bool,
) -> None:
    """Wherever the connection breaks, as often as some bytes come each time."""
    root = tmp_path_factory.mktemp("case")
    bundle = make_bundle(root / "made")
    server.root = root / "published"
    publish(bundle, server.root)
    server.cuts, server.ranges = list(cuts), ranges
    path = pull(server, bundle, root / "cache")

    assert files_of(path) == files_of(bundle.path)


def test_s3_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which, also where a test before has used it: fsspec remembers."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(InvalidValue, match="pip install s3fs"), open_remote("s3://b/models"):
        pass
