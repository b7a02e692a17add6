"""The tables `budgets`, `rates` and `replies`, and the tenant of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what runs share."""
    op.add_column("runs", sa.Column("tenant", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "budgets",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("spent_nano", sa.BigInteger, nullable=False),
        sa.Column("reserved_nano", sa.BigInteger, nullable=False),
        sa.Column("spent_tokens", sa.BigInteger, nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
    )
    op.create_table(
        "rates",
        sa.Column("model", sa.String(250), primary_key=True),
        sa.Column("next_request_at", sa.Float(53), nullable=False),
        sa.Column("tokens", sa.Text, nullable=False),
    )
    op.create_table(
        "replies",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
    )
    op.create_index("replies_by_expiry", "replies", ["expires_at"])
