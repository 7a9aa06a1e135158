"""`intentd-collect` as a person runs it."""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collector.boxes import (
    CANARY,
    ROOT,
    Box,
    collector_process,
    erasure,
    new_box,
    open_client,
    record,
    run_cli,
)
from training.collector.database import Database

COMMANDS = ("serve", "device", "stats", "export", "erase", "used", "migrate")


def test_one_box_from_nothing_to_a_data_set(tmp_path: Path) -> None:
    """The quick start: a token, a collector, corrections, an export; SQLite makes itself."""
    path = tmp_path / "state" / "collector.db"
    address = f"sqlite:///{path}"

    token = run_cli(address, "device", "add", "nas-1").stdout.strip()
    with (
        collector_process(address, tmp_path) as collector,
        open_client(collector.url) as client,
    ):
        box = Box("nas-1", token, client)
        records = [record(n) for n in range(3)]
        assert box.send([*records, erasure(records[0]["id"])]) == [
            "duplicate",
            "accepted",
            "accepted",
            "accepted",
        ]
        exported = run_cli(address, "export", "--suppressed", str(tmp_path / "suppressed"))
        assert run_cli(address, "device", "revoke", "nas-1").returncode == 0
        assert box.post([record()]).status_code == 401
        log = collector.log.read_text()

    ids = {json.loads(line)["id"] for line in exported.stdout.splitlines()}
    assert ids == {one["id"] for one in records[1:]}
    assert (tmp_path / "suppressed").read_text().split() == [records[0]["id"]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert CANARY not in log
    assert token not in log
    assert all(json.loads(line)["event"] for line in log.splitlines())


def test_what_was_erased_is_in_no_byte_of_the_file(sqlite_address: str, tmp_path: Path) -> None:
    """Neither in the database nor in its write-ahead log, while the collector runs on."""
    database = Database.open(sqlite_address)
    with (
        collector_process(sqlite_address, tmp_path) as collector,
        open_client(collector.url) as client,
    ):
        box = new_box(database, client, "nas-1")
        secret = record(text="the secret " * 2000)
        box.send([record(), secret, record()])
        files = [path for path in tmp_path.iterdir() if path.name.startswith("collector.db")]
        assert any(b"the secret" in path.read_bytes() for path in files)

        box.send([erasure(secret["id"])])

        assert not any(b"the secret" in path.read_bytes() for path in files)
    database.close()


def test_rows_that_sqlite_moved_leave_no_copy_once_it_is_swept(tmp_path: Path) -> None:
    """Overwriting what is deleted is not enough: rows were copied to other pages before."""
    database, chance = Database.open(f"sqlite:///{tmp_path / 'c.db'}"), random.Random(1)
    erased: set[bytes] = set()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a TEXT PRIMARY KEY)")
    for _ in range(4):
        lot = [f"w{chance.randrange(10**12)}w{'x' * chance.randrange(900)}" for _ in range(150)]
        with database.engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (?)", [(one,) for one in lot])
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM t WHERE a = ?", [(one,) for one in lot[::2]])
        erased |= {one.rstrip("x").encode() for one in lot[::2]}

    assert database.sweep()

    database.close()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert erased.isdisjoint(re.findall(rb"w\d+w", files))


def test_used_marks_and_names_what_was_erased(
    address: str, database: Database, box: Box, tmp_path: Path
) -> None:
    """Exit 1 where the build must be made anew."""
    records = [record(n) for n in range(3)]
    box.send(records)
    ids = "\n".join(one["id"] for one in records)

    good = run_cli(address, "used", "b1", "--json", stdin=ids + "\n\n")
    box.send([erasure(records[0]["id"])])
    bad = run_cli(address, "used", "b2", stdin=ids)

    assert json.loads(good.stdout) == {"used": 3, "erased": [], "unknown": []}
    assert bad.returncode == 1
    assert records[0]["id"] in bad.stderr
    assert run_cli(address, "used", "b3", stdin="nonsense").returncode == 2


