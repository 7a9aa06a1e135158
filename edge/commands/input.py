"""Where the command line gets its texts from: a whole file, its lines, or JSON Lines; `-` is stdin.

A row that cannot be read becomes an item that says why, so that the rows after it are still read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edge.errors import EdgeError, InvalidText, InvalidValue, MalformedBody

__all__ = ["STDIN", "Item", "read_lines", "read_rows", "read_text"]

STDIN = Path("-")
BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8


@dataclass(frozen=True, slots=True)
class Item:
    """One text to classify, or the reason why there is none."""

    text: str
    content: str | None = None
    passed_on: Mapping[str, Any] = field(default_factory=dict)
    """The row's other fields, which come back with the answer."""
    problem: EdgeError | None = None
    size_bytes: int = 0
    """What the row took of its file."""


def read_text(path: Path) -> str:
    """The whole file as one text.

    Raises:
        InvalidText: It is not UTF-8.
        InvalidValue: It cannot be opened.
    """
    if path == STDIN and sys.stdin.isatty():
        sys.stderr.write("reading the text from the terminal; end it with Ctrl-D\n")
    with _opened(path) as stream:
        return _decode(stream.read(), str(path))


def read_lines(path: Path) -> Iterator[Item]:
    """One text a line; blank lines are skipped. Raises as `read_text`."""
    for number, line in _numbered(path):
        try:
            yield Item(_decode(line, f"line {number}").strip(), size_bytes=len(line))
        except InvalidText as problem:
            yield Item("", problem=problem, size_bytes=len(line))


def read_rows(path: Path) -> Iterator[Item]:
    """One JSON object a line: `text`, perhaps `content`, and fields that are passed on.

    Raises:
        InvalidValue: The file cannot be opened.
    """
    for number, line in _numbered(path):
        where = f"line {number}"
        row: dict[str, Any] = {}
        try:
            row = _row_of(line, where)
            text, content = row.pop("text", None), row.pop("content", None)
            if not isinstance(text, str) or not isinstance(content, str | None):
                raise InvalidValue(f'{where}: expected {{"text": string, "content": string}}')
            yield Item(text, content, row, size_bytes=len(line))
        except EdgeError as problem:
            yield Item("", None, row, problem, len(line))


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, counted from 1 as an editor does."""
    with _opened(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, line


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InvalidValue(f"{path}: expected a file to read, found: {error.strerror}") from error
    with stream:
        yield stream


def _decode(data: bytes, where: str) -> str:
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidText(
            f"{where}: expected text in UTF-8, found byte 0x{data[error.start]:02x} at "
            f"{error.start}; convert it first (iconv -t UTF-8)"
        ) from None  # the error holds the text


def _row_of(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(_decode(line, where), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedBody(f"{where}: expected one JSON object, found something else") from None
    if not isinstance(row, dict):
        raise MalformedBody(f"{where}: expected a JSON object, found a {type(row).__name__}")
    return row


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and its kin are not JSON
