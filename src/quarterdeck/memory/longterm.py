"""Long-term memory: SQL is the truth, full text and vectors are indexes that can be made from it again.

A memory belongs to exactly one scope, and a query sees the memories whose four names equal its own: an empty name is a
name like any other, no wildcard. What a profile's `reach` says is decided by whoever makes the scope, see `reached`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import func, select

from quarterdeck.errors import JournalError
from quarterdeck.journal.tables import memories
from quarterdeck.memory import expiry, hybrid, written
from quarterdeck.memory.counts import counted, history
from quarterdeck.memory.hybrid import Weights
from quarterdeck.memory.inventory import items as all_items
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.meaning import Meaning
from quarterdeck.memory.recheck import recheck
from quarterdeck.memory.rows import clean, new_id, to_item, within
from quarterdeck.memory.words import Words
from quarterdeck.memory.written import Change

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.nearest import Floats
    from quarterdeck.spec.memory import LongtermSpec, Reach

EXACT = 20_000
"""Memories of one scope up to which all vectors are compared; above, the index chooses and SQL's vectors decide."""
MAX_ITEMS = 10_000
"""Of one `add`."""
MAX_CHARACTERS = 100_000
"""Of one memory."""
PAGE = 1_000
EXPIRE_SECONDS = 3_600.0
"""After which it is looked again for what has expired."""
ATTEMPTS = 4
"""For a write that finds the database locked; each waits for the lock as long as the database does."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Progress = Callable[[int, int], None]
Commit = Callable[[Callable[["Connection"], None]], Coroutine[Any, Any, None]]
"""Does something on the writer's connection in a transaction of its caller's; it may be done again in another one."""


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
        self._days = profile.days if profile is not None else None
        self._weights = weights or Weights()
        self._text = Words(store)
        self._meaning = Meaning(store, embed, folder, exact, self._write)
        self._expired_at = 0.0
        self._expiring: asyncio.Task[None] | None = None

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
        whole = self._checked(items)
        if not whole:
            return []
        embedded = await self._meaning.of(whole, vectors)
        model = self._meaning.model
        await self._write(lambda connection: written.insert_items(connection, self._text, whole, embedded, model))
        await self._meaning.added({item.scope for item in whole})
        return [item.id for item in whole]

    async def apply(self, change: Change, commit: Commit | None = None) -> Mapping[str, str]:
        """Do what the write gate has decided, in one transaction, which looks again at what others wrote meanwhile.

        Args:
            change: What is added, replaced and confirmed.
            commit: Commits it together with something else; by itself if not given.

        Returns:
            The ids of what was not added after all, each with the id of the memory that says the same; empty where a
            more trusted one says otherwise. For most changes there are none.

        Raises:
            ValueError: As `add`.
            JournalError: Nothing of it is committed.
            ModelError: Something could not be embedded; nothing of it is done.
        """
        whole = self._checked(change.added)
        embedded = await self._meaning.of(whole)
        vector_of = dict(zip([item.id for item in whole], embedded, strict=True)) if embedded else {}
        change = replace(change, added=tuple(whole))
        model = self._meaning.model
        gone: written.Gone = {}
        instead: dict[str, str] = {}

        def work(connection: Connection) -> None:
            settled = recheck(connection, change)
            vectors = [vector_of[item.id] for item in settled.change.added] if embedded else []
            gone.clear()
            gone.update(written.apply_change(connection, self._text, settled.change, vectors, model))
            instead.clear()
            instead.update(settled.instead)

        await (self._write(work) if commit is None else commit(work))
        await self._meaning.removed(gone)
        await self._meaning.added({item.scope for item in whole})
        await self._look_for_expired()
        return instead

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
        return await self.nearest(query, await self._meaning.of_text(query), scope, limit, kinds, now=now)

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
        import numpy as np  # here and not above: whoever only counts, shows or deletes needs no vectors

        from quarterdeck.memory.search import POOL, Question, Search

        asked = None if vector is None else np.asarray(vector, np.float32)
        most = min(max(limit, 0), POOL)
        question = Question(query, asked, scope, frozenset(kinds), moment)
        near = self._meaning.near(0 if vector is None else len(vector))
        search = Search(self._store, self._text, near, self._meaning.index(), self._weights, self._meaning.exact)
        found = await asyncio.to_thread(search.find, question, most)
        if self._text.why and await self._text.mend(self._write, ours=await asyncio.to_thread(self._meaning.owned)):
            found = await asyncio.to_thread(search.find, question, most)
        if self._due() and (self._expiring is None or self._expiring.done()):
            self._expiring = asyncio.create_task(self._look_for_expired())
        if asked is not None:
            self._meaning.searched(scope, behind=search.behind)
        return found

    async def get(self, memory_id: str, scope: Scope | None = None) -> Item | None:
        """Return a memory, superseded and expired ones too; None where there is none of this id (in this scope)."""
        query = select(memories).where(memories.c.id == memory_id)
        rows = await asyncio.to_thread(self._store.read, query if scope is None else query.where(within(scope)))
        return to_item(rows[0]) if rows else None

    async def delete(self, what: Sequence[str] | Scope, *, scope: Scope | None = None) -> int:
        """Delete memories with all that they had replaced, and the vectors and words of these; return how many went.

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
        """Delete memories and episodes that have expired, in all scopes; return how many there were."""
        moment = time.time() if now is None else now
        count = await self._delete(expiry.expired(moment))
        while gone := await self._write(lambda connection: expiry.delete_episodes(connection, moment)):
            count += gone
        return count

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
            await self._meaning.removed({done[0]: [done[1]]})
        return done is not None

    async def history(self, memory_id: str) -> list[Item]:
        """Return a memory with those that it replaced and that replaced it, the oldest first; [] for none."""
        return await asyncio.to_thread(history, self._store, memory_id)

    async def export(self, scope: Scope) -> list[Item]:
        """Return all memories of a scope in their order, superseded ones too; what has expired is as good as gone."""
        return await asyncio.to_thread(lambda: list(all_items(self._store, scope)))

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
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, max(total, done))

        await self._text.make(self._write, anew=True, progress=tell)
        await self._meaning.renew()
        return await self.stats()

    async def stats(self, which: ColumnElement[bool] | None = None) -> dict[str, Any]:
        """Return counts, and how the indexes stand.

        Args:
            which: A condition on `memories`: only those are counted, and nothing is said of the index, which is
                everybody's. None for the whole database.
        """
        told = await asyncio.to_thread(counted, self._store, self._text, which)
        return told | await self._meaning.stats(which)

    async def settle(self) -> None:
        """Wait until vectors and their index have caught up with what searches found them behind on."""
        await self._meaning.settle()
        if self._expiring is not None:
            await asyncio.gather(self._expiring, return_exceptions=True)

    def close(self) -> None:
        """Let the index of vectors go. The database stays open: it is not ours."""
        if self._expiring is not None and not self._expiring.get_loop().is_closed():
            self._expiring.cancel()
        self._meaning.close()

    async def _look_for_expired(self) -> None:
        """Delete what has expired, once an hour, where this process owns the index; a failure is tried again then."""
        if not self._due():
            return
        self._expired_at = time.monotonic()
        try:
            there = await asyncio.to_thread(expiry.any_expired, self._store)
            if there and await asyncio.to_thread(self._meaning.owned):
                await self.expire()
        except JournalError as error:
            _log.info("what has expired could not be deleted: %s", error)

    def _due(self) -> bool:
        return not self._expired_at or time.monotonic() >= self._expired_at + EXPIRE_SECONDS

    def _whole(self, item: Item) -> Item:
        created = item.created_at or time.time()
        expires = item.expires_at or (created + self._days * hybrid.DAY if self._days else 0.0)
        return replace(
            item, id=item.id or new_id(), text=clean(item.text), source=clean(item.source), origin=clean(item.origin),
            group=clean(item.group), created_at=created, expires_at=expires,
        )  # fmt: skip

    def _checked(self, items: Sequence[Item]) -> list[Item]:
        """Return items with all that they did not say themselves."""
        if len(items) > MAX_ITEMS or any(len(item.text) > MAX_CHARACTERS for item in items):
            raise ValueError(
                f"add at most {MAX_ITEMS:,} memories at once, each of at most {MAX_CHARACTERS:,} characters"
            )
        return [self._whole(item) for item in items]

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
            await self._meaning.removed(gone)
            if deleted < PAGE:
                return count
