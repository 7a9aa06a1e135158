"""Numbers of the boxes that send no more than those, and a hash that redaction cannot change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of the numbers; forget the hashes of whole records."""
    op.create_table(
        "device_counts",
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("counts", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_counts"),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_counts_device_id_devices"
        ),
    )
    op.execute("ALTER TABLE record_ids RENAME COLUMN payload_sha256 TO identity_sha256")
    # The new hash is of other fields; an id without one is a duplicate, whatever comes under it.
    op.execute("UPDATE record_ids SET identity_sha256 = NULL")
