"""The tables. Migrations build them; `alembic check` in the tests holds the two together.

`record_ids` is what makes an id unique: a partitioned table can only be unique within a month, so
every id is first claimed there, in the same transaction that stores the correction. An erased id
stays claimed for ever: that is the suppression list.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "MAX_NAME_CHARS",
    "Base",
    "Build",
    "Correction",
    "Cursor",
    "Device",
    "DeviceCounts",
    "Fate",
    "Parked",
    "RecordId",
    "Used",
    "Utc",
]

MAX_NAME_CHARS = 128
"""Longest device id and build id: they are keys, and a B-tree's entry holds 2.7 kB at most."""


class Fate(StrEnum):
    """What became of an id."""

    KEPT = "kept"
    """Its correction is stored."""
    PARKED = "parked"
    """A record of a schema that this program does not know yet; kept whole."""
    ERASED = "erased"
    """Nothing of it is left but the id, which is never taken again."""


class Utc(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite knows no time zones, so there it is stored without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """As UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


Id = Uuid(as_uuid=False)
Serial = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER key counts up in SQLite
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """All tables, with names for every constraint, so that a migration can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Device(Base):
    """A box that may send; its token is known here by its hash only."""

    __tablename__ = "devices"

    id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS), primary_key=True)
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    note: Mapped[str] = mapped_column(Text, default="")
    created_utc: Mapped[datetime] = mapped_column(Utc)
    revoked_utc: Mapped[datetime | None] = mapped_column(Utc)


class RecordId(Base):
    """Every id that ever came, with its owner and its fate."""

    __tablename__ = "record_ids"
    __table_args__ = (Index("ix_record_ids_erased_utc", "erased_utc"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    device_id: Mapped[str | None] = mapped_column(String(MAX_NAME_CHARS))
    """Null where an operator erased an id that never came."""
    fate: Mapped[str] = mapped_column(String(8))
    identity_sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Of what redaction cannot change (`identity.IDENTITY`). Null once erased."""
    received_utc: Mapped[datetime] = mapped_column(Utc)
    erased_utc: Mapped[datetime | None] = mapped_column(Utc)


class Correction(Base):
    """A correction as it came; on PostgreSQL one partition a month, by the time it was received."""

    __tablename__ = "corrections"
    __table_args__ = ({"postgresql_partition_by": "RANGE (received_utc)"},)

    # The time first: exports read in this order, and every look-up by id knows the time too.
    received_utc: Mapped[datetime] = mapped_column(Utc, primary_key=True)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    device_id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    epoch: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    schema_version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16))
    text: Mapped[str | None] = mapped_column(Text)
    """Null in the tier that sends labels only."""
    content: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str | None] = mapped_column(Text)
    """Null means "none of these"."""
    predicted_label: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None] = mapped_column(Double)
    labels: Mapped[list[str]] = mapped_column(Json)
    label_set: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    phase: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    occurred_utc: Mapped[datetime] = mapped_column(Utc)
    redaction_version: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    extra: Mapped[str | None] = mapped_column(Text)
    """Fields that this program does not know, as JSON text; null where there are none."""


class Parked(Base):
    """A record of a newer schema, whole, until a program comes that can read it."""

    __tablename__ = "parked"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    device_id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    schema_version: Mapped[int] = mapped_column(Integer)
    payload: Mapped[str] = mapped_column(Text)
    """The record's JSON, escaped to ASCII: it may hold what the database's own JSON refuses."""
    redaction_version: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    received_utc: Mapped[datetime] = mapped_column(Utc)


class Cursor(Base):
    """The highest sequence number that came from a device in an epoch."""

    __tablename__ = "cursors"

    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    updated_utc: Mapped[datetime] = mapped_column(Utc)


class DeviceCounts(Base):
    """What a device holds of each label, where it sends no more than numbers (tier `counts`)."""

    __tablename__ = "device_counts"

    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    counts: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """As they came: all of them, so that the newest replace the others."""
    received_utc: Mapped[datetime] = mapped_column(Utc)


class Build(Base):
    """A data set that training built."""

    __tablename__ = "builds"

    id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS), primary_key=True)
    created_utc: Mapped[datetime] = mapped_column(Utc)


class Used(Base):
    """A receipt: this record went into that build. `n` is the cursor by which devices read them."""

    __tablename__ = "used"
    __table_args__ = (
        Index("uq_used_build_id_record_id", "build_id", "record_id", unique=True),
        Index("ix_used_device_id_n", "device_id", "n"),
        {"sqlite_autoincrement": True},
    )

    n: Mapped[int] = mapped_column(Serial, primary_key=True)
    device_id: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    record_id: Mapped[str] = mapped_column(Id, ForeignKey("record_ids.id"))
    build_id: Mapped[str] = mapped_column(ForeignKey("builds.id"))
    used_utc: Mapped[datetime] = mapped_column(Utc)
