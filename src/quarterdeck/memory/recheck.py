"""What the write gate has decided, looked at again in the transaction that does it.

The gate decides on what it has read. Another process may have written since: so under the lock the same is looked for
once more, by the rules that need no model, and of two that cannot both hold one is current afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from quarterdeck.journal.tables import memories
from quarterdeck.memory.claims import contradicts, normal
from quarterdeck.memory.rows import digest, to_item, within
from quarterdeck.memory.trust import rank
from quarterdeck.memory.written import alone

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.memory.admission import Admitted
    from quarterdeck.memory.item import Item, Scope
    from quarterdeck.memory.written import Change

NEWEST = 20
"""Of a scope: what others may have written since the gate has read."""
STEPS = 100
"""From a memory that was replaced to the one that holds."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is done now.

    Attributes:
        change: In the place of what was decided.
        instead: The ids of memories that are not added after all, each with that of the one which says the same; empty
            where a more trusted one says otherwise.
    """

    change: Change
    instead: Mapping[str, str]


def recheck(connection: Connection, change: Change) -> Settled:
    """Return what becomes of a change, given what stands in the database now; others cannot write until the commit.

    Args:
        connection: The writer's, in the transaction that does it.
        change: As the gate has decided.
    """
    if not change.added:
        return Settled(change, {})
    alone(connection, {item.scope for item in change.added})
    own = {item.id for item in change.added}
    added, confirmed, found = [], list(change.confirmed), []
    instead: dict[str, str] = {}
    newest: dict[Scope, list[Item]] = {}
    for item in change.added:
        olds = [old for old, new in change.replaced if new == item.id]
        if item.scope not in newest:
            newest[item.scope] = _newest(connection, item.scope)
        others = list(dict.fromkeys((*newest[item.scope], *_reading_the_same(connection, item))))
        others = [one for one in others if one.id not in own and one.id not in olds and one.kind != "document"]
        same = [one for one in others if normal(one.text) == normal(item.text)]
        opposed = [one for one in others if one not in same and contradicts(one.text, item.text)]
        opposed += [one for one in _heads(connection, olds) if one.id not in own and one not in (*same, *opposed)]
        best = max(same, key=rank, default=None)
        if best is not None and rank(best) >= rank(item):
            instead[item.id] = best.id
            confirmed.append(_said_again(best, item))
        elif any(rank(one) > rank(item) for one in opposed):
            instead[item.id] = ""
        else:
            added.append(item)
            found += [(one.id, item.id) for one in dict.fromkeys((*same, *opposed))]
    # those first: what is added here may itself be replaced by the next of the same change
    pairs = [(instead.get(old, old), instead.get(new, new)) for old, new in (*found, *change.replaced)]
    kept = tuple(dict.fromkeys((old, new) for old, new in pairs if old and new and old != new))
    return Settled(replace(change, added=tuple(added), replaced=kept, confirmed=tuple(confirmed)), instead)


def outcome(done: Admitted, instead: Mapping[str, str]) -> Admitted:
    """Return what became of candidates in the end.

    Args:
        done: What the gate had decided.
        instead: As `Settled` has it.
    """
    if not instead:
        return done
    merged = tuple((item, instead[item.id]) for item in done.added if instead.get(item.id))
    why = "it contradicts what a more trusted source has said meanwhile"
    return replace(
        done,
        added=tuple(item for item in done.added if item.id not in instead),
        merged=(*done.merged, *merged),
        superseded=tuple(pair for pair in done.superseded if pair[1] not in instead),
        refused=(*done.refused, *((item, why) for item in done.added if instead.get(item.id) == "")),
    )


def _newest(connection: Connection, scope: Scope) -> list[Item]:
    query = select(memories).where(within(scope), memories.c.superseded_by == "")
    return [to_item(row) for row in connection.execute(query.order_by(memories.c.number.desc()).limit(NEWEST))]


def _reading_the_same(connection: Connection, item: Item) -> list[Item]:
    query = select(memories).where(within(item.scope), memories.c.digest == digest(item.text))
    return [to_item(row) for row in connection.execute(query.where(memories.c.superseded_by == "").limit(NEWEST))]


def _heads(connection: Connection, olds: Sequence[str]) -> list[Item]:
    """Return what holds now in the place of memories that were to be replaced, and have been by somebody else."""
    found = []
    for old in olds:
        at = old
        for _ in range(STEPS):
            rows = connection.execute(select(memories).where(memories.c.id == at)).all()
            if not rows or not rows[0].superseded_by:
                found += [to_item(row) for row in rows if row.id != old]
                break
            at = rows[0].superseded_by
    return found


def _said_again(known: Item, item: Item) -> Item:
    lasts = max(known.expires_at, item.expires_at) if known.expires_at and item.expires_at else 0.0
    return replace(
        known, confidence=max(known.confidence, item.confidence), expires_at=lasts,
        created_at=max(known.created_at, item.created_at),
    )  # fmt: skip
