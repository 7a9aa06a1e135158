"""`edge.uploads`: bundles of any size travel piece by piece, and arrive as they were."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from edge.bundle import STARTER, read_bundle
from edge.client import AdminClient
from edge.errors import BundleCorrupt, InvalidValue
from edge.models.archive import unpack
from edge.uploads import PIECE_BYTES, open_upload
from tests.daemons import short_directory
from tests.edge.models.bundles import files_of, make_bundle, pack_tar, pack_zip

LARGE_BYTES = 200 << 20
PROBLEM = b'{"title": "t", "status": 422, "code": "bundle_corrupt", "detail": "all zeros"}'


class FakeAdmin(BaseHTTPRequestHandler):
    """Reads a whole upload, in either framing, and refuses it; counts the bytes."""

    received = 0

    def address_string(self) -> str:
        """A Unix socket's client has none."""
        return "client"

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""

    def do_POST(self) -> None:
        """Drain the body."""
        length = self.headers["Content-Length"]
        if length is not None:
            self._drain(int(length))
        while length is None and (size := int(self.rfile.readline(), 16)):
            self._drain(size)
            self.rfile.readline()
        self.send_response(422)
        self.send_header("Content-Length", str(len(PROBLEM)))
        self.end_headers()
        self.wfile.write(PROBLEM)

    def _drain(self, left: int) -> None:
        while left:
            data = self.rfile.read(min(left, PIECE_BYTES))
            left -= len(data)
            type(self).received += len(data)


class FakeServer(ThreadingMixIn, UnixStreamServer):
    """One thread a connection."""

    daemon_threads = True


@contextmanager
def fake_admin() -> Iterator[Path]:
    """The socket of a daemon that reads uploads, and keeps none."""
    FakeAdmin.received = 0
    with short_directory() as directory:
        socket = directory / "admin.sock"
        with FakeServer(str(socket), FakeAdmin) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield socket
            finally:
                server.shutdown()
                thread.join()


def test_a_directory_is_packed_to_the_size_that_was_said(tmp_path: Path) -> None:
    """The daemon knows before the first byte whether it takes so many."""
    bundle = make_bundle(tmp_path / "tiny")

    with open_upload(bundle.path) as upload:
        data = b"".join(upload.pieces)
    arrived = unpack(io.BytesIO(data), tmp_path)

    assert upload.size == len(data)
    assert read_bundle(arrived).digest == bundle.digest


@pytest.mark.parametrize("pack", [pack_tar, pack_zip])
def test_an_archive_travels_as_it_is(tmp_path: Path, pack: object) -> None:
    """From a file with its size, from a stream without."""
    path = tmp_path / "archive"
    assert callable(pack)
    path.write_bytes(pack(files_of(make_bundle(tmp_path / "tiny").path)))

    with open_upload(path) as upload:
        assert b"".join(upload.pieces) == path.read_bytes()
        assert upload.size == path.stat().st_size
    with path.open("rb") as stream, open_upload(stream) as upload:
        assert b"".join(upload.pieces) == path.read_bytes()
        assert upload.size is None


def test_what_is_no_bundle_does_not_travel(tmp_path: Path) -> None:
    """Each with what was expected, and none of them is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path, error, words in (
        (tmp_path, BundleCorrupt, "found no manifest.json"),
        (tmp_path / "absent", InvalidValue, "No such file"),
        (tmp_path / "pipe", InvalidValue, "found a pipe or a device"),
    ):
        with pytest.raises(error, match=words), open_upload(path):
            pass


@pytest.mark.parametrize("sized", [True, False], ids=["file", "stream"])
def test_a_large_bundle_is_never_in_memory_as_a_whole(tmp_path: Path, sized: bool) -> None:
    """200 MB go over the socket in a few: sparse here, so that the disk is spared."""
    path = tmp_path / "bundle.tar"
    with path.open("wb") as file:
        file.truncate(LARGE_BYTES)
    with fake_admin() as socket, AdminClient(socket) as client, path.open("rb") as stream:
        tracemalloc.start()
        try:
            with pytest.raises(BundleCorrupt, match="all zeros"):
                client.install_model(path if sized else stream)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert FakeAdmin.received == LARGE_BYTES
    assert peak < 16 * PIECE_BYTES  # a few pieces here, and a few in the fake


def test_nothing_of_the_starter_is_left_behind(tmp_path: Path) -> None:
    """The bundle that is built in can be taken elsewhere."""
    with open_upload(STARTER) as upload:
        arrived = unpack(_Stream(upload.pieces), tmp_path)

    assert read_bundle(arrived).digest == read_bundle(STARTER).digest


class _Stream:
    """Pieces, read as a file is."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
