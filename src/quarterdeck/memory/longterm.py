"""Long-term memory: SQL is the truth, full text and vectors are indexes that can be made from it again.

A memory belongs to exactly one scope, and a query sees the memories whose four names equal its own: an empty name is a
name like any other, no wildcard. What a profile's `reach` says is decided by whoever makes the scope, see `reached`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sqlalchemy import func, select

from quarterdeck.errors import JournalError
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory import hybrid, written
from quarterdeck.memory.counts import counted, history, large_scopes
from quarterdeck.memory.fulltext import text_index
from quarterdeck.memory.hybrid import Weights
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.nearest import Floats, Nearest
from quarterdeck.memory.rows import clean, new_id, to_item, within
from quarterdeck.memory.search import POOL, Question, Search
from quarterdeck.memory.vectors import VectorIndex

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.spec.memory import LongtermSpec, Reach

EXACT = 20_000
"""Memories of one scope up to which all vectors are compared; above, the index chooses and SQL's vectors decide."""
MAX_ITEMS = 10_000
"""Of one `add`."""
MAX_CHARACTERS = 100_000
"""Of one memory."""
PAGE = 1_000
ATTEMPTS = 4
"""For a write that finds the database locked; each waits for the lock as long as the database does."""

T = TypeVar("T")
Progress = Callable[[int, int], None]


def reached(scope: Scope, reach: Reach) -> Scope:
    """Return the scope in which a profile with this reach keeps and finds what an agent of a run remembers.

    Args:
        scope: The tenant, crew, agent and user of the run.
        reach: `crew`: shared by the crew's agents, about no user. `agent`: its own. `user`: about one user, shared by
            all crews of the tenant.
    """
    if reach == "user":
        return Scope(scope.tenant, user=scope.user)
    return Scope(scope.tenant, scope.crew, scope.agent if reach == "agent" else "")


