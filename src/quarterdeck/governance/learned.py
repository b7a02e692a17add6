"""What a crew has learned besides its memories, and how it is forgotten: kept answers, trials of its tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import delete, select, tuple_

from quarterdeck.errors import JournalError
from quarterdeck.governance.trials import key_of as trial_key
from quarterdeck.journal.replies import key_of as reply_key
from quarterdeck.journal.tables import events, replies, runs
from quarterdeck.journal.tables import trials as tried

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Select

    from quarterdeck.journal.store import Store

CLOCKS = 3600.0
"""Seconds by which clocks may differ: of the process that kept an answer and of the one that recorded the call."""

_EVENTS_A_PAGE = 100
_KEYS_A_STATEMENT = 500


async def forget(store: Store, tenant: str, crew: str, *, trials: bool = False) -> dict[str, int]:
    """Delete the kept answers that a crew's calls gave or were given, and what its tools have proved if that is wanted.

    The journal says which they are, and stays as it is. Where another crew of the tenant asked the very same, that
    crew loses the answer as well. A trial is one for all crews: each has the tool in shadow again.

    Args:
        store: The database.
        tenant: Exactly; empty for nobody's.
        crew: Exactly.
        trials: Also let the trials of the tools that the crew has called begin anew.

    Returns:
        How many of each were deleted: replies, and trials if they were wanted.

    Raises:
        JournalError: The database cannot be used, or an event is not what was written.
    """
    removed = {"replies": await _forget_replies(store, tenant, crew)}
    if trials:
        removed["trials"] = await _forget_trials(store, tenant, crew)
    return removed


async def _forget_replies(store: Store, tenant: str, crew: str) -> int:
    held = {row.key: row.created_at for row in store.read(select(replies.c.key, replies.c.created_at))}
    if not held:
        return 0

    def key_of(body: dict[str, Any]) -> str:
        return reply_key(tenant, body["request"])

    calls = _recorded("model.called", tenant, crew, min(held.values()) - CLOCKS)
    return await _delete(store, replies.c.key, await asyncio.to_thread(_found, store, calls, key_of, held.keys()))


async def _forget_trials(store: Store, tenant: str, crew: str) -> int:
    held = {row.tool for row in store.read(select(tried.c.tool))}

    def key_of(body: dict[str, Any]) -> str:
        return trial_key(body["tool"], body.get("version") or "1")

    calls = _recorded("tool.called", tenant, crew)
    return await _delete(store, tried.c.tool, await asyncio.to_thread(_found, store, calls, key_of, held))


def _recorded(kind: str, tenant: str, crew: str, since: float = 0.0) -> Select[Any]:
    """Return the question for what was recorded of one kind in the runs of a crew, a page of it."""
    return (
        select(events.c.run_id, events.c.seq, events.c.body)
        .select_from(events.join(runs, runs.c.id == events.c.run_id))
        .where(runs.c.tenant == tenant, runs.c.crew == crew, events.c.kind == kind, events.c.at >= since)
        .order_by(events.c.run_id, events.c.seq)
        .limit(_EVENTS_A_PAGE)
    )


def _found(store: Store, query: Select[Any], key_of: Callable[[Any], str], held: Set[str]) -> list[str]:
    """Return those of the held keys that recorded calls have."""
    found: set[str] = set()
    place = tuple_(events.c.run_id, events.c.seq)
    page = store.read(query)
    while page and len(found) < len(held):
        for row in page:
            try:
                key = key_of(orjson.loads(row.body))
            except (ValueError, KeyError, TypeError):
                raise JournalError(
                    f"Event {row.seq} of run {row.run_id} cannot be read. See which row was changed: "
                    f"quarterdeck audit verify {row.run_id}",
                    code="corrupt",
                ) from None
            if key in held:
                found.add(key)
        page = store.read(query.where(place > tuple_(page[-1].run_id, page[-1].seq)))
    return sorted(found)


async def _delete(store: Store, column: Column[Any], keys: Sequence[str]) -> int:
    def work(connection: Connection) -> int:
        parts = (keys[first : first + _KEYS_A_STATEMENT] for first in range(0, len(keys), _KEYS_A_STATEMENT))
        return sum(connection.execute(delete(column.table).where(column.in_(part))).rowcount for part in parts)

    return await store.writer.ask(work)
