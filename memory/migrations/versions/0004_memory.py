"""The tables `memories`, `vectors` and `episodes`, and the full-text index `memory_text`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT_INDEX = {
    "sqlite": ("CREATE VIRTUAL TABLE memory_text USING fts5(body, content='', tokenize='porter unicode61')",),
    "postgresql": (
        "CREATE TABLE memory_text (memory BIGINT PRIMARY KEY, body TSVECTOR NOT NULL)",
        "CREATE INDEX memory_text_by_body ON memory_text USING gin (body)",
    ),
}
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create what crews remember."""
    op.create_table(
        "memories",
        sa.Column("number", BIG, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "crew", "agent", "about")),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float(53), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
        sa.Column("superseded_by", sa.String(16), nullable=False),
        sa.Column("group_name", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    scope = ["tenant", "crew", "agent", "about"]
    op.create_index("memories_by_scope", "memories", [*scope, "superseded_by", "number"])
    op.create_index("memories_by_digest", "memories", ["tenant", "digest"])
    op.create_index("memories_by_group", "memories", ["tenant", "group_name", "place"])
    op.create_table(
        "vectors",
        sa.Column("memory", BIG, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "crew", "agent", "about", "task", "goal")),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("cost_usd", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
    )
    op.create_index("episodes_by_crew", "episodes", ["tenant", "crew", "created_at"])
    op.create_index("episodes_by_run", "episodes", ["run_id"])
    for statement in TEXT_INDEX[op.get_context().dialect.name]:
        op.execute(statement)
