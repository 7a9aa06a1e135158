"""The collector over HTTP: what counts as delivered, what is tried again, and when."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidSettings, SyncRefused, Unavailable
from edge.sync.batch import Batch, Sender
from edge.sync.outgoing import Outgoing, Preparer
from edge.sync.redact import Redactor
from edge.sync.retry import MAX_RETRY_AFTER_S, AnswerBroken, Backoff, Busy, parse_retry_after
from edge.sync.settings import Tier
from edge.sync.target import BatchMalformed, BatchTooLarge
from edge.sync.upstream import ATTEMPTS, Collector, check_url
from tests.edge.sync.fakes import Answer, FakeCollector, Request, accept, fake_collector
from tests.edge.sync.records import correction

TOKEN = "a-token-that-nobody-may-see"
PROBLEM = {"title": "no", "status": 400, "code": "malformed_body", "detail": "not for me"}
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """All attempts, and no time between them."""
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield


@pytest.fixture
def upstream() -> Iterator[FakeCollector]:
    """A collector that answers as it is told."""
    with fake_collector() as started:
        yield started


@pytest.fixture
def collector(upstream: FakeCollector) -> Iterator[Collector]:
    """Its client."""
    client = Collector(upstream.url, TOKEN)
    yield client
    client.close()


def batch(count: int = 3) -> Batch:
    """Some records of one device."""
    preparer = Preparer(Tier.REDACTED, Redactor(), bytes)
    prepared = [preparer.prepare(correction(seq=seq)) for seq in range(1, count + 1)]
    return Batch(Sender("device", 1, "redacted"), [one for one in prepared if one is not None])


def test_batch_is_sent_as_the_contract_says(upstream: FakeCollector, collector: Collector) -> None:
    """Token, encoding, key of the ids, envelope."""
    sent = batch()
    results = collector.deliver(sent)

    request = upstream.batches[0]
    assert request.path == "/v1/records"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-encoding"] == "gzip"
    assert (
        request.headers["idempotency-key"]
        == hashlib.sha256("\n".join(sent.ids).encode()).hexdigest()
    )
    envelope = request.body
    assert set(envelope) == {
        "schema_version", "device_id", "epoch", "redaction_version", "tier", "sent_utc", "records",
    }  # fmt: skip
    assert request.ids == sent.ids == [result.id for result in results]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_answers_are_tried_again_with_the_same_bytes(
    upstream: FakeCollector, collector: Collector, status: int
) -> None:
    """The same body and key: upstream sees one batch twice, not two batches."""
    upstream.on_records(Answer(status), Answer(status))
    results = collector.deliver(batch())

    assert len(results) == 3
    assert len({request.raw for request in upstream.batches}) == 1
    assert len(upstream.batches) == 3


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body={"results": [{"id": "x", "status": "accepted"}] * 50}, cut=40),
        Answer(body=b'{"results": ['),
        Answer(body=b""),
        Answer(body=b"<html>Welcome to the hotel's network</html>"),
        Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
        Answer(body={"results": "all fine"}),
    ],
    ids=["cut off", "half JSON", "empty", "portal", "bad gzip", "other form"],
)
def test_success_that_cannot_be_read_is_no_delivery(
    upstream: FakeCollector, collector: Collector, answer: Answer
) -> None:
    """200 alone means nothing; it is asked again, and given up with all still in the outbox."""
    upstream.on_records(*[answer] * ATTEMPTS)

    with pytest.raises(Unavailable, match="nothing was lost"):
        collector.deliver(batch())

    assert len(upstream.batches) == ATTEMPTS


def test_only_ids_that_were_sent_and_answered_count(
    upstream: FakeCollector, collector: Collector
) -> None:
    """Missing ones, foreign ones, unknown statuses and contradictions are no delivery."""
    sent = batch(5)
    one, two, three, four, _missing = sent.ids

    def answer(request: Request) -> Answer:
        pairs = [(one, "accepted"), (two, "maybe"), ("foreign", "accepted"), (None, "rejected")]
        pairs += [(three, "accepted"), (three, "rejected"), (four, "parked"), (four, "parked")]
        return Answer(body={"results": [{"id": i, "status": s} for i, s in pairs]})

    upstream.on_records(answer)
    results = collector.deliver(sent)

    assert [(result.id, result.status) for result in results] == [
        (one, "accepted"),
        (four, "parked"),
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 301, 308])
def test_refusal_stops_at_once(upstream: FakeCollector, collector: Collector, status: int) -> None:
    """No retry, no redirect followed, exit code 5."""
    upstream.script = lambda request: Answer(status, headers={"Location": "http://127.0.0.1:9/"})

    with pytest.raises(SyncRefused, match="nothing was lost") as caught:
        collector.seen("device")

    assert caught.value.exit_code == 5
    assert len(upstream.requests) == 1
    assert TOKEN not in str(caught.value)


def test_too_large_and_malformed_are_told_apart(
    upstream: FakeCollector, collector: Collector
) -> None:
    """One asks for less at once, one for a search; a 400 that no collector wrote is neither."""
    upstream.on_records(Answer(413), Answer(400, PROBLEM), Answer(400, b"<html>proxy</html>"))

    with pytest.raises(BatchTooLarge):
        collector.deliver(batch())
    with pytest.raises(BatchMalformed, match="not for me"):
        collector.deliver(batch())
    with pytest.raises(SyncRefused):
        collector.deliver(batch())


def test_long_retry_after_ends_the_run(upstream: FakeCollector, collector: Collector) -> None:
    """One request, and the error says how long to keep quiet."""
    upstream.script = lambda request: Answer(429, headers={"Retry-After": "3600"})

    with pytest.raises(Unavailable) as caught:
        collector.seen("device")

    assert len(upstream.requests) == 1
    assert caught.value.retry_after_s == 3600


def test_unreachable_upstream_is_unavailable() -> None:
    """Nobody listens; exit code 1, not a bug."""
    client = Collector("http://127.0.0.1:9", TOKEN)

    with pytest.raises(Unavailable, match="nothing was lost") as caught:
        client.seen("device")
    assert caught.value.exit_code == 1
    client.close()


def test_receipts_and_cursor_are_read(upstream: FakeCollector, collector: Collector) -> None:
    """In the contract's form."""
    receipt = {"id": "a", "build": "b", "used_utc": "2026-11-22T10:00:00Z"}

    def script(request: Request) -> Answer:
        if "cursor" in request.path:
            return Answer(body={"epoch": 2, "seq": 7})
        return Answer(body={"receipts": [receipt], "next": 9})

    upstream.script = script
    page = collector.receipts(5)

    assert collector.seen("device") == (2, 7)
    assert page is not None
    assert (page.receipts[0].build, page.next) == ("b", 9)
    assert upstream.requests[0].path == "/v1/receipts?after=5&limit=1000"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("999999999999", MAX_RETRY_AFTER_S),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), MAX_RETRY_AFTER_S),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Six hours at most, and never in the past."""
    assert parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(value: str) -> None:
    """Whatever stands in the header."""
    seconds = parse_retry_after(value, NOW)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S


@given(st.floats(0, 60), st.floats(0, 1))
def test_retry_after_is_stretched_and_never_shortened(asked: float, draw: float) -> None:
    """No retry comes earlier than it was asked for."""
    backoff = Backoff(lambda error: True, lambda low, high: low + (high - low) * draw)
    wait = backoff(Busy("later", asked))

    assert asked <= wait <= asked * 1.25


def test_backoff_is_full_jitter_that_grows() -> None:
    """From zero to a bound that doubles, up to thirty seconds."""
    bounds: list[float] = []

    def note(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return high

    backoff = Backoff(lambda error: True, note)
    for _ in range(8):
        backoff(AnswerBroken())

    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_backoff_gives_up_on_long_waits_and_on_what_will_not_pass() -> None:
    """False tells stamina to raise."""
    assert Backoff(lambda error: True)(Busy("later", 61)) is False
    assert Backoff(lambda error: False)(AnswerBroken()) is False


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example",
        "http://10.0.0.1",
        "ftp://collector.example",
        "https://user:pass@collector.example",
        "https://collector.example/?token=x",
        "https://",
    ],
)
def test_urls_that_would_show_the_token_are_refused(url: str) -> None:
    """Plain HTTP leaves this machine for nobody; secrets do not stand in a URL."""
    with pytest.raises(InvalidSettings):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://collector.example/", "http://localhost:8470", "http://[::1]:1"]
)
def test_https_and_this_machine_are_fine(url: str) -> None:
    """The trailing slash goes."""
    assert check_url(url) == url.rstrip("/")


def test_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    """Said when it is set, not at the first connection."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")

    with pytest.raises(InvalidSettings, match="PEM"):
        Collector("https://collector.example", TOKEN, path)


def test_certificate_that_is_not_trusted_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names the two causes: the authority, and this machine's clock."""
    import httpx2

    attempts: list[Any] = []

    def fail(self: httpx2.Client, request: httpx2.Request, **_: Any) -> httpx2.Response:
        attempts.append(request)
        raise httpx2.ConnectError(str(ssl.SSLError("CERTIFICATE_VERIFY_FAILED")))

    monkeypatch.setattr(httpx2.Client, "send", fail)
    client = Collector("https://collector.example", TOKEN)

    with pytest.raises(Unavailable, match="clock"):
        client.seen("device")
    assert len(attempts) == 1
    client.close()


def test_same_batch_compresses_to_the_same_bytes() -> None:
    """No time in gzip's header, no order that changes."""
    from edge.sync.batch import compress

    data = batch().lines()

    assert compress(data) == compress(data)
    assert compress(data)[4:8] == bytes(4)


def test_fake_collector_keeps_to_its_script(upstream: FakeCollector) -> None:
    """The stand-in accepts by default."""
    assert accept(Request("GET", "/v1/cursor", {}, b"")).status == 200
    assert isinstance(batch().records[0], Outgoing)
