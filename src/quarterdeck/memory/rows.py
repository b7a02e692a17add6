"""Rows of `memories`: an item as the database keeps it, and whose it is as a condition of a query."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_

from quarterdeck.journal.ids import LETTERS
from quarterdeck.journal.tables import memories
from quarterdeck.memory.item import Item, Scope

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row

ID_LENGTH = 16


def new_id() -> str:
    """Return a new id of a memory."""
    return "".join(secrets.choice(LETTERS) for _ in range(ID_LENGTH))


def digest(text: str) -> str:
    """Return a hash of a text that is the same whatever its case and white space."""
    return hashlib.sha256(" ".join(text.split()).casefold().encode("utf-8", "replace")).hexdigest()


def clean(text: str) -> str:
    """Return a text as both databases keep it: without NUL, which PostgreSQL refuses, and without half characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def within(scope: Scope) -> ColumnElement[bool]:
    """Return the condition that a memory is of exactly this scope."""
    return and_(
        memories.c.tenant == scope.tenant,
        memories.c.crew == scope.crew,
        memories.c.agent == scope.agent,
        memories.c.about == scope.user,
    )


def holds(now: float) -> ColumnElement[bool]:
    """Return the condition that a memory is neither superseded nor expired."""
    return and_(memories.c.superseded_by == "", or_(memories.c.expires_at == 0, memories.c.expires_at > now))


def to_row(item: Item) -> dict[str, Any]:
    """Return an item as a row, without its number."""
    return {
        "id": item.id,
        "tenant": item.scope.tenant,
        "crew": item.scope.crew,
        "agent": item.scope.agent,
        "about": item.scope.user,
        "kind": item.kind,
        "text": item.text,
        "digest": digest(item.text),
        "source": item.source,
        "origin": item.origin,
        "confidence": item.confidence,
        "created_at": item.created_at,
        "expires_at": item.expires_at,
        "superseded_by": item.superseded_by,
        "group_name": item.group,
        "place": item.place,
    }


def to_item(row: Row[Any]) -> Item:
    """Return a row of all columns as an item."""
    return Item(
        id=row.id,
        scope=Scope(row.tenant, row.crew, row.agent, row.about),
        text=row.text,
        kind=row.kind,
        source=row.source,
        origin=row.origin,
        confidence=row.confidence,
        created_at=row.created_at,
        expires_at=row.expires_at,
        superseded_by=row.superseded_by,
        group=row.group_name,
        place=row.place,
    )
