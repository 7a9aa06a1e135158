"""What watchers see: health, metrics, the API's description, and what a log may hold."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import logging
import ssl
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.collector.boxes import (
    CANARY,
    NOW,
    Box,
    collector_process,
    new_box,
    open_client,
    record,
)
from tests.collector.conftest import StartCollector
from training.collector import service as service_module
from training.collector.database import Database


def test_it_is_ready_while_its_database_is(client: httpx2.Client, database: Database) -> None:
    """Healthy all the time; ready only with the right schema."""
    assert client.get("/readyz").status_code == 200
    with database.engine.begin() as connection:
        before = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        refused = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert client.get("/healthz").status_code == 200
    finally:
        with database.engine.begin() as connection:
            version = sa.text("UPDATE alembic_version SET version_num = :v")
            connection.execute(version, {"v": before})
    assert client.get("/readyz").status_code == 200


def test_metrics_count_without_naming(start_collector: StartCollector, database: Database) -> None:
    """Records by fate, requests by route; neither a device nor a path from outside."""
    with open_client(start_collector()) as client:
        found = metrics_after_some_batches(new_box(database, client, "nas-1"))

    assert 'collector_records_total{status="accepted"} 2.0' in found
    assert "collector_conflicts_total 1.0" in found
    assert 'collector_requests_total{route="unknown",status="404"} 1.0' in found
    assert "nas-1" not in found
    assert "strange" not in found


def metrics_after_some_batches(box: Box) -> str:
    """Two records, one of them again as another, and a path that nobody knows."""
    one = record()
    box.send([one, record()])
    box.send([one | {"label": "else"}])
    box.client.get("/strange/path")
    return box.client.get("/metrics").text


def test_the_description_names_every_route(client: httpx2.Client) -> None:
    """With the bodies, their limits and every error."""
    found = client.get("/openapi.json").json()

    assert {"/v1/records", "/v1/cursor", "/v1/receipts", "/healthz"} <= found["paths"].keys()
    post = found["paths"]["/v1/records"]["post"]
    assert {"200", "400", "401", "403", "413", "415", "429", "503"} <= post["responses"].keys()
    assert "records" in json.dumps(post["requestBody"])
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_neither_a_bug_nor_a_fault_logs_a_text(
    box: Box, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception may quote what it failed on; the log tells its kind and its place."""

    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(service_module, "store_batch", broken)
    caplog.set_level(logging.DEBUG)

    answer = box.post([record()])

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text + answer.text
    assert box.token not in caplog.text


def test_a_value_that_the_database_refuses_is_the_boxes_to_find(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A 400, so that it bisects, instead of a 500 that it would repeat for ever."""

    def refuse(*_: object) -> None:
        raise sa.exc.DataError("INSERT", {"text": CANARY}, ValueError(CANARY))

    monkeypatch.setattr(service_module, "store_batch", refuse)

    answer = box.post([record()])

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    assert CANARY not in answer.text + caplog.text


def test_a_database_that_is_away_is_503_with_a_time(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retryable; the box keeps everything and comes back."""

    def away(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, OSError("gone"))

    monkeypatch.setattr(service_module, "store_batch", away)

    answer = box.post([record()])

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_it_speaks_tls(sqlite_address: str, tmp_path: Path) -> None:
    """With a certificate of its own, checked by the client, on an address that is not refused."""
    cert, key = write_certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=cert)
    database = Database.open(sqlite_address)
    arguments = ("--host", "127.0.0.1", "--tls-cert", str(cert), "--tls-key", str(key))

    with collector_process(sqlite_address, tmp_path, *arguments) as collector:
        assert collector.url.startswith("https://")
        with httpx2.Client(base_url=collector.url, verify=trusted) as client:
            assert new_box(database, client, "nas-1").send([record()]) == ["accepted"]
    database.close()


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    today = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(min(today, NOW) - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
