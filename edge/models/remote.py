"""Where bundles are published: an HTTPS server, an S3 bucket or a directory, read from any offset.

It knows neither indexes nor bundles, and believes nothing it reads; that is `edge.models.pull`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import httpx2

from edge.errors import InvalidValue, NotFound, SyncRefused, Unavailable
from edge.models.entries import COPY_BYTES

__all__ = ["Remote", "open_remote"]

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
MAX_REDIRECTS = 5
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FILE_SYSTEMS = ("file", "s3")
Stream = tuple[int, Iterator[bytes]]
"""The offset at which the bytes start, and the bytes."""


class Remote(Protocol):
    """A place with files, named by relative paths."""

    def open(self, name: str, offset: int) -> AbstractContextManager[Stream]:
        """Read a file from `offset`, or from its start where the place cannot do that.

        Raises:
            NotFound: There is no such file.
            SyncRefused: It may not be read.
            Unavailable: The connection failed, now or while the bytes are read; ask again.
        """
        ...


@contextmanager
def open_remote(location: str) -> Iterator[Remote]:
    """Opens the place at an `https://`, `s3://` or `file://` address.

    Plain `http://` is taken for this machine only: whoever stands between could hold a newer
    model back.

    Raises:
        InvalidValue: Another kind of address, or what it needs is not installed.
    """
    scheme = location.partition("://")[0].lower()
    if scheme in ("https", "http"):
        with _open_client() as client:
            yield _HttpRemote(location, client)
    elif scheme in FILE_SYSTEMS:
        yield _FileRemote(location)
    else:
        raise InvalidValue("location: expected an https://, s3:// or file:// address")


class _HttpRemote:
    def __init__(self, location: str, client: httpx2.Client) -> None:
        try:
            self._base = httpx2.URL(location)
        except httpx2.InvalidURL as error:
            raise InvalidValue(f"location: not an address: {error}") from error
        _check_transport(self._base)
        self._client = client

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Stream]:
        url = self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{name}")
        # Compressed on the way, an offset would count other bytes than those that are kept.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = self._client.build_request("GET", url, headers=headers)
        response = _call(lambda: self._client.send(request, stream=True), name)
        try:
            if response.status_code == 416 and offset:  # shorter than what lies here: start over
                with self.open(name, 0) as stream:
                    yield stream
            else:
                _check_status(response, name)
                # As it comes: what is gathered to larger pieces is lost where it breaks off.
                yield _start_of(response), _guarded(response.iter_raw(), name)
        finally:
            response.close()


class _FileRemote:
    """Whatever `fsspec` can read; of the network it is S3, by the package s3fs."""

    def __init__(self, location: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise _not_installed(location) from error
        self._files: Any
        try:
            self._files, path = url_to_fs(location)
        except ImportError as error:
            raise _not_installed(location) from error
        self._root = str(path).rstrip("/")

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Stream]:
        file = _call(lambda: self._files.open(f"{self._root}/{name}", "rb"), name)
        try:
            _call(lambda: file.seek(offset), name)
            yield offset, _guarded(iter(lambda: file.read(COPY_BYTES), b""), name)
        finally:
            file.close()


def _open_client() -> httpx2.Client:
    return httpx2.Client(
        timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        event_hooks={"request": [lambda request: _check_transport(request.url)]},
    )


def _not_installed(location: str) -> InvalidValue:
    scheme = location.partition("://")[0]
    return InvalidValue(
        f"location: {scheme}:// needs a package that is not installed; "
        "pip install s3fs, or give an https:// or file:// address"
    )


def _check_transport(url: httpx2.URL) -> None:
    if url.scheme != "https" and url.host not in LOOPBACK:
        raise InvalidValue(
            f"location: expected https://, found {url.scheme}:// to {url.host}; "
            "plain http is taken on this machine only"
        )


def _check_status(response: httpx2.Response, name: str) -> None:
    status = response.status_code
    if status in (401, 403):
        raise SyncRefused(f"{name}: the server says {status}; check the address and the access")
    if status in (404, 410):
        raise NotFound(f"{name}: the server says {status}; check the address")
    if status not in (200, 206):
        raise Unavailable(f"{name}: expected the file, the server says {status}; try again later")


def _start_of(response: httpx2.Response) -> int:
    """The offset of the first byte in this response: what the server says, not what was asked."""
    if response.status_code != 206:
        return 0
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if not start.isdigit():
        raise Unavailable("the server sent a part of a file and did not say which; try again")
    return int(start)


def _call(function: Callable[[], Any], name: str) -> Any:
    try:
        return function()
    except InvalidValue:  # from the check of where a redirect leads
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{name}: there is no such file; check the address") from error
    except PermissionError as error:
        raise SyncRefused(f"{name}: may not be read; check the access") from error
    except Exception as error:  # httpx2's own, OSError, and whatever the S3 client raises
        raise Unavailable(f"{name}: cannot be read now: {error}; try again later") from error


def _guarded(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    while chunk := _call(lambda: next(chunks, b""), name):
        yield chunk