class LongTerm:
    """The long-term memory of one database. Tasks of one event loop may share it.

    Args:
        store: The database.
        embed: Makes vectors of texts; None for full text alone.
        folder: For the index of vectors; None for none, which is slower in scopes of more than 20,000 memories.
        profile: How long memories last that do not say so themselves.
        weights: How much each reason counts in a search.
        exact: Memories of a scope up to which all vectors are compared.
    """

    def __init__(
        self,
        store: Store,
        embed: Embedder | None,
        folder: Path | None = None,
        profile: LongtermSpec | None = None,
        *,
        weights: Weights | None = None,
        exact: int = EXACT,
    ) -> None:
        self._store = store
        self._embed = embed
        self._folder = folder
        self._days = profile.days if profile is not None else None
        self._weights = weights or Weights()
        self._exact = exact
        self._text = text_index(store)
        self._near: Nearest | None = None
        self._index: VectorIndex | None = None
        self._syncing: dict[Scope, asyncio.Task[bool]] = {}

    async def add(self, items: Sequence[Item], vectors: Sequence[Sequence[float]] | Floats | None = None) -> list[str]:
        """Remember items; all of them or, when an error is raised, none.

        Args:
            items: At most 10,000. One without an id gets a new one; `created_at` 0 is now, and `expires_at` 0 is when
                the profile says, if it does.
            vectors: One an item where they are known already; made here otherwise.

        Returns:
            Their ids, in their order.

        Raises:
            ValueError: There are too many, one is longer than 100,000 characters, or a vector has the wrong length.
            JournalError: They are not committed.
            ModelError: They could not be embedded.
        """
        if len(items) > MAX_ITEMS or any(len(item.text) > MAX_CHARACTERS for item in items):
            raise ValueError(
                f"add at most {MAX_ITEMS:,} memories at once, each of at most {MAX_CHARACTERS:,} characters"
            )
        if not items:
            return []
        whole = [self._whole(item) for item in items]
        embedded = await self._vectors([item.text for item in whole], vectors)
        model = self._embed.name if self._embed is not None else ""
        await self._write(lambda connection: written.insert_items(connection, self._text, whole, embedded, model))
        if self._folder is not None:
            for scope in {item.scope for item in whole}:
                await self._catch_up(scope)
        return [item.id for item in whole]

    async def search(
        self, query: str, scope: Scope, limit: int = 6, kinds: Collection[str] = (), *, now: float | None = None
    ) -> list[Recalled]:
        """Return what fits a query best, best first, each with the reason why.

        Args:
            query: Any text; of long ones the first words.
            scope: Whose memories; compared exactly.
            limit: So many at most, up to 100.
            kinds: Only these kinds; empty for all.
            now: Seconds since 1970, for tests and replays.

        Raises:
            JournalError: The database cannot be read.
            ModelError: The query could not be embedded.
        """
        vector = None
        if self._embed is not None and query.strip():
            (vector,) = await self._embed.embed([query])
        return await self.nearest(query, vector, scope, limit, kinds, now=now)

    async def nearest(
        self,
        query: str,
        vector: Sequence[float] | None,
        scope: Scope,
        limit: int = 6,
        kinds: Collection[str] = (),
        *,
        now: float | None = None,
    ) -> list[Recalled]:
        """Search with a query that is embedded already. As `search`; without a vector by full text alone."""
        moment = time.time() if now is None else now
        query = clean(query)
        if not query.strip():
            return []
        asked = None if vector is None else np.asarray(vector, np.float32)
        most = min(max(limit, 0), POOL)
        question = Question(query, asked, scope, frozenset(kinds), moment)
        near = self._nearness(0 if vector is None else len(vector))
        search = Search(self._store, self._text, near, self._vector_index(), self._weights, self._exact)
        found = await asyncio.to_thread(search.find, question, most)
        if search.behind:
            self._catch_up_later(scope)
        return found

    async def get(self, memory_id: str, scope: Scope | None = None) -> Item | None:
        """Return a memory, superseded and expired ones too; None where there is none of this id (in this scope)."""
        query = select(memories).where(memories.c.id == memory_id)
        rows = await asyncio.to_thread(self._store.read, query if scope is None else query.where(within(scope)))
        return to_item(rows[0]) if rows else None

    async def delete(self, what: Sequence[str] | Scope, *, scope: Scope | None = None) -> int:
        """Delete memories, with their vectors and words; return how many there were.

        Args:
            what: Ids, or a scope of which everything goes.
            scope: With ids: only those of this scope.

        Raises:
            JournalError: The database cannot be written; what was deleted before that stays deleted.
        """
        if isinstance(what, Scope):
            return await self._delete(within(what))
        if isinstance(what, str):
            raise TypeError("delete takes a list of ids, or a Scope")
        count = 0
        for start in range(0, len(what), written.STATEMENT):
            which = memories.c.id.in_(what[start : start + written.STATEMENT])
            count += await self._delete(which if scope is None else which & within(scope))
        return count

    async def erase(self, tenant: str, user: str) -> int:
        """Delete all memories about a user in a tenant, of whatever crew and agent; return how many there were."""
        return await self._delete((memories.c.tenant == tenant) & (memories.c.about == user))

    async def expire(self, now: float | None = None) -> int:
        """Delete what has expired, in all scopes; return how many there were."""
        moment = time.time() if now is None else now
        return await self._delete((memories.c.expires_at > 0) & (memories.c.expires_at <= moment))

    async def supersede(self, old: str, new: str) -> bool:
        """Mark a memory as replaced: it is kept for the history and never recalled again.

        Args:
            old: Its id.
            new: The id of what replaces it, of the same scope.

        Returns:
            Whether it is marked; not when one of the two is missing or was replaced already, or the scopes differ.
        """
        done = await self._write(
            lambda connection: written.supersede_item(connection, old, new) if old != new else None
        )
        if done is not None:
            await self._remove({done[0]: [done[1]]})
        return done is not None

    async def history(self, memory_id: str) -> list[Item]:
        """Return a memory with those that it replaced and that replaced it, the oldest first; [] for none."""
        return await asyncio.to_thread(history, self._store, memory_id)

    async def export(self, scope: Scope) -> list[Item]:
        """Return all memories of a scope in their order, superseded and expired ones too."""

        def read() -> list[Item]:
            items: list[Item] = []
            after = 0
            query = select(memories).where(within(scope)).order_by(memories.c.number).limit(PAGE)
            while rows := self._store.read(query.where(memories.c.number > after)):
                items += map(to_item, rows)
                after = rows[-1].number
            return items

        return await asyncio.to_thread(read)

    async def rebuild(self, progress: Progress | None = None) -> dict[str, Any]:
        """Make all indexes anew from SQL, embedding what has no vector of the present model; return `stats` after it.

        Others may read and write meanwhile; what they find by words may be incomplete until it is done.

        Args:
            progress: Told how many memories are done, and of how many.

        Raises:
            JournalError: The database cannot be written.
            ModelError: Something could not be embedded; the words are indexed all the same.
        """
        total = int((await asyncio.to_thread(self._store.read, select(func.count()).select_from(memories)))[0][0])
        until = await self._write(lambda connection: written.clear_texts(connection, self._text))
        after, done = 0, 0
        while True:
            page = partial(written.index_texts, text=self._text, after=after, until=until, limit=PAGE)
            after, count = await self._write(page)
            done += count
            if progress is not None:
                progress(done, total)
            if not after:
                break
        await self._embed_missing()
        if self._near is not None:
            self._near.clear()
        if (index := self._vector_index()) is not None and await asyncio.to_thread(index.discard):
            for scope in await asyncio.to_thread(large_scopes, self._store, self._exact):
                await self._catch_up(scope)
        return await self.stats()

    async def stats(self) -> dict[str, Any]:
        """Return counts of the whole database, and how its indexes stand."""
        near, index = self._nearness(), self._vector_index()
        told = await asyncio.to_thread(counted, self._store, self._text)
        told["embedding"] = {
            "model": self._embed.name if self._embed is not None else "",
            "dimension": self._embed.dimension if self._embed is not None else 0,
        }
        collections = await asyncio.to_thread(index.counts) if index is not None else {}
        told["index"] = {
            "owner": index.owner.held if index is not None else False,
            "above": self._exact if near is not None else 0,
            "collections": len(collections),
            "vectors": sum(collections.values()),
        }
        return told

    async def settle(self) -> None:
        """Wait until the index of vectors has caught up with what searches found it behind on."""
        while self._syncing:
            await asyncio.gather(*self._syncing.values(), return_exceptions=True)

    def close(self) -> None:
        """Let the index of vectors go. The database stays open: it is not ours."""
        for task in self._syncing.values():
            if not task.get_loop().is_closed():
                task.cancel()
        if self._index is not None:
            self._index.close()
            self._index = None

    def _whole(self, item: Item) -> Item:
        created = item.created_at or time.time()
        expires = item.expires_at or (created + self._days * hybrid.DAY if self._days else 0.0)
        return replace(
            item, id=item.id or new_id(), text=clean(item.text), source=clean(item.source), origin=clean(item.origin),
            group=clean(item.group), created_at=created, expires_at=expires,
        )  # fmt: skip

    async def _vectors(self, texts: list[str], given: Sequence[Sequence[float]] | Floats | None) -> list[bytes]:
        if self._embed is None:
            return []
        made = np.asarray(await self._embed.embed(texts) if given is None else given, "<f4")
        if made.ndim != 2 or made.shape != (len(texts), self._embed.dimension or made.shape[1]):
            raise ValueError(
                f"{self._embed.name} makes one vector of {self._embed.dimension} numbers a text; these are {made.shape}"
            )
        if not np.isfinite(made).all():
            raise ValueError(f"{self._embed.name} made a vector that holds numbers which are not finite")
        return [vector.tobytes() for vector in made]

    async def _write(self, work: Callable[[Connection], T]) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._store.writer.ask(work)
            except JournalError as error:
                if error.code != "locked":
                    raise
        return await self._store.writer.ask(work)

    async def _delete(self, which: ColumnElement[bool]) -> int:
        count = 0
        while True:
            gone = await self._write(lambda connection: written.delete_items(connection, self._text, which, PAGE))
            deleted = sum(map(len, gone.values()))
            count += deleted
            await self._remove(gone)
            if deleted < PAGE:
                return count

    async def _remove(self, gone: written.Gone) -> None:
        near, index = self._nearness(), self._vector_index()
        if near is not None and index is not None:
            for scope, numbers in gone.items():
                await asyncio.to_thread(index.remove, scope, numbers, await asyncio.to_thread(near.size, scope))

    def _nearness(self, dimension: int = 0) -> Nearest | None:
        if self._near is None and self._embed is not None and (known := self._embed.dimension or dimension):
            self._near = Nearest(self._store, self._embed.name, known)
        return self._near

    def _vector_index(self) -> VectorIndex | None:
        if self._index is None and self._folder is not None and self._embed is not None:
            near = self._nearness()
            if near is not None:
                self._index = VectorIndex(self._folder, self._embed.name, near)
        return self._index

    async def _catch_up(self, scope: Scope) -> bool:
        near, index = self._nearness(), self._vector_index()
        if near is None or index is None:
            return False
        size = await asyncio.to_thread(near.size, scope)
        return size[0] > self._exact and await asyncio.to_thread(index.sync, scope, size)

    def _catch_up_later(self, scope: Scope) -> None:
        """Let the index catch up while searches compare all vectors."""
        if scope not in self._syncing:
            task = asyncio.create_task(self._catch_up(scope))
            self._syncing[scope] = task
            task.add_done_callback(lambda _: self._syncing.pop(scope, None))

    async def _embed_missing(self) -> None:
        if self._embed is None:
            return
        name, after = self._embed.name, 0
        had = select(vectors.c.memory).where(vectors.c.model == name, vectors.c.memory == memories.c.number)
        query = select(memories.c.number, memories.c.text).where(~had.exists()).order_by(memories.c.number).limit(PAGE)
        while rows := await asyncio.to_thread(self._store.read, query.where(memories.c.number > after)):
            made = await self._vectors([row.text for row in rows], None)
            embedded = {row.number: vector for row, vector in zip(rows, made, strict=True)}
            await self._write(partial(written.insert_vectors, model=name, embedded=embedded))
            after = rows[-1].number
