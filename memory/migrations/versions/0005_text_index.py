"""The full-text index of PostgreSQL holds all words at once: no list of new ones that every search would read."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Turn the list off, and put what is in it into the index."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER INDEX memory_text_by_body SET (fastupdate = off)")
        op.execute("SELECT gin_clean_pending_list('memory_text_by_body')")
