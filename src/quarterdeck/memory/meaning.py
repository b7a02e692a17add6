"""What long-term memory knows by meaning: vectors in the database, the index of large scopes, and what both lack."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.memory.counts import large_scopes
from quarterdeck.memory.nearest import Nearest
from quarterdeck.memory.reembed import Reembedding, count_lacking, embed_page, lacking, packed_vectors
from quarterdeck.memory.vectors import VectorIndex

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.item import Item, Scope
    from quarterdeck.memory.nearest import Floats
    from quarterdeck.memory.reembed import Write
    from quarterdeck.memory.written import Gone

MANY = 8
"""Scopes from which on they are not asked for their sizes one by one."""
PAGE = 1_000
"""Memories that a rebuild embeds and commits at once."""


class Meaning:
    """The vectors of one database by one model. Nothing is opened before it is needed.

    Args:
        store: The database.
        embed: Makes vectors; None for none at all.
        folder: For the index; None for none.
        exact: Memories of a scope up to which all vectors are compared.
        write: Commits.
    """

    def __init__(self, store: Store, embed: Embedder | None, folder: Path | None, exact: int, write: Write) -> None:
        self._store = store
        self._embed = embed
        self._folder = folder
        self._exact = exact
        self._write = write
        self._near: Nearest | None = None
        self._index: VectorIndex | None = None
        self._syncing: dict[Scope, asyncio.Task[None]] = {}
        self._reembedding: Reembedding | None = None
        if embed is not None and folder is not None:
            self._reembedding = Reembedding(store, embed, write, self._owned, self._sync)

    @property
    def model(self) -> str:
        """Whose vectors; empty for none."""
        return self._embed.name if self._embed is not None else ""

    @property
    def exact(self) -> int:
        """Memories of a scope up to which all vectors are compared."""
        return self._exact

    def near(self, dimension: int = 0) -> Nearest | None:
        """Return the vectors in the database; None as long as their dimension is not known."""
        if self._near is None and self._embed is not None and (known := self._embed.dimension or dimension):
            self._near = Nearest(self._store, self._embed.name, known)
        return self._near

    def index(self) -> VectorIndex | None:
        """Return the index of large scopes; None where there is none."""
        near = self.near()
        if self._index is None and self._folder is not None and near is not None:
            self._index = VectorIndex(self._folder, self.model, near)
        return self._index

    async def of_text(self, text: str) -> list[float] | None:
        """Return the vector of a query; None where nothing is compared by meaning."""
        if self._embed is None or not text.strip():
            return None
        (vector,) = await self._embed.embed([text])
        return vector

    async def of(self, items: Sequence[Item], given: Sequence[Sequence[float]] | Floats | None = None) -> list[bytes]:
        """Return a vector for each item, as the database keeps it; nothing without an embedder. As `packed_vectors`."""
        if self._embed is None or not items:
            return []
        return await packed_vectors(self._embed, [item.text for item in items], given)

    async def added(self, scopes: Collection[Scope]) -> None:
        """Bring the index to what was added to scopes."""
        if self._folder is None:
            return
        if len(scopes) > MANY:  # one question for all of them: hardly any is large
            scopes = set(scopes) & set(await asyncio.to_thread(large_scopes, self._store, self._exact))
        for scope in scopes:
            await self._catch_up(scope)

    async def removed(self, gone: Gone) -> None:
        """Take what was deleted or replaced out of the index."""
        near, index = self.near(), self.index()
        if near is not None and index is not None:
            for scope, numbers in gone.items():
                await asyncio.to_thread(index.remove, scope, numbers, await asyncio.to_thread(near.size, scope))

    def searched(self, scope: Scope, *, behind: bool) -> None:
        """Make good in the background what a search found missing.

        Args:
            scope: What was searched.
            behind: Whether the index should have answered and could not: all vectors were compared.
        """
        if behind and scope not in self._syncing:
            task = asyncio.create_task(self._catch_up(scope))
            self._syncing[scope] = task
            task.add_done_callback(lambda _: self._syncing.pop(scope, None))
        if self._reembedding is not None:
            self._reembedding.look(scope)

    async def renew(self) -> None:
        """Embed all that has no vector of the present model, and make the index anew. Raises as `embed_page`."""
        after = 0
        while self._embed is not None:
            after = await embed_page(self._store, self._embed, self._write, lacking(self._embed), after, PAGE)
            if not after:
                break
        if self._near is not None:
            self._near.clear()
        if (index := self.index()) is not None and await asyncio.to_thread(index.discard):
            for scope in await asyncio.to_thread(large_scopes, self._store, self._exact):
                await self._catch_up(scope)

    def owned(self) -> bool:
        """Return whether this process may look after what was written: it owns the index, or there is none."""
        index = self.index()
        return index is None or index.owner.claim()

    async def stats(self, which: ColumnElement[bool] | None = None) -> dict[str, Any]:
        """Return which model makes the vectors, how many are missing, and how the index stands.

        Args:
            which: A condition on `memories`: of those alone, and nothing of the index. None for all.
        """
        near, index = self.near(), self.index()
        if which is not None:
            index = None
        collections = await asyncio.to_thread(index.counts) if index is not None else {}
        missing = 0
        if self._embed is not None:
            missing = await asyncio.to_thread(count_lacking, self._store, self._embed, which)
        told: dict[str, Any] = {
            "embedding": {
                "model": self.model,
                "dimension": self._embed.dimension if self._embed is not None else 0,
                "missing": missing,
                "at_work": self._reembedding is not None and self._reembedding.working,
            },
        }
        if which is None:
            told["index"] = {
                "owner": index.owner.held if index is not None else False,
                "above": self._exact if near is not None else 0,
                "collections": len(collections),
                "vectors": sum(collections.values()),
            }
        return told

    async def settle(self) -> None:
        """Wait until vectors and index have caught up with what searches found them behind on."""
        if self._reembedding is not None:
            await asyncio.to_thread(self._reembedding.join)
        while self._syncing:
            await asyncio.gather(*self._syncing.values(), return_exceptions=True)

    def close(self) -> None:
        """Stop what works in the background and let the index go."""
        if self._reembedding is not None:
            self._reembedding.close()
        for task in self._syncing.values():
            if not task.get_loop().is_closed():
                task.cancel()
        if self._index is not None:
            self._index.close()
            self._index = None

    async def _catch_up(self, scope: Scope) -> None:
        # a scope that waits for vectors is indexed once, when all of them are there
        if self._reembedding is None or not self._reembedding.busy(scope):
            await asyncio.to_thread(self._sync, scope)

    def _sync(self, scope: Scope) -> None:
        near, index = self.near(), self.index()
        if near is not None and index is not None:
            size = near.size(scope)
            if size[0] > self._exact:
                index.sync(scope, size)

    def _owned(self) -> bool:
        index = self.index()
        return index is not None and index.owner.claim()