def test_an_operator_may_erase_and_count(
    address: str, box: Box, other_box: Box, tmp_path: Path
) -> None:
    """By id, from stdin, or all of one device; the counts follow."""
    mine, theirs = [record(n) for n in range(4)], [record(n, label="B") for n in range(2)]
    box.send([*mine, record(5, kind="confirmation")])
    other_box.send(theirs)

    assert run_cli(address, "erase", mine[0]["id"]).stdout == "erased 1\n"
    assert run_cli(address, "erase", "-", stdin=mine[1]["id"]).stdout == "erased 1\n"
    assert run_cli(address, "erase", "--device", "nas-2").stdout == "erased 2\n"
    assert run_cli(address, "erase").returncode == 2

    assert other_box.send(theirs) == ["duplicate"] * 2
    found = json.loads(run_cli(address, "stats", "--json").stdout)
    assert found["classes"] == [
        {"label": "SEARCH_ONLY", "corrections": 2, "confirmations": 1, "total": 3, "target": 500}
    ]
    assert found["erased"] == 4
    assert {one["id"]: one["records"] for one in found["devices"]} == {"nas-1": 5, "nas-2": 2}
    assert 0 <= found["devices"][0]["lag_s"] < 600


def test_parquet_comes_from_the_command_line(address: str, box: Box, tmp_path: Path) -> None:
    """Into a file; the rows are counted on stderr, stdout stays empty."""
    box.send([record(n) for n in range(3)])
    out = tmp_path / "all.parquet"

    done = run_cli(address, "export", "--format", "parquet", "--out", str(out))

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "3 rows, 0 erased ids\n"
    assert out.read_bytes()[:4] == b"PAR1"
    assert run_cli(address, "export", "--format", "csv").returncode == 2


def test_postgresql_is_never_migrated_unasked(postgresql: str, postgresql_address: str) -> None:
    """`serve` says what to do and exits 3; `migrate` says what it did."""
    refused = run_cli(postgresql, "serve", "--port", "0")

    assert refused.returncode == 3
    assert "intentd-collect migrate" in refused.stderr
    assert run_cli(postgresql_address, "migrate").stdout == "schema 0003 -> 0003\n"


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    """And help makes no database."""
    address = f"sqlite:///{tmp_path / 'x.db'}"
    shown = run_cli(address, "--help").stdout

    assert all(command in shown for command in COMMANDS)
    for command in COMMANDS:
        assert "Example: intentd-collect" in run_cli(address, command, "--help").stdout
    assert not (tmp_path / "x.db").exists()


def test_help_loads_nothing_heavy() -> None:
    """Whoever only asks for help does not wait for the database's libraries."""
    code = "import sys, training.collector.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert {"sqlalchemy", "alembic", "pyarrow", "uvicorn"}.isdisjoint(loaded.stdout.split())
    assert "training.collector.cli" in loaded.stdout


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    """Not in an error either."""
    failed = run_cli("postgresql://me:hunter2@127.0.0.1:1/x", "stats")

    assert failed.returncode == 3
    assert "hunter2" not in failed.stderr + failed.stdout
    assert "database" in failed.stderr


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The path and the reason."""
    (tmp_path / "file").write_text("")

    failed = run_cli(f"sqlite:///{tmp_path / 'file' / 'collector.db'}", "stats")

    assert failed.returncode == 3
    assert str(tmp_path / "file") in failed.stderr


def test_sqlite_is_kept_as_durable_as_promised(sqlite_address: str) -> None:
    """Every connection has WAL, FULL and secure_delete; read back, not assumed."""
    database = Database.open(sqlite_address, connections=3)
    with database.read() as one, database.read() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
            ]
            assert found == ["wal", 2, 1, 1]
    database.close()


def test_opening_it_once_more_keeps_the_locks_of_this_process(sqlite_address: str) -> None:
    """Else another process that ends would take the write-ahead log away from under it."""
    path = sqlite_address.removeprefix("sqlite:///")
    write = "INSERT INTO builds VALUES ('b', '2026-11-22')"
    other = f"import sqlite3; c = sqlite3.connect({path!r}); c.execute({write!r}); c.commit()"
    database = Database.open(sqlite_address)
    with database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM builds").fetchall()
        Database.open(sqlite_address).close()
        subprocess.run([sys.executable, "-c", f"{other}; c.close()"], check=True)

        assert Path(f"{path}-wal").exists()
    database.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_nobody_else_reads_the_file(sqlite_address: str) -> None:
    """The mode holds whatever the umask is."""
    path = Path(sqlite_address.removeprefix("sqlite:///"))

    assert sqlite3.connect(path).execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
