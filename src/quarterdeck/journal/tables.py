"""The tables: `runs` and `events` hold every run; the others hold what runs share.

Migrations that change them stand in the root folder `memory/migrations`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("crew", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("code", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("spec_hash", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("updated_at", Float(53), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("spec", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("parent", String(64), nullable=False),
    Column("fork_at", Text, nullable=False),
    Column("totals", Text, nullable=False),
    Column("last_path", Text, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("head", String(64), nullable=False),
    Column("tenant", Text, nullable=False, server_default=""),
    Index("runs_by_age", "created_at"),
    Index("runs_to_cancel", "cancel_requested", "status"),
)
"""One row a run: what it is, how far it got, and the hash of its last event (`head`)."""

events = Table(
    "events",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
"""Append-only. `body` is the event's JSON and the only thing hashed; the columns before it repeat parts of it."""

budgets = Table(
    "budgets",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("spent_nano", BigInteger, nullable=False),
    Column("reserved_nano", BigInteger, nullable=False),
    Column("spent_tokens", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("updated_at", Float(53), nullable=False),
)
"""What is spent and set aside under one budget, such as `run/7f3k2q` or `crew/research/2026-11-21`; nano-dollars."""

rates = Table(
    "rates",
    metadata,
    Column("model", String(250), primary_key=True),
    Column("next_request_at", Float(53), nullable=False),
    Column("tokens", Text, nullable=False),
)
"""When the next call of a model may start, in seconds since 1970 by the database's own clock, and the tokens booked in
the last window, as JSON by small buckets of time."""

replies = Table(
    "replies",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("model", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Index("replies_by_expiry", "expires_at"),
)
"""Answers of models that may be given again until they expire."""

inbox = Table(
    "inbox",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Index("inbox_by_run", "run_id"),
)
"""What a person has to say to a run that a process works on: events that this process will record."""

trials = Table(
    "trials",
    metadata,
    Column("tool", String(200), primary_key=True),
    Column("agreed", Integer, nullable=False),
    Column("updated_at", Float(53), nullable=False),
)
"""How many calls of a new tool a person has agreed to; `tool` is `name@version`."""

memories = Table(
    "memories",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("crew", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("confidence", Float(53), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("superseded_by", String(16), nullable=False),
    Column("group_name", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Index("memories_by_scope", "tenant", "crew", "agent", "about", "superseded_by", "number"),
    Index("memories_by_digest", "tenant", "digest"),
    Index("memories_by_group", "tenant", "group_name", "place"),
    sqlite_autoincrement=True,
)
"""Long-term memory, the source of truth: indexes of text and of vectors are made from it. `about` is the user.

A `number` is never given twice, so that count and last number of a scope tell whether an index is up to date.
"""

vectors = Table(
    "vectors",
    metadata,
    Column("memory", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("model", String(200), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
"""The embedding of a memory by a model, as little-endian float32: an index is rebuilt without embedding anew."""

episodes = Table(
    "episodes",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("crew", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("goal", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("code", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("cost_usd", Text, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Index("episodes_by_crew", "tenant", "crew", "created_at"),
    Index("episodes_by_run", "run_id"),
)
"""One row a task and one a run: what was tried, how it ended, what it cost; `body` is JSON: plan, lessons, failures."""
