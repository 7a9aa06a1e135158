"""Builds, and which record went into which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
NAME = sa.String(128)


def upgrade() -> None:
    """Make the tables of the receipts."""
    op.create_table(
        "builds",
        sa.Column("id", NAME, nullable=False),
        sa.Column("created_utc", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_builds"),
    )
    op.create_table(
        "used",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("device_id", NAME, nullable=False),
        sa.Column("record_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("build_id", NAME, nullable=False),
        sa.Column("used_utc", UTC, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_used"),
        sa.ForeignKeyConstraint(
            ["record_id"], ["record_ids.id"], name="fk_used_record_id_record_ids"
        ),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], name="fk_used_build_id_builds"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_used_build_id_record_id", "used", ["build_id", "record_id"], unique=True)
    op.create_index("ix_used_device_id_n", "used", ["device_id", "n"])
