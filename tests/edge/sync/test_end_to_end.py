"""Daemon, network, collector: each correction upstream exactly once, whatever breaks on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from shutil import copytree, rmtree

import httpx2
import pytest

from edge.client import Client
from edge.sync.batch import compress
from edge.wire import RecordResult
from tests.edge.sync.fakes import Answer, Request, accept, fake_collector
from tests.edge.sync.world import World, running_world
from tests.faulty_proxy import FAULTS

RECORDS = int(os.environ.get("SYNC_RECORDS", "1000"))
BATCH = 10 if RECORDS <= 1000 else 100  # faults befall requests: many small ones are as good
DEADLINE_S = 240.0 if RECORDS <= 1000 else 1800.0  # 15 s of work; the rest is a busy machine
VICTIMS = ("collector", "daemon", "sync")
REQUESTS_BEFORE_A_KILL = (10, 30)


@pytest.mark.timeout(DEADLINE_S + 20)
def test_every_correction_arrives_once_though_network_and_both_sides_fail() -> None:
    """30 % of the answers lost, requests repeated, and one end after another killed."""
    rng = random.Random(4)
    with running_world([f"text {n}" for n in range(RECORDS)], seed=4) as world:
        world.configure(batch_records=BATCH)
        deadline = time.monotonic() + DEADLINE_S
        victims = cycle(VICTIMS)
        while world.left:
            assert time.monotonic() < deadline, f"{world.left} left, killed {world.killed}"
            _run_and_kill(world, rng, victims)
        texts = [row["text"] for row in world.exported()]

    assert sorted(texts) == sorted(f"text {n}" for n in range(RECORDS))
    assert world.proxy is not None
    assert set(FAULTS) < set(world.proxy.done)
    assert set(world.killed) == {"sync", "collector", "daemon"}
    print(f"{RECORDS} records, kills {len(world.killed)}, {dict(world.proxy.done)}")  # noqa: T201


def _run_and_kill(world: World, rng: random.Random, victims: Iterator[str]) -> None:
    """One run, in which every few requests somebody dies."""
    assert world.proxy is not None
    process = world.start_sync()
    wanted = world.proxy.done.total() + rng.randint(*REQUESTS_BEFORE_A_KILL)
    while process.poll() is None:
        if not world.proxy.wait_for_requests(wanted, 0.05):
            continue
        victim = next(victims)
        if victim == "sync":
            process.kill()
            world.killed.append(victim)
        else:
            world.kill(victim)
        wanted = world.proxy.done.total() + rng.randint(*REQUESTS_BEFORE_A_KILL)
    _out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 1, 4, -signal.SIGKILL), err.decode()


@pytest.mark.timeout(240)  # eleven processes, one after the other
def test_box_restored_from_a_backup_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    """What came after the backup is upstream already; what comes now gets there beside it."""
    with running_world(["before"]) as world:
        world.daemon.stop()
        copytree(world.home / "intentd", tmp_path / "backup")
        for text, restored in (("after", False), ("restored", True)):
            if restored:
                rmtree(world.home / "intentd")
                copytree(tmp_path / "backup", world.home / "intentd")
            world.kill("daemon")
            with Client(world.daemon.socket) as client:
                for number in range(2 - restored):
                    client.correct("EXTRACT", text=f"{text} {number}")
            done = world.sync()
            assert done.returncode == 0, done.stderr
            world.daemon.stop()
        texts = [row["text"] for row in world.exported()]

    assert sorted(texts) == ["after 0", "after 1", "before", "restored 0"]


TEXTS = ("who owes me money?", "mail john.doe@example.com", "sum up \u0661\u0662")


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """A network without faults."""
    with running_world() as started:
        yield started


@pytest.fixture
def world(shared_world: World) -> World:
    """Three corrections in the outbox, one with an address in it, and nothing else."""
    shared_world.configure()
    with shared_world.admin as admin, Client(shared_world.daemon.socket) as client:
        old = admin.outbox().records
        admin.acknowledge([RecordResult(id=one.id, status="accepted") for one in old])
        for text in TEXTS:
            client.correct("EXTRACT", text=text)
    return shared_world


def waiting(world: World) -> list[str]:
    """Ids in the outbox."""
    with world.admin as client:
        return [record.id for record in client.outbox().records]


def arrived(world: World) -> dict[str, str]:
    """What the collector has: id → text."""
    return {row["id"]: row["text"] for row in world.exported()}


def test_preview_shows_what_is_sent_and_sends_nothing(world: World) -> None:
    """Byte for byte, but for the time of sending; then the same records arrive."""
    before = arrived(world)
    preview = world.sync("--preview")
    shown = json.loads(preview.stdout)

    assert preview.returncode == 0
    assert "john.doe" not in preview.stdout
    assert "[email]" in preview.stdout
    assert arrived(world) == before

    sent = world.sync()
    assert (sent.returncode, sent.stdout.split(" to ")[0]) == (0, "3 delivered"), sent.stderr
    expected = {record["id"]: record["text"] for record in shown["records"]}
    assert arrived(world) == before | expected


def test_dry_run_counts_and_sends_nothing(world: World) -> None:
    """Where to, how much, in how many batches."""
    facts = json.loads(world.sync("--dry-run", "--json").stdout)

    assert (facts["records"], facts["batches"], facts["tier"]) == (3, 1, "redacted")
    assert facts["upstream"] == f"http://127.0.0.1:{world.port}"
    assert 0 < facts["bytes_compressed"] < facts["bytes"]
    assert len(waiting(world)) == 3


def test_erased_correction_is_erased_upstream_and_use_comes_back(world: World) -> None:
    """A tombstone goes with the next run; a receipt comes with it."""
    gone, used, _ = waiting(world)
    world.sync()
    assert gone in arrived(world)
    with world.admin as client:
        client.erase(gone)
    world.collect("used", "build-1", stdin=used)
    done = world.sync()

    assert (done.returncode, "1 now used in builds" in done.stdout) == (0, True), done.stderr
    assert gone not in arrived(world)
    with world.admin as client:
        assert client.correction(used).build == "build-1"


def test_numbers_alone_are_kept_once_and_replaced_by_what_they_counted(world: World) -> None:
    """Tier `counts`, twice; then the corrections themselves."""
    with world.admin as client:
        mine = {row.label: row.corrections for row in client.stats().per_label}
    for _ in range(2):
        done = world.sync("--tier", "counts")
        assert done.returncode == 0, done.stderr
    reported = json.loads(world.collect("stats", "--json"))["reported"]

    assert done.stdout.startswith("numbers of 4 labels and 0 erasures delivered to ")
    assert {row["label"]: row["corrections"] for row in reported} == mine
    assert len(waiting(world)) == 3
    world.sync()
    assert json.loads(world.collect("stats", "--json"))["reported"] == []


def test_record_sent_again_with_another_tier_is_delivered(world: World) -> None:
    """The answer was lost, and the tier changed before the next run: no dead letter."""
    ids = waiting(world)
    with fake_collector() as upstream:
        upstream.script = lambda request: forwarding(world, request)
        lost = world.sync("--upstream", upstream.url)
    done = world.sync("--tier", "labels")

    assert (lost.returncode, set(ids) <= arrived(world).keys()) == (5, True), lost.stderr
    assert "3 delivered" in done.stdout, done.stderr
    assert world.sync("--dead", "--json").stdout == ""


def forwarding(world: World, request: Request) -> Answer:
    """What the collector stores, without its answer."""
    if request.method != "POST":
        return accept(request)
    kept = ("authorization", "content-encoding", "content-type")
    headers = {name: request.headers[name] for name in kept}
    stored = httpx2.post(
        f"http://127.0.0.1:{world.port}{request.path}", content=request.raw, headers=headers
    )
    assert stored.status_code == 200
    return Answer(404)


def test_revoked_token_stops_with_5_and_loses_nothing(world: World) -> None:
    """No attempt is noted, nothing is dead; with a new token all arrives."""
    with world.admin as client:
        device = client.cursor().device_id
    world.collect("device", "revoke", device)
    refused = world.sync()

    assert (refused.returncode, "401" in refused.stderr) == (5, True), refused.stderr
    with world.admin as client:
        states = {client.correction(record_id).state for record_id in waiting(world)}
        assert (states, client.stats().dead) == ({"durable"}, 0)
    (world.home / "token").write_text(world.collect("device", "add", device))
    assert world.sync().returncode == 0


def test_upstream_that_asks_for_quiet_is_left_alone_by_the_next_run(world: World) -> None:
    """Exit code 1, nothing lost; the run after it does not even ask."""
    with fake_collector() as upstream:
        upstream.script = lambda request: Answer(503, headers={"Retry-After": "3600"})
        asked = world.sync("--upstream", upstream.url)
        again = world.sync("--upstream", upstream.url)

        assert (asked.returncode, again.returncode) == (1, 1)
        assert "left alone" in again.stderr
        assert len(upstream.requests) == 1
    assert len(waiting(world)) == 3
    (world.home / "intentd" / "sync" / "quiet-until").unlink()


def test_what_upstream_rejects_is_listed_and_sent_again_on_demand(world: World) -> None:
    """The reason without the text; after --redrive it arrives."""
    bad = waiting(world)[1]
    with fake_collector() as upstream:
        upstream.script = rejecting(bad)
        done = world.sync("--upstream", upstream.url)
    listed = json.loads(world.sync("--dead", "--json").stdout)

    assert "1 refused" in done.stdout, done.stderr
    assert (listed["id"], listed["error"]) == (bad, "invalid: no")
    assert "1 delivered" in world.sync("--redrive").stdout
    assert arrived(world)[bad] == "mail [email]"


def rejecting(record_id: str) -> Callable[[Request], Answer]:
    """A collector that takes all but one."""

    def script(request: Request) -> Answer:
        if request.method != "POST":
            return accept(request)
        results = [
            {"id": i, "status": "rejected", "code": "invalid", "message": "no"}
            if i == record_id
            else {"id": i, "status": "accepted"}
            for i in request.ids
        ]
        return Answer(body={"results": results})

    return script


def test_daemon_that_is_gone_is_4(world: World) -> None:
    """And the collector hears nothing."""
    world.configure(upstream="http://127.0.0.1:9")
    process = world.start_sync("--admin-socket", str(world.home / "nobody.sock"))
    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 4


def test_sync_is_off_until_an_upstream_is_configured(world: World) -> None:
    """A clear message, exit code 3; --preview works all the same."""
    world.configure(upstream="")
    done = world.sync()

    assert done.returncode == 3
    assert "sync is off" in done.stderr
    assert "sync.toml" in done.stderr
    assert world.sync("--preview").returncode == 0


def test_directory_takes_what_a_collector_would(world: World, tmp_path: Path) -> None:
    """For people without a collector; the token is not needed."""
    world.configure(upstream=str(tmp_path / "out"), token_file="/nonexistent")
    preview = world.sync("--preview").stdout.encode()
    done = world.sync()
    (written,) = (tmp_path / "out").glob("*/*.ndjson.gz")

    assert done.returncode == 0, done.stderr
    assert written.read_bytes() == compress(preview)


def test_every_sends_at_its_turn(world: World) -> None:
    """SIGTERM ends it at any time."""
    process = world.start_sync("--every", "10s")
    line = process.stdout.readline() if process.stdout else b""
    process.terminate()
    _out, err = process.communicate(timeout=DEADLINE_S)

    assert line.startswith(b"3 delivered"), err.decode()
    assert waiting(world) == []


def test_only_one_way_of_running_is_taken_at_a_time(world: World) -> None:
    """Usage, exit code 2."""
    assert world.sync("--preview", "--redrive").returncode == 2
    assert world.sync("--every", "soon").returncode == 2
    assert world.sync("--tier", "all").returncode == 2
