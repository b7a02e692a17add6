"""A correction by a person: the new text takes the place of a memory, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.errors import InputError
from quarterdeck.memory.rows import new_id
from quarterdeck.memory.written import Change, supersede_item

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.admission import Admitted, Commit
    from quarterdeck.memory.item import Item
    from quarterdeck.memory.longterm import LongTerm

Admit = Callable[["Item", "Commit"], Awaitable["Admitted"]]
"""Lets the write gate decide on an item, and raises `Rejected` where it is refused."""


async def correct(store: Store, longterm: Callable[[], LongTerm], admit: Admit, old: Item, item: Item) -> str:
    """Put an item into the place of a memory; return the id of what holds now.

    Args:
        store: The database.
        longterm: Returns the long-term memory as it is after the gate has decided.
        admit: The write gate.
        old: The memory.
        item: What holds from now on, without an id.

    Raises:
        InputError: The memory was replaced before.
        Rejected: The write gate refuses the item.
        JournalError: Nothing was changed.
    """
    if old.superseded_by:
        raise InputError(f"Memory {old.id} was replaced by {old.superseded_by}: edit that one.")

    async def commit(done: Admitted, work: Callable[[Connection], None]) -> None:
        by = [one.id for one in done.added] or [known for _, known in done.merged]

        def both(connection: Connection) -> None:
            work(connection)
            supersede_item(connection, old.id, by[0])

        if by and by[0] != old.id:
            await store.writer.ask(both)

    admitted = await admit(item, commit)
    (new,) = [one.id for one in admitted.added] or [known for _, known in admitted.merged]
    if new != old.id:
        return new
    # so near that the gate takes it for the same; who edits means the difference
    new = new_id()
    change = Change((replace(item, id=new, expires_at=old.expires_at),), replaced=((old.id, new),))
    return (await longterm().apply(change)).get(new) or new
