"""The tables `inbox` and `trials`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what people say to live runs, and what new tools have proven."""
    op.create_table(
        "inbox",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("inbox_by_run", "inbox", ["run_id"])
    op.create_table(
        "trials",
        sa.Column("tool", sa.String(200), primary_key=True),
        sa.Column("agreed", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
    )
