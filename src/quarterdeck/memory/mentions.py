"""Where the name of a user, or a passage of what was erased, still stands: found, so that a person can look at it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from quarterdeck.journal.tables import episodes, events, inbox, memories, runs
from quarterdeck.memory.residue import as_recorded, copies_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from quarterdeck.journal.store import Store

BATCH = 200
"""Rows that are looked at at once."""
_WORD = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Left:
    """Something that no program can remove without breaking what it is for.

    Attributes:
        what: Such as `journal` or `backup`.
        where: A run's id, a file, the id of a memory or an episode.
        advice: What a person can do about it.
    """

    what: str
    where: str
    advice: str


def mentions(
    store: Store, tenant: str, said: Sequence[str], named: Sequence[str], own: Sequence[str], run_folders: Path | None
) -> list[Left]:
    """Return all that a person has to look at: records that are append-only, what others remember, and copies.

    Args:
        store: The database.
        tenant: Whose.
        said: The name of the user, and passages of what was erased.
        named: The runs in whose records one of them stands.
        own: The runs of the user.
        run_folders: Where runs keep their files; None where nobody knows.
    """
    left = [Left("journal", run_id, f"quarterdeck runs show {run_id}; its chain is append-only") for run_id in named]
    if run_folders is not None:
        folders = [run_folders / run_id for run_id in named]
        left += [
            Left("files of a run", str(folder), "look through what it wrote; delete what need not be kept")
            for folder in folders
            if folder.is_dir()
        ]
    left += _memories(store, tenant, said, own)
    left += _episodes(store, tenant, said, own)
    left += [Left("backup", str(file), "delete it, or let it expire") for file in copies_of(store)]
    if store.folder is None:
        left.append(Left("backup", "the server's write-ahead log", "it passes with your server's retention"))
    left.append(Left("backup", "copies made outside of Quarterdeck", "delete them, or let them expire"))
    return left


def holding(dialect: str, column: ColumnElement[str], *texts: str) -> ColumnElement[bool]:
    """Return the condition that a column holds one of some texts, as it is or as JSON writes it."""
    # LIKE would fold case and read wildcards
    place = func.instr if dialect == "sqlite" else func.strpos
    forms = dict.fromkeys(form for text in texts for form in (text, as_recorded(text)))
    return or_(*(place(column, form) > 0 for form in forms))


def runs_holding(dialect: str, texts: Sequence[str], tenant: str) -> Select[Any]:
    """Return the query for the runs of a tenant in whose records one of some texts stands, the oldest first."""
    recorded = select(events.c.run_id).where(holding(dialect, events.c.body, *texts))
    told = select(inbox.c.run_id).where(holding(dialect, inbox.c.body, *texts))
    own = [holding(dialect, column, *texts) for column in (runs.c.inputs, runs.c.spec, runs.c.summary)]
    held = or_(runs.c.id.in_(recorded), runs.c.id.in_(told), *own)
    return select(runs.c.id).where(runs.c.tenant == tenant, held).order_by(runs.c.created_at)


def runs_of(store: Store, user: str, named: Sequence[str]) -> list[str]:
    """Return which runs were made on behalf of a user; only those that name them can be."""
    found = []
    for part in _parts(named):
        for row in store.read(select(runs.c.id, runs.c.spec).where(runs.c.id.in_(part))):
            spec = json.loads(row.spec)
            if isinstance(spec, dict) and spec.get("user") == user:
                found.append(row.id)
    return found


def episodes_naming(connection: Connection, tenant: str, said: Sequence[str]) -> list[str]:
    """Return the ids of the episodes of a tenant that name a user as a word of its own, or hold a passage.

    Args:
        connection: Of the transaction that deletes them.
        tenant: Whose.
        said: The name, then the passages.
    """
    words = [re.compile(rf"(?<!\w){re.escape(form)}(?!\w)") for form in (said[0], as_recorded(said[0]))]
    passages = {form for text in said[1:] for form in (text, as_recorded(text))}
    found = []
    for part in _parts(connection.execute(_episodes_holding(connection.dialect.name, tenant, said)).scalars().all()):
        for row in connection.execute(select(episodes).where(episodes.c.id.in_(part))):
            text = f"{row.goal}\n{row.body}"
            if any(word.search(text) for word in words) or any(passage in text for passage in passages):
                found.append(row.id)
    return found


def _memories(store: Store, tenant: str, said: Sequence[str], own: Sequence[str]) -> Iterator[Left]:
    """Yield memories about others that name the user, and those that a run of the user has left."""
    dialect = "sqlite" if store.folder is not None else "postgresql"
    columns = (memories.c.id, memories.c.crew, memories.c.agent, memories.c.about, memories.c.source)
    here = select(*columns).where(memories.c.tenant == tenant).order_by(memories.c.number)
    told = or_(*(holding(dialect, column, *said) for column in (memories.c.text, memories.c.source)))
    seen = set()
    for row in store.read(here.where(told)):
        seen.add(row.id)
        yield Left("memory about others", row.id, f"{_show(row, tenant)}, then edit or delete it")
    written = _written_by(store, own)
    sources = here.where(holding(dialect, memories.c.source, "run ")) if own else None
    rows = store.read(sources) if sources is not None else []
    for part in _parts(sorted(written)):
        rows += store.read(here.where(memories.c.id.in_(part)))
    for row in rows:
        if row.id not in seen and (row.id in written or not {*_WORD.findall(row.source)}.isdisjoint(own)):
            seen.add(row.id)
            yield Left("memory of their run", row.id, f"{_show(row, tenant)}, then edit or delete it")


def _episodes(store: Store, tenant: str, said: Sequence[str], own: Sequence[str]) -> Iterator[Left]:
    """Yield episodes in which the name stands within another word, and those of runs of the user."""
    dialect = "sqlite" if store.folder is not None else "postgresql"
    ids = [row.id for row in store.read(_episodes_holding(dialect, tenant, said))]
    for part in _parts(own):
        ids += [row.id for row in store.read(select(episodes.c.id).where(episodes.c.run_id.in_(part)))]
    for part in _parts(list(dict.fromkeys(ids))):
        columns = (episodes.c.id, episodes.c.crew, episodes.c.agent, episodes.c.about)
        own_rows = select(*columns).where(episodes.c.tenant == tenant, episodes.c.id.in_(part))
        for row in store.read(own_rows.order_by(episodes.c.created_at, episodes.c.id)):
            delete = f"quarterdeck memory delete {row.id}{_flags(row, tenant)}"
            yield Left("episode", row.id, f"it may tell of them: {delete}")


def _episodes_holding(dialect: str, tenant: str, said: Sequence[str]) -> Select[Any]:
    told = or_(*(holding(dialect, column, *said) for column in (episodes.c.goal, episodes.c.body)))
    return select(episodes.c.id).where(episodes.c.tenant == tenant, told).order_by(episodes.c.id)


def _written_by(store: Store, run_ids: Sequence[str]) -> set[str]:
    """Return the ids of memories that runs say they have written."""
    found: set[str] = set()
    for part in _parts(run_ids):
        query = select(events.c.body).where(events.c.run_id.in_(part), events.c.kind == "memory.written")
        for row in store.read(query):
            found |= set(json.loads(row.body).get("ids", ()))
    return found


def _show(row: Row[Any], tenant: str) -> str:
    return f"quarterdeck memory show {row.id}{_flags(row, tenant)}"


def _flags(row: Row[Any], tenant: str) -> str:
    """Return the options that name a row's scope, which a command has to be told exactly."""
    named = (("tenant", tenant), ("crew", row.crew), ("agent", row.agent), ("user", row.about))
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in named if value)


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
