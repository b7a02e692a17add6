"""Answers of models that may be given again: kept in the database until they expire, within bounds."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.tables import replies

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_ENTRY_BYTES = 1_000_000
MAX_ENTRIES = 10_000
MAX_TOTAL_BYTES = 200_000_000


def _for_drivers(sql: str) -> dict[str, str]:
    """Return a statement as each driver takes it: these two are part of many calls, and go past SQLAlchemy's layers."""
    return {"sqlite": sql, "postgresql": re.sub(r":(\w+)", r"%(\1)s", sql)}


_PUT = _for_drivers(
    "INSERT INTO replies (key, model, reply, size, created_at, expires_at) "
    "VALUES (:key, :model, :reply, :size, :now, :until) ON CONFLICT (key) DO UPDATE SET model = excluded.model, "
    "reply = excluded.reply, size = excluded.size, created_at = excluded.created_at, expires_at = excluded.expires_at"
)
_GET = _for_drivers("SELECT model, reply, size FROM replies WHERE key = :key AND expires_at > :now")


def get(connection: Connection, key: str) -> tuple[str, str] | None:
    """Return the model and the reply, as JSON, that are kept under a key; None when there is none, or half of one.

    Args:
        connection: Of the store.
        key: As it was given to `put`.
    """
    row = connection.exec_driver_sql(_GET[connection.dialect.name], {"key": key, "now": time.time()}).first()
    return None if row is None or len(row.reply.encode()) != row.size else (row.model, row.reply)


def key_of(tenant: str, request: Any) -> str:
    """Return what the reply to a request is kept under.

    Args:
        tenant: Whose answers they are; no other is given them.
        request: All that is asked, as it is recorded.
    """
    return fingerprint([tenant, request])


def keys_since(connection: Connection, since: float) -> tuple[float, set[str]]:
    """Return when the newest reply was kept, and the keys of those kept since a moment; nothing is 0.0 and empty.

    Args:
        connection: Of the store.
        since: Seconds since 1970.
    """
    rows = connection.execute(select(replies.c.created_at, replies.c.key).where(replies.c.created_at >= since)).all()
    return max((row.created_at for row in rows), default=0.0), {row.key for row in rows}


def put(connection: Connection, key: str, model: str, reply: str, seconds: float) -> None:
    """Keep a reply, unless it is too large.

    Args:
        connection: Of the store.
        key: 64 characters that stand for all that was asked.
        model: Who answered.
        reply: JSON.
        seconds: How long it may be given again.
    """
    size = len(reply.encode())
    if size > MAX_ENTRY_BYTES:
        return
    now = time.time()
    row = {"key": key, "model": model, "reply": reply, "size": size, "now": now, "until": now + seconds}
    connection.exec_driver_sql(_PUT[connection.dialect.name], row)


def prune(connection: Connection, entries: int = MAX_ENTRIES, total: int = MAX_TOTAL_BYTES) -> int:
    """Drop what has expired, and the oldest until the bounds are kept; return how many.

    Args:
        connection: Of the store, in a transaction of its own.
        entries: So many are kept at most.
        total: So many bytes are kept at most.
    """
    newest_first = (replies.c.created_at.desc(), replies.c.key)
    ranked = select(
        replies.c.key,
        func.row_number().over(order_by=newest_first).label("place"),
        func.sum(replies.c.size).over(order_by=newest_first).label("bytes"),
    ).subquery()
    too_many = select(ranked.c.key).where((ranked.c.place > entries) | (ranked.c.bytes > total))
    doomed = (
        select(replies.c.key)
        .where((replies.c.expires_at <= time.time()) | replies.c.key.in_(too_many))
        .with_for_update(skip_locked=True)  # of no effect on SQLite, which has one writer
    )
    return connection.execute(delete(replies).where(replies.c.key.in_(doomed))).rowcount
