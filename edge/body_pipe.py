"""A request's body as a stream for a thread: what reads it blocks, and the event loop does not.

It holds a few pieces at a time, however large the body is.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from edge.errors import BodyTooLarge, InvalidValue, UnsupportedEncoding

__all__ = ["receive"]

Result = TypeVar("Result")
PIECES = 8
POLL_S = 0.1


class _Pipe:
    """What the event loop puts in, one thread reads."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(PIECES)
        self._rest = b""
        self._is_ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises what `put` was given."""
        while not self._rest and not self._is_ended:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            self._rest, self._is_ended = piece, not piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def put(self, piece: bytes | BaseException, is_over: Callable[[], bool]) -> None:
        """Wait for room, as long as anybody reads; an empty piece is the end."""
        while not is_over():
            try:
                self._pieces.put(piece, timeout=POLL_S)
            except queue.Full:
                continue
            return


async def receive(request: Request, max_bytes: int, take: Callable[[_Pipe], Result]) -> Result:
    """Let `take` read the body in a thread; its result.

    What is left of a body that it refuses, the server reads and drops.

    Raises:
        BodyTooLarge: It holds more than `max_bytes`.
        UnsupportedEncoding: It is compressed on its way.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("Content-Encoding: expected none; send the archive as it is")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    pipe = _Pipe()
    taking = asyncio.get_running_loop().run_in_executor(None, take, pipe)
    try:
        await _fill(pipe, request, max_bytes, taking.done)
    except BaseException as error:
        cut = InvalidValue("the archive broke off on its way; send it again")
        await asyncio.to_thread(pipe.put, cut, taking.done)
        await asyncio.wait((taking,))
        taking.exception()
        raise error
    return await taking


async def _fill(pipe: _Pipe, request: Request, max_bytes: int, is_over: Callable[[], bool]) -> None:
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        if piece:
            await asyncio.to_thread(pipe.put, piece, is_over)
        if is_over():
            return
    await asyncio.to_thread(pipe.put, b"", is_over)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"a bundle's archive holds at most {max_bytes} bytes (the setting max_bundle_bytes); "
        "this one has more"
    )
