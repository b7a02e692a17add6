"""What changes long-term memory: each of these is one transaction over rows, vectors and full text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from quarterdeck.errors import JournalError
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.rows import to_row

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.memory.fulltext import TextIndex

Gone = dict[Scope, list[int]]
"""The numbers of deleted memories, by whose they were."""
STATEMENT = 500
"""Values of one statement: databases bound them."""
_ENTRY = (memories.c.number, memories.c.tenant, memories.c.crew, memories.c.agent, memories.c.about, memories.c.text)


def insert_items(
    connection: Connection, text: TextIndex, items: Sequence[Item], embedded: Sequence[bytes], model: str
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


def delete_items(connection: Connection, text: TextIndex, which: ColumnElement[bool], limit: int) -> Gone:
    """Delete memories that a condition names, with their vectors and words; return which they were.

    Args:
        connection: The writer's.
        text: The index of full text.
        which: A condition on `memories`.
        limit: So many at most, the oldest first.
    """
    rows = connection.execute(select(*_ENTRY).where(which).order_by(memories.c.number).limit(limit)).all()
    gone: Gone = defaultdict(list)
    for start in range(0, len(rows), STATEMENT):
        part = rows[start : start + STATEMENT]
        entries = [(row.number, Scope(row.tenant, row.crew, row.agent, row.about), row.text) for row in part]
        numbers = [entry[0] for entry in entries]
        text.remove(connection, entries)
        connection.execute(delete(vectors).where(vectors.c.memory.in_(numbers)))
        connection.execute(delete(memories).where(memories.c.number.in_(numbers)))
        for number, scope, _ in entries:
            gone[scope].append(number)
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


def index_texts(connection: Connection, text: TextIndex, after: int, until: int, limit: int) -> tuple[int, int]:
    """Index the words of some memories anew; return the last number, 0 when there are no more, and how many.

    Args:
        connection: The writer's.
        text: The index of full text.
        after: Numbers above this one.
        until: The last number.
        limit: So many at most.
    """
    page = select(*_ENTRY).where(memories.c.number > after, memories.c.number <= until)
    rows = connection.execute(page.order_by(memories.c.number).limit(limit)).all()
    entries = [(row.number, Scope(row.tenant, row.crew, row.agent, row.about), row.text) for row in rows]
    text.put(connection, entries)
    return (entries[-1][0] if len(entries) == limit else 0), len(entries)


def clear_texts(connection: Connection, text: TextIndex) -> int:
    """Empty the index of full text; return the highest number that has to be indexed anew."""
    text.clear(connection)
    return int(connection.execute(select(func.coalesce(func.max(memories.c.number), 0))).scalar_one())


def insert_vectors(connection: Connection, model: str, embedded: dict[int, bytes]) -> None:
    """Insert vectors of memories that are still there and have none by this model."""
    numbers = list(embedded)
    there = set(connection.execute(select(memories.c.number).where(memories.c.number.in_(numbers))).scalars())
    had = select(vectors.c.memory).where(vectors.c.model == model, vectors.c.memory.in_(numbers))
    there -= set(connection.execute(had).scalars())
    rows: list[dict[str, Any]] = [{"memory": n, "model": model, "vector": embedded[n]} for n in sorted(there)]
    if rows:
        connection.execute(insert(vectors), rows)
