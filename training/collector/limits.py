"""What one request may cost: bytes as they come, bytes once decompressed, and how often."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from edge.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding
from training.collector.errors import BodyIncomplete, RateLimited

__all__ = ["TokenBuckets", "decompress", "read_body"]

GZIP = "gzip"
ENCODINGS = frozenset({"identity", GZIP})
GZIP_WINDOW = 31  # zlib's way to say: with gzip's header and checksum
TOO_LARGE = "a body holds at most {limit} bytes {state}; send fewer records at once"


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> tuple[bytes, str]:
    """The body as it came, and its encoding; counted while it comes.

    Raises:
        UnsupportedEncoding: Neither plain nor gzip.
        BodyTooLarge: More than `max_bytes`, announced or not.
        BodyIncomplete: It did not come in time.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise UnsupportedEncoding("Content-Encoding: expected gzip or none, found something else")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise BodyTooLarge(TOO_LARGE.format(limit=max_bytes, state="as sent"))
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_all(request, max_bytes), encoding
    except TimeoutError:
        # Not 400: a slow line would make a box take its records for poison.
        raise BodyIncomplete(
            f"the body did not come within {timeout_s:g} s; send it anew"
        ) from None


async def _read_all(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(TOO_LARGE.format(limit=max_bytes, state="as sent"))
    return bytes(body)


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The plain body; a bomb costs no more than `max_bytes` of memory.

    Raises:
        BodyTooLarge: It would hold more than `max_bytes`.
        MalformedBody: Not gzip, cut off, or followed by something else.
    """
    if encoding != GZIP:
        if len(body) > max_bytes:
            raise BodyTooLarge(TOO_LARGE.format(limit=max_bytes, state="decompressed"))
        return body
    engine = zlib.decompressobj(GZIP_WINDOW)
    try:
        plain = engine.decompress(body, max_bytes + 1)
    except zlib.error:
        raise MalformedBody("Content-Encoding: expected gzip, found something else") from None
    if len(plain) > max_bytes:
        raise BodyTooLarge(TOO_LARGE.format(limit=max_bytes, state="decompressed"))
    if not engine.eof or engine.unused_data:
        raise MalformedBody("the gzip body is cut off, or something follows it; send it anew")
    return plain


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class TokenBuckets:
    """One bucket a device, in this process; there are never more than devices with a token."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, device_id: str) -> None:
        """Take one request out of the device's bucket.

        Raises:
            RateLimited: It is empty; `retry_after_s` says when it will not be.
        """
        if self._per_s <= 0:
            return
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault(device_id, _Bucket(self._burst, now))
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return
            wait_s = int((1 - bucket.tokens) / self._per_s) + 1
        raise RateLimited(
            f"this device asks more than {self._per_s * 60:g} times a minute; "
            f"ask again in {wait_s} s, with more records at once",
            wait_s,
        )
