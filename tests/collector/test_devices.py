"""Who is let in, and that it ends at once."""

from __future__ import annotations

import httpx2
import pytest
import sqlalchemy as sa

from edge.errors import InvalidValue
from tests.collector.boxes import NOW, Box, count_rows, new_box, record
from training.collector.database import Database
from training.collector.devices import add_device, list_devices, revoke_device
from training.collector.errors import DeviceExists, UnknownDevice
from training.collector.models import Device

ROUTES = (("POST", "/v1/records"), ("GET", "/v1/cursor"), ("GET", "/v1/receipts"))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}"])
def test_without_a_good_token_nothing_is_answered(
    box: Box, client: httpx2.Client, header: str | None
) -> None:
    """Every route says 401, how to come in, and nothing else."""
    headers = {} if header is None else {"Authorization": header.format(token=box.token)}

    for method, path in ROUTES:
        answer = client.request(method, path, headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_in_bytes_that_are_no_text_is_refused(box: Box, client: httpx2.Client) -> None:
    """A header may hold any byte."""
    answer = client.get("/v1/cursor", headers={b"Authorization": b"Bearer \xff\xfe"})

    assert answer.status_code == 401


def test_another_devices_batch_is_forbidden(box: Box, other_box: Box, database: Database) -> None:
    """A token speaks for one device only, and none of the batch is stored."""
    answer = box.post([record()], device_id=other_box.device)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert count_rows(database) == 0


def test_a_revoked_device_is_out_with_its_next_request(box: Box, database: Database) -> None:
    """On a connection that is open already, too; what it sent stays."""
    box.send([record()])

    database.write(lambda c: revoke_device(c, box.device, NOW))

    assert box.post([record()]).status_code == 401
    assert box.get("/v1/cursor").status_code == 401
    assert count_rows(database) == 1


def test_a_device_added_again_has_another_token(
    box: Box, database: Database, client: httpx2.Client
) -> None:
    """Only after it was revoked; the old token stays dead."""
    with pytest.raises(DeviceExists, match="revoke nas-1"):
        new_box(database, client, box.device)
    database.write(lambda c: revoke_device(c, box.device, NOW))

    renewed = new_box(database, client, box.device)

    assert renewed.send([record()]) == ["accepted"]
    assert box.post([record()]).status_code == 401


def test_the_database_holds_no_token(box: Box, database: Database) -> None:
    """A stolen database lets nobody in."""
    with database.read() as connection:
        row = connection.execute(sa.select(Device.__table__)).one()

    assert box.token not in str(tuple(row))
    assert len(box.token) >= 43  # 256 bits in base64


def test_tokens_differ(database: Database) -> None:
    """Each is drawn anew."""
    tokens = {database.write(lambda c, n=n: add_device(c, f"nas-{n}", "", NOW)) for n in range(20)}  # type: ignore[misc]

    assert len(tokens) == 20


@pytest.mark.parametrize("name", ["", "a b", "ä", "a" * 129, "../x", "a\n"])
def test_a_device_id_that_no_box_can_have_is_refused(database: Database, name: str) -> None:
    """What the wire would refuse, `device add` refuses first."""
    with pytest.raises(InvalidValue, match="device"):
        database.write(lambda c: add_device(c, name, "", NOW))


def test_revoking_a_stranger_says_so(database: Database) -> None:
    """A typing error must not look like a success."""
    with pytest.raises(UnknownDevice, match="nas-9"):
        database.write(lambda c: revoke_device(c, "nas-9", NOW))


def test_the_list_tells_who_sends(box: Box, other_box: Box, database: Database) -> None:
    """Records and the time of the last batch, for each device."""
    box.send([record(1), record(2)])

    with database.read() as connection:
        found = {one.id: one for one in list_devices(connection)}

    assert found["nas-1"].records == 2
    assert found["nas-1"].last_seen_utc is not None
    assert (found["nas-2"].records, found["nas-2"].last_seen_utc) == (0, None)
