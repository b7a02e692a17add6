"""All that is remembered in one scope, page by page, as it stands in the database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, or_, select, tuple_

from quarterdeck.journal.tables import episodes, memories
from quarterdeck.memory.rows import to_item, within

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.item import Item, Scope

PAGE = 500


def items(store: Store, scope: Scope) -> Iterator[Item]:
    """Yield the memories of exactly this scope, the oldest first; those that were replaced too, no expired ones."""
    after, lasting = 0, _lasts(memories.c.expires_at)
    while True:
        query = select(memories).where(within(scope), lasting, memories.c.number > after).order_by(memories.c.number)
        rows = store.read(query.limit(PAGE))
        yield from map(to_item, rows)
        if len(rows) < PAGE:
            return
        after = rows[-1].number


def exported(store: Store, scope: Scope) -> Iterator[dict[str, Any]]:
    """Yield the memories and then the episodes of exactly this scope as data; `what` tells them apart."""
    for item in items(store, scope):
        data = asdict(item)
        yield {"what": "memory", **data.pop("scope"), **data}
    after = (-1.0, "")
    while True:
        later = tuple_(episodes.c.created_at, episodes.c.id) > after
        own = _episodes_of(scope) & _lasts(episodes.c.expires_at)
        query = select(episodes).where(own, later).order_by(episodes.c.created_at, episodes.c.id)
        rows = [dict(row._mapping) for row in store.read(query.limit(PAGE))]
        for row in rows:
            yield {"what": "episode", **row, "user": row["about"], "body": json.loads(row["body"])}
        if len(rows) < PAGE:
            return
        after = (rows[-1]["created_at"], rows[-1]["id"])


def counted(store: Store, which: ColumnElement[bool] | None = None) -> list[dict[str, Any]]:
    """Return how much is remembered, by scope and kind: at most 500 rows, the largest first.

    Args:
        store: The database.
        which: A condition on `memories`; None for all tenants, which are named then.
    """
    by = (memories.c.tenant, memories.c.crew, memories.c.agent, memories.c.about, memories.c.kind)
    octets = func.sum(func.length(memories.c.text))
    query = select(*by, func.count(), octets).group_by(*by).order_by(func.count().desc(), *by).limit(PAGE)
    rows = store.read(query if which is None else query.where(which))
    names = ("tenant", "crew", "agent", "user", "kind", "items", "characters")
    return [dict(zip(names, row, strict=True)) for row in rows]


def known_by(scope: Scope) -> ColumnElement[bool]:
    """Return the condition that a memory is of a tenant, and of the crew, agent and user, where these are named."""
    named = ((memories.c.crew, scope.crew), (memories.c.agent, scope.agent), (memories.c.about, scope.user))
    return and_(memories.c.tenant == scope.tenant, *(column == name for column, name in named if name))


def delete_episodes(connection: Connection, scope: Scope, episode_id: str = "") -> int:
    """Delete the episodes of exactly this scope, or one of them; return how many there were."""
    which = _episodes_of(scope)
    which = which & (episodes.c.id == episode_id) if episode_id else which
    return connection.execute(delete(episodes).where(which)).rowcount


def find_episode(store: Store, scope: Scope, episode_id: str) -> str:
    """Return what an episode of exactly this scope was about; empty where there is none."""
    rows = store.read(select(episodes.c.goal).where(_episodes_of(scope), episodes.c.id == episode_id))
    return rows[0].goal or episode_id if rows else ""


def _episodes_of(scope: Scope) -> ColumnElement[bool]:
    return and_(
        episodes.c.tenant == scope.tenant,
        episodes.c.crew == scope.crew,
        episodes.c.agent == scope.agent,
        episodes.c.about == scope.user,
    )


def _lasts(expires_at: ColumnElement[float]) -> ColumnElement[bool]:
    return or_(expires_at == 0, expires_at > time.time())
