"""Devices, and the records that they send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
UUID = sa.Uuid(as_uuid=False)
NAME = sa.String(128)


def upgrade() -> None:
    """Make the tables; `corrections` is partitioned where the database can."""
    _make_devices()
    _make_ids()
    _make_corrections()
    _make_parked()


def _make_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("id", NAME, nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_utc", UTC, nullable=False),
        sa.Column("revoked_utc", UTC),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("token_sha256", name="uq_devices_token_sha256"),
    )
    op.create_table(
        "cursors",
        sa.Column("device_id", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("updated_utc", UTC, nullable=False),
        sa.PrimaryKeyConstraint("device_id", "epoch", name="pk_cursors"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_cursors_device_id_devices"),
    )


def _make_ids() -> None:
    op.create_table(
        "record_ids",
        sa.Column("id", UUID, nullable=False),
        sa.Column("device_id", NAME),
        sa.Column("fate", sa.String(8), nullable=False),
        sa.Column("payload_sha256", sa.LargeBinary(32)),
        sa.Column("received_utc", UTC, nullable=False),
        sa.Column("erased_utc", UTC),
        sa.PrimaryKeyConstraint("id", name="pk_record_ids"),
    )
    op.create_index("ix_record_ids_erased_utc", "record_ids", ["erased_utc"])


def _make_corrections() -> None:
    op.create_table(
        "corrections",
        sa.Column("received_utc", UTC, nullable=False),
        sa.Column("id", UUID, nullable=False),
        sa.Column("device_id", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("content", sa.Text),
        sa.Column("label", sa.Text),
        sa.Column("predicted_label", sa.Text),
        sa.Column("score", sa.Double),
        sa.Column("labels", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
        sa.Column("label_set", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("occurred_utc", UTC, nullable=False),
        sa.Column("redaction_version", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("extra", sa.Text),
        sa.PrimaryKeyConstraint("received_utc", "id", name="pk_corrections"),
        postgresql_partition_by="RANGE (received_utc)",
    )


def _make_parked() -> None:
    op.create_table(
        "parked",
        sa.Column("id", UUID, nullable=False),
        sa.Column("device_id", NAME, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("redaction_version", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("received_utc", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_parked"),
    )
