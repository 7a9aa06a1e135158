"""What may lie in an archive: a bundle's own files, once each, and nothing else.

It reads no format; `edge.models.tarball`, `zipball` and `folder` do, and hand their entries here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from edge.bundle import CARD, MANIFEST, MAX_MANIFEST_BYTES, MODEL, SELFTEST, SIGNATURE, TOKENIZER
from edge.errors import BundleCorrupt

__all__ = ["COPY_BYTES", "LIMITS_BYTES", "Admission", "Entry", "Readable", "read_exactly", "refuse"]

COPY_BYTES = 1 << 20
LIMITS_BYTES: Mapping[str, int] = {
    MANIFEST: MAX_MANIFEST_BYTES,
    SIGNATURE: 4 << 10,
    MODEL: (2 << 30) - 1,  # protobuf's own limit: a self-contained graph cannot be larger
    TOKENIZER: 64 << 20,
    SELFTEST: 16 << 20,
    CARD: 1 << 20,
}
"""The files of a bundle, and how large each may be."""
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_SHOWN_CHARS = 60


class Readable(Protocol):
    """Where an archive's bytes come from: a file, a pipe, a request's body."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of an archive, as its format tells it; nothing about it is trusted yet."""

    path: bytes
    size: int
    """Bytes."""
    chunks: Iterator[bytes]
    """The content: exactly `size` bytes, or `BundleCorrupt` on the way."""
    is_folder: bool = False


class Admission:
    """Decides which entries of one archive come in.

    A bundle is flat. Its files stand at the root, or in one folder, whose name is not used: that
    is how `tar -cf bundle.tar bundle/` and the file managers pack.
    """

    def __init__(self) -> None:
        self._folder: str | None = None
        self._seen: set[str] = set()

    def admit_file(self, path: bytes, size: int) -> str:
        """The file's name, if it may come in.

        Raises:
            BundleCorrupt: Another name than a bundle's files have, a second one, or too large.
        """
        folder, _, name = _plain(path).rpartition("/")
        self._stay_in(folder, path)
        if name not in LIMITS_BYTES:
            refuse(f"expected only {', '.join(LIMITS_BYTES)}, found {_show(path)}")
        if name in self._seen:
            refuse(f"expected every file once, found {name} twice")
        if size > LIMITS_BYTES[name]:
            refuse(f"expected at most {LIMITS_BYTES[name]} bytes for {name}, found {size}")
        self._seen.add(name)
        return name

    def admit_folder(self, path: bytes) -> None:
        """Let the one folder pass.

        Raises:
            BundleCorrupt: A second one, or one within another.
        """
        plain = _plain(path).rstrip("/")
        if plain not in ("", "."):
            self._stay_in(plain, path)

    def _stay_in(self, folder: str, path: bytes) -> None:
        if folder and not FOLDER.fullmatch(folder):
            refuse(f"expected files at the root or in one folder, found {_show(path)}")
        if self._folder not in (None, folder):
            refuse(f"expected all files in one place, found {_show(path)} elsewhere")
        self._folder = folder


def refuse(problem: str) -> NoReturn:
    """Turn an archive away.

    Raises:
        BundleCorrupt: Always.
    """
    raise BundleCorrupt(
        f"the archive is no bundle: {problem}; pack the bundle's directory again, "
        "as it came from intentd-export, with tar or zip"
    )


def read_exactly(stream: Readable, size: int) -> bytes:
    """That many bytes.

    Raises:
        BundleCorrupt: The archive ends before.
    """
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(missing)
        if not part:
            refuse(f"it breaks off: {missing} bytes are missing")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _plain(path: bytes) -> str:
    """The path as text, without a leading `./`."""
    if not path.isascii() or not path.decode("ascii").isprintable():
        refuse(f"expected plain file names, found {_show(path)}")
    plain = path.decode("ascii").removeprefix("./")
    if plain.startswith("/"):
        refuse(f"expected relative paths, found {_show(path)}")
    return plain


def _show(path: bytes) -> str:
    return ascii(path.decode("utf-8", errors="replace"))[:MAX_SHOWN_CHARS]
