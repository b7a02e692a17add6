"""What changes long-term memory: each of these is one transaction over rows, vectors and full text."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from quarterdeck.errors import JournalError
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.rows import to_row, within

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.memory.fulltext import Entry, TextIndex

Gone = dict[Scope, list[int]]
"""The numbers of deleted memories, by whose they were."""
STATEMENT = 500
"""Values of one statement: databases bound them."""
_ENTRY = (memories.c.number, memories.c.tenant, memories.c.crew, memories.c.agent, memories.c.about, memories.c.text)


class Texts(Protocol):
    """What of the index of words a change needs; `memory.words.Words` has it."""

    def put(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Index texts that are not indexed yet."""
        ...

    def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Forget texts; called when their memories are deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What the write gate has decided on: all of it is done, or nothing.

    Attributes:
        added: New memories, with their ids; one whose id is there already is left out.
        replaced: Ids of memories that no longer hold, each with the id of the one that replaces it. Both may say the
            same: then the new one is the word of who is trusted more, and never merged into the old one.
        confirmed: Memories that were said again, with their new confidence and times.
    """

    added: tuple[Item, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    confirmed: tuple[Item, ...] = ()


def apply_change(connection: Connection, text: Texts, change: Change, embedded: Sequence[bytes], model: str) -> Gone:
    """Do what was decided, see `recheck`; return the numbers of what was replaced. Arguments as of `insert_items`.

    Args:
        connection: The writer's.
        text: The index of full text.
        change: What was decided.
        embedded: A vector for each of those added; empty for none.
        model: Whose vectors.
    """
    ids = [item.id for item in change.added]
    there: set[str] = set()
    for start in range(0, len(ids), STATEMENT):
        known = select(memories.c.id).where(memories.c.id.in_(ids[start : start + STATEMENT]))
        there |= set(connection.execute(known).scalars())
    new = [at for at, id in enumerate(ids) if id not in there]
    if new:
        vectors_of_new = [embedded[at] for at in new] if embedded else []
        insert_items(connection, text, [change.added[at] for at in new], vectors_of_new, model)
    gone: Gone = defaultdict(list)
    for old, by in change.replaced:
        done = supersede_item(connection, old, by)
        if done is not None:
            gone[done[0]].append(done[1])
    for one in change.confirmed:
        values = {"confidence": one.confidence, "created_at": one.created_at, "expires_at": one.expires_at}
        connection.execute(update(memories).where(memories.c.id == one.id).values(values))
    return gone


def insert_items(
    connection: Connection, text: Texts, items: Sequence[Item], embedded: Sequence[bytes], model: str
) -> None:
    """Insert memories with their vectors and words.

    Args:
        connection: The writer's.
        text: The index of full text.
        items: With their ids.
        embedded: A vector each, as little-endian float32; empty for none.
        model: Whose vectors.

    Raises:
        JournalError: One of the ids is there already.
    """
    statement = insert(memories).returning(memories.c.number, sort_by_parameter_order=True)
    try:
        numbers = [row.number for row in connection.execute(statement, [to_row(item) for item in items])]
    except IntegrityError as error:
        raise JournalError("A memory with one of these ids is there already. Nothing was added.") from error
    if embedded:
        pairs = zip(numbers, embedded, strict=True)
        connection.execute(insert(vectors), [{"memory": n, "model": model, "vector": v} for n, v in pairs])
    text.put(connection, [(n, item.scope, item.text) for n, item in zip(numbers, items, strict=True)])


def delete_items(connection: Connection, text: Texts, which: ColumnElement[bool], limit: int) -> Gone:
    """Delete memories that a condition names, with their vectors and words; return which they were.

    What one of them had replaced goes with it: an earlier version of what is deleted would be kept for nobody.

    Args:
        connection: The writer's.
        text: The index of full text.
        which: A condition on `memories`.
        limit: So many at most, the oldest first.
    """
    query = select(*_ENTRY, memories.c.id).order_by(memories.c.number)
    rows = list(connection.execute(query.where(which).limit(limit)))
    gone: Gone = defaultdict(list)
    while rows:
        part, rows = rows[:STATEMENT], rows[STATEMENT:]
        entries = [(row.number, Scope(row.tenant, row.crew, row.agent, row.about), row.text) for row in part]
        numbers = [entry[0] for entry in entries]
        connection.execute(delete(vectors).where(vectors.c.memory.in_(numbers)))
        connection.execute(delete(memories).where(memories.c.number.in_(numbers)))
        text.remove(connection, entries)
        ids = defaultdict[Scope, list[str]](list)
        for row, (number, scope, _) in zip(part, entries, strict=True):
            gone[scope].append(number)
            ids[scope].append(row.id)
        waiting = {row.number for row in rows}
        for scope, replaced_by in ids.items():
            earlier = connection.execute(query.where(within(scope), memories.c.superseded_by.in_(replaced_by)))
            rows += [row for row in earlier if row.number not in waiting]
    return gone


def supersede_item(connection: Connection, old: str, new: str) -> tuple[Scope, int] | None:
    """Mark a memory as replaced by another one of its scope; return whose it is and its number, None if not both are.

    A memory that was replaced before stays as it is, and so does the newest of a history: it cannot be replaced by
    one that it replaced.
    """
    columns = (*_ENTRY[:5], memories.c.id, memories.c.superseded_by)
    rows = {row.id: row for row in connection.execute(select(*columns).where(memories.c.id.in_([old, new])))}
    if len(rows) != 2 or rows[old].superseded_by:
        return None
    before, after = ((row.tenant, row.crew, row.agent, row.about) for row in (rows[old], rows[new]))
    if before != after or rows[new].superseded_by:
        return None
    connection.execute(update(memories).where(memories.c.id == old).values(superseded_by=new))
    return Scope(*before), rows[old].number


def index_texts(connection: Connection, text: TextIndex, after: int, limit: int) -> tuple[int, int]:
    """Index the words of memories that are not indexed; return the last number, 0 for no more, and how many.

    Args:
        connection: The writer's.
        text: The index of full text.
        after: Numbers above this one.
        limit: So many at most.
    """
    alone(connection)  # whoever else does the same must not index one of them twice
    page = select(*_ENTRY).where(memories.c.number > after, ~text.indexed())
    rows = connection.execute(page.order_by(memories.c.number).limit(limit)).all()
    entries = [(row.number, Scope(row.tenant, row.crew, row.agent, row.about), row.text) for row in rows]
    text.put(connection, entries)
    return (entries[-1][0] if len(entries) == limit else 0), len(entries)


def alone(connection: Connection, scopes: Collection[Scope] = ()) -> None:
    """Let no other process change memories until this transaction ends; on a server only those of some scopes."""
    if connection.dialect.name == "sqlite":
        # the lock for writing: what is read from here on stays true until the commit
        nothing = update(memories).where(memories.c.number == -1)
        connection.execute(nothing.values(superseded_by=memories.c.superseded_by))
        return
    for key in sorted(map(_lock_of, scopes)):  # in one order for all processes
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _lock_of(scope: Scope) -> int:
    names = "\0".join((scope.tenant, scope.crew, scope.agent, scope.user))
    return int.from_bytes(hashlib.sha256(names.encode("utf-8", "replace")).digest()[:8], signed=True)


def put_vectors(connection: Connection, model: str, embedded: dict[int, bytes]) -> None:
    """Put vectors to memories that are still there and have none by this model, or one of another length."""
    numbers = list(embedded)
    there = set(connection.execute(select(memories.c.number).where(memories.c.number.in_(numbers))).scalars())
    own = (vectors.c.model == model) & vectors.c.memory.in_(numbers)
    had = connection.execute(select(vectors.c.memory, func.length(vectors.c.vector)).where(own)).all()
    good = {memory for memory, length in map(tuple, had) if length == len(embedded[memory])}
    if stale := [memory for memory, _ in map(tuple, had) if memory not in good]:
        connection.execute(delete(vectors).where(vectors.c.model == model, vectors.c.memory.in_(stale)))
    rows: list[dict[str, Any]] = [{"memory": n, "model": model, "vector": embedded[n]} for n in sorted(there - good)]
    if rows:
        connection.execute(insert(vectors), rows)
