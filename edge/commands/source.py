"""Arguments that name a bundle: a path on this machine, or the digest of an installed one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import InvalidValue
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need it
    from edge.bundle import Manifest

__all__ = ["is_path", "opened", "read_path_manifest", "trusted_keys"]

DIGEST = re.compile(r"[0-9a-f]{6,64}|configured")


def is_path(argument: str) -> bool:
    """Whether it is a path and not a digest.

    Raises:
        InvalidValue: It can be neither.
    """
    if "/" in argument or Path(argument).exists():
        return True
    if not DIGEST.fullmatch(argument):
        raise InvalidValue(
            f"{argument!r}: expected a path, or 6 or more digits of an installed bundle's digest, "
            "found neither; intentd model list shows the digests"
        )
    return False


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The bundle's directory; an archive is unpacked, strictly, for as long as the block lasts.

    Raises:
        BundleCorrupt: It is no archive of one bundle.
        InvalidValue: There is no such path.
    """
    if not path.exists():
        raise InvalidValue(f"{path}: expected a bundle's directory, .tar or .zip, found nothing")
    if path.is_dir():
        yield path
        return
    from edge.models.archive import unpack

    with tempfile.TemporaryDirectory(prefix="intentd-") as staging:
        yield unpack(path, Path(staging))


def read_path_manifest(path: Path) -> Manifest:
    """The manifest of a bundle's directory or archive.

    Raises:
        BundleCorrupt: There is none that can be read.
        BundleIncompatible: It is of another schema.
    """
    from edge.bundle import read_manifest

    with opened(path) as folder:
        return read_manifest(folder)


def trusted_keys(settings: Settings) -> Path | None:
    """Whose signature a bundle must carry; None: nobody's."""
    return None if settings.trusted_keys == Path() else settings.trusted_keys
