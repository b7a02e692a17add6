"""Alembic's entry: upgrades the database over the connection that `quarterdeck.journal.schema` hands in."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# the caller holds the one transaction: an upgrade happens as a whole or not at all, on SQLite too
context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=False)
context.run_migrations()
