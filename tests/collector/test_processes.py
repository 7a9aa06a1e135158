"""Several real processes on one database, and one that is killed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from tests.collector.boxes import (
    CANARY,
    Box,
    collector_process,
    count_rows,
    erasure,
    new_box,
    open_client,
    record,
)
from tests.collector.conftest import StartCollector
from training.collector.database import Database
from training.collector.models import Correction, RecordId

BATCHES, BATCH = 25, 20


@pytest.fixture
def two(address: str, start_collector: StartCollector, tmp_path: Path) -> Iterator[list[str]]:
    """The addresses of two collectors on one database: a process of its own, and this one."""
    with collector_process(address, tmp_path) as other:
        yield [start_collector(), other.url]


def test_two_processes_take_the_same_batches_once(two: list[str], database: Database) -> None:
    """Both get every batch at the same time, some in another order: each id is accepted once."""
    records = [record(n) for n in range(300)]
    device = new_box(database, open_client(), "nas-1")

    def send(number: int) -> dict[str, str]:
        mixed = random.Random(number).sample(records, len(records))
        with open_client(two[number % 2]) as client:
            statuses = Box(device.device, device.token, client).send(mixed)
        return {one["id"]: status for one, status in zip(mixed, statuses, strict=True)}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    for one in records:
        assert sorted(a[one["id"]] for a in answers) == ["accepted"] + ["duplicate"] * 7
    assert count_rows(database) == 300


def test_corrections_and_their_erasures_race_without_a_trace(
    two: list[str], database: Database
) -> None:
    """Sent at the same time to two processes, in any order: in the end each is erased."""
    records = [record(n) for n in range(100)]
    device = new_box(database, open_client(), "nas-1")
    bodies = [records, [erasure(one["id"]) for one in reversed(records)]] * 3

    def send(number: int) -> list[str]:
        with open_client(two[number % 2]) as client:
            return Box(device.device, device.token, client).send(bodies[number])

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))

    assert all(status != "rejected" for answer in answers for status in answer)
    assert count_rows(database) == 0
    with database.read() as connection:
        assert connection.scalars(sa.select(RecordId.fate).distinct()).all() == ["erased"]


def test_a_killed_collector_loses_nothing_that_it_acknowledged(
    address: str, database: Database, start_collector: StartCollector, tmp_path: Path
) -> None:
    """SIGKILL in the middle of batches; what was answered is there, and sent again it is once."""
    device = new_box(database, open_client(), "nas-1")
    sent = [[record(n) for n in range(BATCH)] for _ in range(BATCHES)]
    acknowledged = send_until_killed(address, device, tmp_path, sent)

    with database.read() as connection:
        stored = set(connection.scalars(sa.select(Correction.id)))
    assert acknowledged <= stored
    with open_client(start_collector()) as client:
        box = Box(device.device, device.token, client)
        statuses = {status for records in sent for status in box.send(records)}
    assert statuses == {"accepted", "duplicate"}
    assert count_rows(database) == BATCHES * BATCH


def send_until_killed(
    address: str, device: Box, directory: Path, batches: list[list[dict[str, Any]]]
) -> set[str]:
    """Four threads send to a collector that is killed after some batches; the ids answered."""
    acknowledged: set[str] = set()
    enough = threading.Event()
    goal = random.randint(3, 12) * BATCH

    def send(url: str, records: list[dict[str, Any]]) -> None:
        with open_client(url) as client:
            results = Box(device.device, device.token, client).send(records)
        acknowledged.update(str(r["id"]) for r in records)
        assert set(results) == {"accepted"}
        if len(acknowledged) >= goal:
            enough.set()

    with (
        collector_process(address, directory, name="victim") as collector,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = [pool.submit(send, collector.url, records) for records in batches]
        assert enough.wait(60)
        collector.process.kill()
        failures = [answer.exception(60) for answer in answers]
    assert all(f is None or isinstance(f, httpx2.HTTPError) for f in failures)
    assert any(failures), "the kill came too late to test anything"
    return acknowledged


def test_one_port_may_be_served_by_several_processes(
    postgresql_address: str, tmp_path: Path
) -> None:
    """They share the port and count together; none logs a text or a token."""
    database = Database.open(postgresql_address)
    device = new_box(database, open_client(), "nas-1")
    records = [record(n) for n in range(100)]

    with collector_process(postgresql_address, tmp_path, "--processes", "2") as collector:

        def send(_: int) -> list[str]:
            with open_client(collector.url) as client:
                return Box(device.device, device.token, client).send(records)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(16)))
        metrics = httpx2.get(f"{collector.url}/metrics").text

    assert sum(answer.count("accepted") for answer in answers) == 100
    assert count_rows(database) == 100
    assert 'collector_records_total{status="accepted"} 100.0' in metrics
    assert 'collector_records_total{status="duplicate"} 1500.0' in metrics
    log = collector.log.read_text()
    assert "/v1/records" in log
    assert CANARY not in log
    assert device.token not in log
    database.close()
