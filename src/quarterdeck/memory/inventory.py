"""All that is remembered in one scope, page by page, as it stands in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select, tuple_

from quarterdeck.journal.tables import episodes, memories
from quarterdeck.memory.rows import to_item, within

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.item import Item, Scope

PAGE = 500


def items(store: Store, scope: Scope) -> Iterator[Item]:
    """Yield the memories of exactly this scope, the oldest first; those that were replaced or have expired too."""
    after = 0
    while True:
        query = select(memories).where(within(scope), memories.c.number > after).order_by(memories.c.number)
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
        query = select(episodes).where(_episodes_of(scope), later).order_by(episodes.c.created_at, episodes.c.id)
        rows = [dict(row._mapping) for row in store.read(query.limit(PAGE))]
        for row in rows:
            yield {"what": "episode", **row, "user": row["about"], "body": json.loads(row["body"])}
        if len(rows) < PAGE:
            return
        after = (rows[-1]["created_at"], rows[-1]["id"])


def counted(store: Store, tenant: str) -> list[dict[str, Any]]:
    """Return how much a tenant remembers, by scope and kind: at most 500 rows, the largest first."""
    by = (memories.c.crew, memories.c.agent, memories.c.about, memories.c.kind)
    octets = func.sum(func.length(memories.c.text))
    query = select(*by, func.count(), octets).where(memories.c.tenant == tenant).group_by(*by)
    rows = store.read(query.order_by(func.count().desc(), *by).limit(PAGE))
    names = ("crew", "agent", "user", "kind", "items", "characters")
    return [dict(zip(names, row, strict=True)) for row in rows]


def delete_episodes(connection: Connection, scope: Scope) -> int:
    """Delete the episodes of exactly this scope; return how many there were."""
    return connection.execute(delete(episodes).where(_episodes_of(scope))).rowcount


def _episodes_of(scope: Scope) -> ColumnElement[bool]:
    return and_(
        episodes.c.tenant == scope.tenant,
        episodes.c.crew == scope.crew,
        episodes.c.agent == scope.agent,
        episodes.c.about == scope.user,
    )
