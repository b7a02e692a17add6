"""What has expired is deleted: rows, words, vectors and episodes, by one process, in bounded batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from quarterdeck.journal.tables import episodes, memories

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.item import Scope

BATCH = 1_000
"""Episodes that are deleted in one transaction."""


def expired(now: float) -> ColumnElement[bool]:
    """Return the condition that a memory has expired."""
    return (memories.c.expires_at > 0) & (memories.c.expires_at <= now)


def any_expired(store: Store, now: float | None = None) -> bool:
    """Return whether a memory or an episode of the database has expired; a reading, so that nobody waits for it.

    Raises:
        JournalError: The database cannot be read.
    """
    moment = time.time() if now is None else now
    past = (episodes.c.expires_at > 0) & (episodes.c.expires_at <= moment)
    memory = select(memories.c.number).where(expired(moment)).limit(1)
    return bool(store.read(memory) or store.read(select(episodes.c.id).where(past).limit(1)))


def delete_episodes(connection: Connection, now: float, limit: int = BATCH, of: Scope | None = None) -> int:
    """Delete episodes that have expired, the oldest first; return how many there were.

    Args:
        connection: The writer's.
        now: Seconds since 1970 (UTC).
        limit: So many at most.
        of: Only those of this tenant and crew; None for all.
    """
    past = select(episodes.c.id).where(episodes.c.expires_at > 0, episodes.c.expires_at <= now)
    if of is not None:
        past = past.where(episodes.c.tenant == of.tenant, episodes.c.crew == of.crew)
    # what another process deletes at this moment is passed over: nobody waits for anybody
    ids = list(connection.execute(past.order_by(episodes.c.expires_at).limit(limit).with_for_update(skip_locked=True)))
    for start in range(0, len(ids), 500):
        part = [row.id for row in ids[start : start + 500]]
        connection.execute(delete(episodes).where(episodes.c.id.in_(part)))
    return len(ids)
