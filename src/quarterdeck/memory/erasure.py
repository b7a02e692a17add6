"""The right to erasure: all that is remembered about one user, removed, with a receipt that says what is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import delete, func, select

from quarterdeck.journal.tables import episodes, events, inbox, memories, replies, runs, vectors
from quarterdeck.memory.mentions import Left, episodes_naming, holding, mentions, runs_holding, runs_of
from quarterdeck.memory.residue import (
    compact,
    files_of,
    overwrite_on_delete,
    probes_of,
    search_files,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.store import Store

BATCH = 500
"""Values of one statement."""
NAMED_PASSAGES = 5
"""Besides the name, what is looked for in all that is recorded: each is one more pass over it."""


class Erases(Protocol):
    """What of the long-term memory an erasure needs."""

    async def erase(self, tenant: str, user: str) -> int:
        """Delete memories about a user with their vectors, words and index entries; return how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did. It holds counts and places, and nothing of what was erased but the user's name.

    Attributes:
        at: Seconds since 1970 (UTC).
        removed: How many of each: memories, vectors, episodes, replies, session.
        proof: How it was proved that the files hold nothing more of it.
        left: What a person has to look at.
    """

    tenant: str
    user: str
    at: float
    removed: dict[str, int]
    proof: str
    left: tuple[Left, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self)


async def erase(
    store: Store,
    longterm: Erases,
    *,
    tenant: str,
    user: str,
    index: Path | None = None,
    run_folders: Path | None = None,
    redis_url: str = "",
    rewrite: bool = False,
) -> Receipt:
    """Remove what is remembered about a user: in every crew and agent of one tenant, and of no other.

    Args:
        store: The database.
        longterm: The long-term memory on it.
        tenant: Exactly.
        user: Exactly.
        index: The folder of the vector index, for the proof.
        run_folders: Where runs keep their files, to name those that may mention the user.
        redis_url: Where session caches are that outlive their process; empty for none.
        rewrite: Write a SQLite file anew however large it is; nobody can write to it meanwhile.

    Raises:
        ValueError: The name is empty: that would be everything that is about nobody.
        JournalError: The database cannot be used.
    """
    if not user:
        raise ValueError("an erasure needs the name of a user")
    texts, past = _about(store, tenant, user)
    removed = {"vectors": _count_vectors(store, tenant, user)}
    await overwrite_on_delete(store)
    removed["memories"] = await longterm.erase(tenant, user)
    dialect = "sqlite" if store.folder is not None else "postgresql"
    probes = probes_of(texts)
    said = [user, *(probe.decode("utf-8", "ignore") for probe in probes[:NAMED_PASSAGES])]
    named = [row[0] for row in await asyncio.to_thread(store.read, runs_holding(dialect, said, tenant))]
    own = {*past, *await asyncio.to_thread(runs_of, store, user, named)}
    removed["session"], missed = await _clear_sessions(redis_url, tenant, sorted({*named, *own}))
    removed |= await store.writer.ask(lambda connection: _delete_rows(connection, tenant, user, said))
    trouble = await compact(store, however_large=rewrite)
    left = await asyncio.to_thread(mentions, store, tenant, said, named, sorted(own), run_folders)
    proof, found = await _prove(store, probes, index, trouble)
    return Receipt(tenant, user, time.time(), removed, proof, (*missed, *left, *found))


def _about(store: Store, tenant: str, user: str) -> tuple[list[str], list[str]]:
    """Return the texts of memories and episodes about a user, and the runs of those episodes."""
    mine = select(memories.c.text).where(memories.c.tenant == tenant, memories.c.about == user)
    past = select(episodes.c.run_id, episodes.c.goal).where(episodes.c.tenant == tenant, episodes.c.about == user)
    done = store.read(past)
    texts = [*(row.text for row in store.read(mine)), *(row.goal for row in done)]
    return texts, list(dict.fromkeys(row.run_id for row in done))


def _count_vectors(store: Store, tenant: str, user: str) -> int:
    joined = vectors.join(memories, vectors.c.memory == memories.c.number)
    own = (memories.c.tenant == tenant) & (memories.c.about == user)
    counted = store.read(select(func.count()).select_from(joined).where(own))
    return int(next(iter(counted[0])))


async def _clear_sessions(url: str, tenant: str, run_ids: Sequence[str]) -> tuple[int, list[Left]]:
    """Empty the session caches of runs; return how many values there were, and what could not be reached."""
    if not url or not run_ids:
        return 0, []
    from quarterdeck.memory.redis_session import VARIABLE, clear_sessions

    count, missed = await clear_sessions(url, tenant, run_ids)
    if not missed:
        return count, []
    advice = f"the caches of {len(missed):,} runs were not reached: erase again when it answers, or let them expire"
    return count, [Left("session cache", f"the Redis of {VARIABLE}", advice)]


def _delete_rows(connection: Connection, tenant: str, user: str, said: Sequence[str]) -> dict[str, int]:
    """Delete episodes that are about a user or name them, and answers of models kept for later that do."""
    about = (episodes.c.tenant == tenant) & (episodes.c.about == user)
    kept = holding(connection.dialect.name, replies.c.reply, *said)
    count = connection.execute(delete(episodes).where(about)).rowcount
    naming = episodes_naming(connection, tenant, said)
    for start in range(0, len(naming), BATCH):
        part = naming[start : start + BATCH]
        count += connection.execute(delete(episodes).where(episodes.c.id.in_(part))).rowcount
    return {"episodes": count, "replies": connection.execute(delete(replies).where(kept)).rowcount}


async def _prove(store: Store, probes: Sequence[bytes], index: Path | None, trouble: str) -> tuple[str, list[Left]]:
    """Look byte by byte for what was erased."""
    advice = f"{trouble}; erase again with --rewrite when nothing else uses it"
    left = [Left("free space", store.url, advice)] if trouble else []
    if store.folder is None:
        return f"the tables were {'not ' if trouble else ''}rewritten; a server's files cannot be searched", left

    def search() -> dict[bytes, Path]:
        found = search_files(files_of(store, index), probes)
        return {probe: file for probe, file in found.items() if not _alive(store, probe)}

    found = await asyncio.to_thread(search)
    proof = f"{len(probes)} passages of it looked for in the files of database and index: {len(found)} found"
    if not trouble:
        advice = "erase again when nothing else uses it"
        left += [Left("free space", str(file), advice) for file in sorted(set(found.values()))]
    return f"the database was {'not ' if trouble else ''}rewritten; {proof}", left


def _alive(store: Store, probe: bytes) -> bool:
    """Say whether a passage also stands in a row that is there rightly: it is no residue then."""
    text = probe.decode("utf-8", "ignore")
    columns = (
        events.c.body, runs.c.inputs, runs.c.spec, runs.c.summary, inbox.c.body, memories.c.text, memories.c.source,
        episodes.c.goal, episodes.c.body, replies.c.reply,
    )  # fmt: skip
    return any(store.read(select(1).where(holding("sqlite", column, text)).limit(1)) for column in columns)
