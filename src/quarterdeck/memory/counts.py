"""Questions about long-term memory as a whole: counts, large scopes, and what replaced what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.rows import to_item, within

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.words import Words

MAX_HISTORY = 1_000
MAX_SCOPES = 1_000


def counted(store: Store, text: Words, which: ColumnElement[bool] | None = None) -> dict[str, Any]:
    """Return how many memories there are, of which kind, superseded, embedded by which model, and indexed by words.

    Args:
        store: The database.
        text: Its index of words.
        which: A condition on `memories`; None for all.
    """
    by_kind = select(memories.c.kind, func.count()).group_by(memories.c.kind).order_by(memories.c.kind)
    by_model = select(vectors.c.model, func.count()).group_by(vectors.c.model).order_by(vectors.c.model)
    replaced = select(func.count()).select_from(memories).where(memories.c.superseded_by != "")
    if which is not None:
        by_kind, replaced = by_kind.where(which), replaced.where(which)
        by_model = by_model.join(memories, memories.c.number == vectors.c.memory).where(which)
    kinds, models = _pairs(store, by_kind), _pairs(store, by_model)
    return {
        "items": sum(kinds.values()),
        "kinds": kinds,
        "superseded": int(store.read(replaced)[0][0]),
        "words": text.count(which),
        "vectors": models,
    }


def large_scopes(store: Store, above: int) -> list[Scope]:
    """Return the scopes that hold more memories than a number, the largest first; at most 1,000."""
    names = (memories.c.tenant, memories.c.crew, memories.c.agent, memories.c.about)
    query = select(*names).where(memories.c.superseded_by == "").group_by(*names).having(func.count() > above)
    return [Scope(*row) for row in store.read(query.order_by(func.count().desc(), *names).limit(MAX_SCOPES))]


def history(store: Store, memory_id: str) -> list[Item]:
    """Return a memory with those that it replaced and that replaced it, of its own scope, the oldest first.

    At most 1,000, those nearest to it.
    """
    rows = store.read(select(memories).where(memories.c.id == memory_id))
    if not rows:
        return []
    found = {row.id: row for row in rows}
    here = within(to_item(rows[0]).scope)
    earlier, later = [memory_id], rows[0].superseded_by
    while earlier and len(found) < MAX_HISTORY:
        replaced = select(memories).where(here, memories.c.superseded_by.in_(earlier)).order_by(memories.c.number)
        new = {row.id: row for row in store.read(replaced.limit(MAX_HISTORY - len(found))) if row.id not in found}
        found |= new
        earlier = list(new)
    while later and later not in found and len(found) < MAX_HISTORY:
        for row in store.read(select(memories).where(here, memories.c.id == later)):
            found[row.id] = row
        later = found[later].superseded_by if later in found else ""
    return [to_item(row) for row in sorted(found.values(), key=lambda row: row.number)]


def _pairs(store: Store, query: Select[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in map(tuple, store.read(query))}
