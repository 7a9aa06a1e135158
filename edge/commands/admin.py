"""What the commands for administrators share: opening admin.sock, and saying why it is closed.

It decides no exit code.
"""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.client import AdminClient
from edge.errors import DaemonUnreachable, EdgeError
from edge.settings import Settings
from edge.wire import CorrectionDetail

__all__ = ["admin_client", "corrections", "read_counts"]

PAGE = 200


@contextmanager
def admin_client(settings: Settings) -> Iterator[AdminClient]:
    """A client of admin.sock.

    Raises:
        DaemonUnreachable: Nobody answers there, or this user may not connect.
    """
    with AdminClient(settings.admin_socket) as client:
        try:
            yield client
        except DaemonUnreachable as error:
            raise DaemonUnreachable(_why_closed(client.socket) or str(error)) from error


def corrections(
    client: AdminClient, after: int = 0, label: str | None = None, kind: str | None = None
) -> Iterator[CorrectionDetail]:
    """Every correction in the order they were made, read page by page."""
    page: int | None = after
    while page is not None:
        answer = client.corrections(after=page, limit=PAGE, label=label, kind=kind)
        yield from answer.corrections
        page = answer.next


def read_counts(settings: Settings) -> dict[str | None, int] | None:
    """Examples of each label, confirmations included; None where admin.sock does not tell us."""
    with suppress(EdgeError), AdminClient(settings.admin_socket) as client:
        return {row.label: row.corrections + row.confirmations for row in client.stats().per_label}
    return None


def _why_closed(socket: Path) -> str | None:
    """What keeps this user out, if it is a matter of permission."""
    user = _user_name()
    try:
        group = _group_name(socket.stat().st_gid)
    except PermissionError:
        return f"{socket}: your user ({user}) may not enter {socket.parent}; ask its owner"
    except OSError:
        return None
    if os.access(socket, os.R_OK | os.W_OK):
        return None
    return (
        f"{socket}: expected a member of group {group}, found your user ({user}), who is not; "
        f"add it (usermod -aG {group} {user}) and log in again, or ask an administrator"
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
