"""Reads this device's token from a file that nobody else may read; never shows it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edge.errors import InvalidSettings

__all__ = ["CREDENTIAL", "read_token"]

CREDENTIAL = "sync-token"
"""Its name in `$CREDENTIALS_DIRECTORY`, as the unit passes it (`LoadCredential=`)."""
MAX_TOKEN_BYTES = 4096


def read_token(token_file: Path | None, environ: Mapping[str, str] | None = None) -> str:
    """The token.

    Args:
        token_file: The file; None means systemd's credential.
        environ: The environment to look in; None means the process's own.

    Raises:
        InvalidSettings: No file, one that others may read, or one that holds something else.
    """
    environment = os.environ if environ is None else environ
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if token_file is not None:
        return _read(token_file, stat.S_IRWXG | stat.S_IRWXO)
    if directory:
        # Others alone: where systemd grants access by an ACL, the group's bits show the ACL's mask.
        return _read(Path(directory) / CREDENTIAL, stat.S_IRWXO)
    raise InvalidSettings(
        "expected this device's token, found none; write what `intentd-collect device add` printed "
        "into a file with mode 0600, and name it as token_file under [sync]"
    )


def _read(path: Path, forbidden: int) -> str:
    try:
        with path.open("rb") as file:
            found = os.fstat(
                file.fileno()
            )  # of what is read, not of what lies there a moment later
            _check_mode(path, found.st_mode, forbidden)
            content = file.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot read the token: {error.strerror}") from None
    token = content.strip()
    if not token or len(content) > MAX_TOKEN_BYTES or not all(33 <= byte <= 126 for byte in token):
        raise InvalidSettings(
            f"{path}: expected one token (visible ASCII, no blanks), found something else; "
            "write what `intentd-collect device add` printed into it"
        )
    return token.decode("ascii")


def _check_mode(path: Path, mode: int, forbidden: int) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidSettings(f"{path}: expected a file that holds the token, found something else")
    if mode & forbidden:
        raise InvalidSettings(
            f"{path}: expected a file that only its owner may read, found mode "
            f"{stat.S_IMODE(mode):04o}; run chmod 600 {path}, and get a new token if others use "
            "this machine"
        )
