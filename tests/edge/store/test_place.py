"""Where the databases may live."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlite_utils.db

from edge.errors import StoreUnavailable
from edge.store.database import has_wal_reset_bug, sqlite3
from edge.store.place import filesystem_type, free_bytes, refuse_network

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:40 / /mnt rw - tmpfs tmpfs rw
23 22 0:41 / /mnt/nas\\040box rw master:2 - nfs4 host:/share rw
24 21 0:42 / /srv rw - btrfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [("/mnt/nas box/state", "nfs4"), ("/mnt/nas", "tmpfs"), ("/srv", "btrfs"), ("/var/x", "ext4")],
)
def test_the_innermost_mount_tells_the_file_system(
    tmp_path: Path, directory: str, kind: str
) -> None:
    """Names with blanks in them too; a name that only begins like a mount is not below it."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert filesystem_type(Path(directory), mounts) == kind


def test_an_unknown_file_system_is_not_refused(tmp_path: Path) -> None:
    """Where the kernel does not tell, SQLite's own settings are read back all the same."""
    assert filesystem_type(tmp_path, tmp_path / "missing") == ""
    refuse_network("", tmp_path)
    refuse_network("btrfs", tmp_path)
    assert free_bytes(tmp_path) > 0
    assert free_bytes(tmp_path / "missing") == 0


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_network_file_systems_are_refused_by_name(kind: str) -> None:
    """The message says which, where, and what to do."""
    with pytest.raises(StoreUnavailable, match=f"found {kind} at /share; .* local disk"):
        refuse_network(kind, Path("/share"))


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [
        ((3, 40, 1), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 54, 1), False),
    ],
)
def test_versions_with_the_race_are_known(version: tuple[int, ...], is_affected: bool) -> None:
    """Fixed in three branches."""
    assert has_wal_reset_bug(version) is is_affected


def test_there_is_one_sqlite_in_the_program() -> None:
    """The one that sqlite-utils chose; a second library would drop the first one's locks."""
    assert sqlite3 is sqlite_utils.db.__dict__["sqlite3"]
