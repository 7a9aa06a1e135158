"""What a request may cost: bytes, bytes in disguise, time, and how often."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
import zlib

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import BodyTooLarge, MalformedBody
from tests.collector.boxes import batch, new_box, open_client, record
from tests.collector.conftest import StartCollector
from training.collector.database import Database
from training.collector.errors import RateLimited
from training.collector.limits import TokenBuckets, decompress

MIB = 1 << 20


def bomb(plain_bytes: int) -> bytes:
    """Very little that becomes very much."""
    return gzip.compress(b" " * plain_bytes, 9, mtime=0)


@given(st.binary(max_size=2000), st.integers(0, 3000))
def test_decompression_gives_back_what_was_compressed_or_refuses(body: bytes, cap: int) -> None:
    """Exactly up to the cap, and never beyond."""
    packed = gzip.compress(body, mtime=0)

    if len(body) <= cap:
        assert decompress(packed, "gzip", cap) == body
    else:
        with pytest.raises(BodyTooLarge, match=str(cap)):
            decompress(packed, "gzip", cap)


@given(st.binary(max_size=300), st.data())
def test_a_damaged_body_is_never_taken_for_a_whole_one(body: bytes, data: st.DataObject) -> None:
    """Cut off anywhere, or with something behind it: malformed."""
    packed = gzip.compress(body, mtime=0)
    cut = data.draw(st.integers(0, len(packed) - 1))

    for damaged in (packed[:cut], packed + b"x", packed + packed):
        with pytest.raises(MalformedBody):
            decompress(damaged, "gzip", 10_000)


def test_a_bomb_costs_no_more_than_the_cap() -> None:
    """64 MiB in 64 KiB take the memory of the cap, not their own."""
    packed = bomb(64 * MIB)
    tracemalloc.start()

    with pytest.raises(BodyTooLarge):
        decompress(packed, "gzip", MIB)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_each_cap_answers_413(start_collector: StartCollector, database: Database) -> None:
    """Too many bytes as sent, too many once decompressed, too many records: send less."""
    url = start_collector(max_body_bytes=20_000, max_decompressed_bytes=50_000, max_records=10)
    with open_client(url) as client:
        box = new_box(database, client, "nas-1")
        answers = [
            box.post_raw(b"x" * 20_001, compress=False),
            box.post_raw(bomb(MIB), compress=False, **{"Content-Encoding": "gzip"}),
            box.post([record(n, text="") for n in range(11)]),
        ]

        assert [a.status_code for a in answers] == [413] * 3
        assert {a.json()["code"] for a in answers} == {"body_too_large"}
        assert box.send([record(n) for n in range(10)]) == ["accepted"] * 10


def test_a_body_without_a_length_is_counted_as_it_comes(
    start_collector: StartCollector, database: Database
) -> None:
    """Chunks announce nothing; the cap holds all the same."""
    with open_client(start_collector(max_body_bytes=10_000)) as client:
        box = new_box(database, client, "nas-1")
        answer = client.post(
            "/v1/records",
            content=(b"x" * 1000 for _ in range(50)),
            headers={"Authorization": f"Bearer {box.token}"},
        )

    assert answer.status_code == 413


def test_only_gzip_is_undone(start_collector: StartCollector, database: Database) -> None:
    """Another encoding is 415, gzip that is none is 400, and none at all is fine."""
    with open_client(start_collector()) as client:
        box = new_box(database, client, "nas-1")
        plain = json.dumps(batch("nas-1", [record()])).encode()
        statuses = [
            box.post_raw(
                zlib.compress(plain), compress=False, **{"Content-Encoding": e}
            ).status_code
            for e in ("deflate", "gzip")
        ]

        assert statuses == [415, 400]
        assert box.post_raw(plain, compress=False).status_code == 200


def test_a_device_that_asks_too_often_waits_and_others_do_not(
    start_collector: StartCollector, database: Database
) -> None:
    """429 names the seconds; the bucket is the device's own."""
    with open_client(start_collector(rate_per_minute=1.0, burst=3)) as client:
        box, other = (new_box(database, client, f"nas-{n}") for n in (1, 2))

        answers = [box.get("/v1/cursor") for _ in range(4)]

        assert [a.status_code for a in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[3].headers["retry-after"]) <= 60
        assert answers[3].json()["code"] == "rate_limited"
        assert other.send([record()]) == ["accepted"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 10))
def test_a_bucket_never_lets_more_through_than_burst_and_rate(
    pauses: list[float], burst: int
) -> None:
    """And after the seconds that a refusal names, it lets one through."""
    now, passed, refused_for = 0.0, 0, 0
    buckets = TokenBuckets(per_minute=6, burst=burst, clock=lambda: now)
    for pause in pauses:
        now += pause
        try:
            buckets.take("nas-1")
            passed, refused_for = passed + 1, 0
        except RateLimited as error:
            refused_for = error.retry_after_s
    assert passed <= burst + now * 6 / 60 + 1e-6
    if refused_for:
        now += refused_for
        buckets.take("nas-1")


def test_a_full_collector_answers_503_with_a_time_to_come_back(
    start_collector: StartCollector, database: Database
) -> None:
    """One request is held open; the next one is turned away, and served once there is room."""
    with open_client(start_collector(waiting=1)) as client:
        box = new_box(database, client, "nas-1")
        refused: list[httpx2.Response] = []

        def slow_body() -> object:
            yield b'{"records'
            while not refused:
                answer = box.get("/v1/cursor")
                refused.extend([answer] if answer.status_code != 200 else [])

        headers = {"Authorization": f"Bearer {box.token}"}
        with open_client(str(client.base_url)) as slow:
            slow.post("/v1/records", content=slow_body(), headers=headers)  # type: ignore[arg-type]

        assert refused[0].status_code == 503
        assert 1 <= int(refused[0].headers["retry-after"]) <= 30
        assert box.send([record()]) == ["accepted"]


def test_a_body_that_never_ends_is_given_up(
    start_collector: StartCollector, database: Database
) -> None:
    """A device that stops in the middle loses its place; 408, for its records are no poison."""
    url = httpx2.URL(start_collector(body_timeout_s=0.05))
    with open_client() as client:
        token = new_box(database, client, "nas-1").token
    head = f"POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"

    with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        answer = connection.recv(1000)

    assert answer.startswith(b"HTTP/1.1 408")
