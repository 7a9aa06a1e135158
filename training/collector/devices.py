"""Devices and their tokens: 256 random bits, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from edge.errors import InvalidValue
from training.collector.errors import DeviceExists, Unauthorized, UnknownDevice
from training.collector.models import MAX_NAME_CHARS, Cursor, Device, RecordId

__all__ = [
    "DeviceInfo",
    "add_device",
    "authenticate",
    "check_name",
    "list_devices",
    "revoke_device",
]

TOKEN_BYTES = 32
PREFIX = "intentd_"
"""Lets secret scanners, and people, see what it is."""
_NAME = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_NAME_CHARS}}}")
REFUSAL = (
    "expected a device's token (Authorization: Bearer …), found {found}; "
    "`intentd-collect device add` makes one"
)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device, as the operator sees it."""

    id: str
    note: str
    created_utc: datetime
    revoked_utc: datetime | None
    last_seen_utc: datetime | None
    """When its last batch was stored."""
    records: int
    """Ids that came from it, the erased ones included."""


def check_name(value: str, what: str) -> str:
    """The value, if it can be a device's or a build's id.

    Raises:
        InvalidValue: It cannot.
    """
    if not _NAME.fullmatch(value):
        raise InvalidValue(
            f"{what}: expected 1 to {MAX_NAME_CHARS} letters, digits and . _ : -, found {value!r}"
        )
    return value


def add_device(connection: sa.Connection, device_id: str, note: str, now: datetime) -> str:
    """Let a device in, or let a revoked one in again; returns its token, which is not kept.

    Raises:
        InvalidValue: Not an id.
        DeviceExists: It has a token that is good.
    """
    check_name(device_id, "device")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    values = {"token_sha256": _hash(token), "note": note, "created_utc": now, "revoked_utc": None}
    revoked = connection.execute(
        sa.select(Device.revoked_utc).where(Device.id == device_id).with_for_update()
    ).one_or_none()
    if revoked is None:
        connection.execute(sa.insert(Device).values(id=device_id, **values))
    elif revoked[0] is None:
        raise DeviceExists(
            f"device {device_id} has a token already, and it cannot be shown again; "
            f"`intentd-collect device revoke {device_id}` first, then add it for a new one"
        )
    else:
        connection.execute(sa.update(Device).where(Device.id == device_id).values(**values))
    return token


def revoke_device(connection: sa.Connection, device_id: str, now: datetime) -> None:
    """Turn a device away from its next request on; what it sent stays.

    Raises:
        UnknownDevice: Never added.
    """
    found = connection.execute(
        sa.update(Device)
        .where(Device.id == device_id)
        .values(
            revoked_utc=sa.func.coalesce(
                Device.revoked_utc, sa.literal(now, Device.created_utc.type)
            )
        )
    )
    if not found.rowcount:
        raise UnknownDevice(
            f"device {device_id}: expected one that was added, found none; "
            "`intentd-collect device list` shows them"
        )


def authenticate(connection: sa.Connection, authorization: str) -> str:
    """The id of the device that this header's token belongs to.

    The look-up is by hash, so its time tells nothing about any token; the comparison of what was
    found takes the same time for every token.

    Raises:
        Unauthorized: No token, an unknown or a revoked one.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized(REFUSAL.format(found="none" if not authorization else "something else"))
    digest = _hash(token.strip())
    row = connection.execute(
        sa.select(Device.id, Device.token_sha256, Device.revoked_utc).where(
            Device.token_sha256 == digest
        )
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.token_sha256, digest):
        raise Unauthorized(REFUSAL.format(found="an unknown one"))
    if row.revoked_utc is not None:
        raise Unauthorized(REFUSAL.format(found="a revoked one"))
    return str(row.id)


def list_devices(connection: sa.Connection) -> list[DeviceInfo]:
    """Every device, by id."""
    seen = (
        sa.select(Cursor.device_id, sa.func.max(Cursor.updated_utc).label("at"))
        .group_by(Cursor.device_id)
        .subquery()
    )
    came = (
        sa.select(RecordId.device_id, sa.func.count().label("n"))
        .group_by(RecordId.device_id)
        .subquery()
    )
    rows = connection.execute(
        sa.select(Device, seen.c.at, sa.func.coalesce(came.c.n, 0).label("n"))
        .outerjoin(seen, seen.c.device_id == Device.id)
        .outerjoin(came, came.c.device_id == Device.id)
        .order_by(Device.id)
    )
    return [
        DeviceInfo(row.id, row.note, row.created_utc, row.revoked_utc, row.at, row.n)
        for row in rows
    ]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
