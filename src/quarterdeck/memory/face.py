"""The one face of memory: remember, recall, forget, history, export."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import select

from quarterdeck.errors import InputError, ModelError, Rejected
from quarterdeck.journal.store import Store, default_url
from quarterdeck.journal.sync import run_sync
from quarterdeck.journal.tables import memories
from quarterdeck.memory.correction import correct
from quarterdeck.memory.erasure import Receipt, erase
from quarterdeck.memory.inventory import counted, delete_episodes, exported, known_by
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.residue import overwrite_on_delete
from quarterdeck.memory.rows import to_item, within
from quarterdeck.spec.load import load_memory, load_models
from quarterdeck.spec.memory import MemoryProfile
from quarterdeck.spec.workspace import Workspace

if TYPE_CHECKING:
    from quarterdeck.memory.admission import Admission, Admitted, Commit
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.longterm import LongTerm
    from quarterdeck.memory.rerank import Searches

Kind = Literal["fact", "preference", "lesson", "document", "message"]
T = TypeVar("T")
MOST = 50
REDIS = "QUARTERDECK_REDIS_URL"
INDEX = "memory-index"


class Memory:
    """What is remembered in exactly one scope; memories of any other scope are neither found nor touched.

    Nothing is opened before it is used. Each method has an async one beside it, with an `a` before its name.

    Args:
        workspace: Where profiles, runs and the index stand; found from the current folder if not given.
        database_url: `QUARTERDECK_DATABASE_URL` or the workspace's own database if not given.
        tenant: `QUARTERDECK_TENANT` or nobody's if not given.
        crew: The crew; empty for what belongs to no crew.
        agent: The agent; empty for what belongs to no agent.
        user: Whom it is about; empty for what is about nobody.
        profile: A profile of `memory/*.yaml` or one by itself: its write gate, its embedding, its days to live.
        embedder: Used in the place of the profile's.

    Raises:
        ValueError: A name of the scope is longer than 200 characters or holds control characters.
        InputError: There is no such profile, or it remembers nothing beyond a run.
    """

    def __init__(
        self,
        *,
        workspace: Workspace | None = None,
        database_url: str | None = None,
        tenant: str = "",
        crew: str = "",
        agent: str = "",
        user: str = "",
        profile: str | MemoryProfile = "standard",
        embedder: Embedder | None = None,
    ) -> None:
        self.scope = Scope(tenant or os.environ.get("QUARTERDECK_TENANT", ""), crew, agent, user)
        self.workspace = workspace or Workspace.find()
        self.database_url = database_url or default_url(self.workspace.root)
        whole = load_memory(profile, self.workspace) if isinstance(profile, str) else profile
        if whole.longterm is None:
            name = profile if isinstance(profile, str) else "given"
            raise InputError(f'The memory profile "{name}" remembers nothing beyond a run: it has no key `longterm`.')
        self.profile = whole.longterm
        self._private = whole.private
        self._embedder = embedder
        self._store: Store | None = None
        self._longterm: LongTerm | None = None
        self._reranked: Searches | None = None
        self._admission: tuple[asyncio.AbstractEventLoop, Admission] | None = None
        self._by_words = False
        self.without_meaning = ""
        """Why recall goes by words alone; empty while it goes by meaning too."""

    def remember(
        self, text: str, *, source: str, kind: Kind = "fact", confidence: float = 1.0, origin: str = "user"
    ) -> Item:
        """Remember something, if the write gate lets it in.

        Args:
            text: One statement that can be understood by itself.
            source: Where it comes from.
            kind: What sort of thing it is.
            confidence: 0 to 1.
            origin: Its label of origin: `user`, `operator`, `tool:NAME`, `model` or `memory`.

        Returns:
            What is remembered now: an older memory where this was nearly the same.

        Raises:
            Rejected: The write gate refuses it; the text says why.
            JournalError: The database cannot be used.
        """
        return run_sync(self.aremember(text, source=source, kind=kind, confidence=confidence, origin=origin))

    def recall(self, query: str, limit: int | None = None) -> list[Recalled]:
        """Return what fits a query, the best first, each with why it was chosen.

        Where the embedder cannot be used, it goes by words alone and `without_meaning` says why.

        Args:
            query: In any words.
            limit: At most so many, up to 50; as the profile says if not given.

        Raises:
            JournalError: The database cannot be used.
        """
        return run_sync(self.arecall(query, limit))

    def forget(
        self, memory_id: str = "", *, user: str = "", everything: bool = False, rewrite: bool = False
    ) -> Receipt:
        """Delete one memory, all that is known about a user, or the whole scope.

        Args:
            memory_id: One memory of this scope, with all that it had replaced; or one episode of it.
            user: Everything about this user, in all crews and agents of the tenant: the right to erasure.
            everything: All memories and episodes of exactly this scope.
            rewrite: With `user`: rewrite a SQLite file however large it is; nobody can write to it meanwhile.

        Returns:
            What was removed; for a user also the proof of it, and what only a person can remove.

        Raises:
            ValueError: Not exactly one of the three is given.
            InputError: No such memory or episode in this scope.
            JournalError: The database cannot be used.
        """
        return run_sync(self.aforget(memory_id, user=user, everything=everything, rewrite=rewrite))

    def history(self, memory_id: str) -> list[Item]:
        """Return a memory with those that it replaced and that replaced it, the oldest first.

        Raises:
            InputError: No such memory in this scope.
        """
        return run_sync(self.ahistory(memory_id))

    def export(self) -> Iterator[dict[str, Any]]:
        """Yield every memory and every episode of this scope as data; `what` tells them apart.

        Raises:
            JournalError: The database cannot be used.
        """
        yield from exported(self.store, self.scope)

    def get(self, memory_id: str) -> Item:
        """Return a memory of this scope.

        Raises:
            InputError: No such memory in this scope.
        """
        found = self.store.read(select(memories).where(memories.c.id == memory_id, within(self.scope)))
        if not found:
            raise InputError(f"No memory {memory_id[:40]!r} in this scope. Scopes are matched exactly; see `stats`.")
        return to_item(found[0])

    def edit(self, memory_id: str, text: str, *, source: str) -> Item:
        """Correct a memory: the new text takes its place, the old one stays in the history.

        Args:
            memory_id: One memory of this scope.
            text: What holds from now on.
            source: Who says so.

        Raises:
            InputError: No such memory in this scope, or it was replaced before.
            Rejected: The write gate refuses the text.
        """
        return run_sync(self.aedit(memory_id, text, source=source))

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Make the indexes of all scopes anew from the database, and what has no vector yet; return their state.

        Args:
            progress: Told how many memories are done, and of how many.

        Raises:
            JournalError: The database cannot be used.
            ModelError: Something could not be embedded; the words are indexed all the same.
        """
        return run_sync(self.arebuild(progress))

    def stats(self, *, everything: bool = False) -> dict[str, Any]:
        """Count what is remembered by the tenant, and by the crew, agent and user where these are named.

        Where none of the four is named, the figures beside the scopes are those of the whole database and its index.

        Args:
            everything: The whole database all the same: for who operates it.

        Raises:
            JournalError: The database cannot be used.
        """
        return run_sync(self.astats(everything=everything))

    async def aremember(
        self, text: str, *, source: str, kind: Kind = "fact", confidence: float = 1.0, origin: str = "user"
    ) -> Item:
        """Remember something. As `remember`."""
        item = Item("", self.scope, text, kind=kind, source=source, origin=origin, confidence=confidence)
        admitted = await self._admit(item)
        return self.get(admitted.added[0].id if admitted.added else admitted.merged[0][1])

    async def arecall(self, query: str, limit: int | None = None) -> list[Recalled]:
        """Return what fits a query. As `recall`."""
        most = min(max(self.profile.recall if limit is None else limit, 0), MOST)
        return await self._willing(lambda: self._searched.search(query, self.scope, most)) if most else []

    async def aforget(
        self, memory_id: str = "", *, user: str = "", everything: bool = False, rewrite: bool = False
    ) -> Receipt:
        """Delete memories. As `forget`."""
        if [bool(memory_id), bool(user), everything].count(True) != 1:
            raise ValueError("forget one thing: a memory by its id, or user=..., or everything=True")
        if user:
            return await erase(
                self.store, self.longterm, tenant=self.scope.tenant, user=Scope(user=user).user, index=self.index,
                run_folders=self.workspace.runs, redis_url=os.environ.get(REDIS, ""), rewrite=rewrite,
            )  # fmt: skip
        await overwrite_on_delete(self.store)
        if memory_id:
            removed = {"memories": await self.longterm.delete([memory_id], scope=self.scope)}
            if not removed["memories"]:
                removed = {"episodes": await self._delete_episodes(memory_id)}
            if not any(removed.values()):
                self.get(memory_id)  # says what is wrong
        else:
            removed = {"memories": await self.longterm.delete(self.scope)}
            removed["episodes"] = await self._delete_episodes()
        return Receipt(self.scope.tenant, self.scope.user, time.time(), removed, "", ())

    async def ahistory(self, memory_id: str) -> list[Item]:
        """Return a memory with those before and after it. As `history`."""
        self.get(memory_id)
        return await self.longterm.history(memory_id)

    async def aedit(self, memory_id: str, text: str, *, source: str) -> Item:
        """Correct a memory. As `edit`."""
        old = self.get(memory_id)
        item = replace(old, id="", text=text.strip(), source=source, origin="operator", created_at=0.0, confidence=1.0)
        new = await self._willing(lambda: correct(self.store, lambda: self.longterm, self._admit, old, item))
        return self.get(new)

    async def aexport(self) -> AsyncIterator[dict[str, Any]]:
        """Yield every memory and every episode of this scope. As `export`."""
        for row in self.export():
            yield row

    async def arebuild(self, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Make the indexes anew. As `rebuild`."""
        return await self.longterm.rebuild(progress)

    async def astats(self, *, everything: bool = False) -> dict[str, Any]:
        """Count what is remembered. As `stats`."""
        own = None if everything else known_by(self.scope)
        scopes = await asyncio.to_thread(counted, self.store, own)
        tenant = {} if own is None else {"tenant": self.scope.tenant}
        return {**tenant, **await self.longterm.stats(None if self.scope == Scope() else own), "scopes": scopes}

    @property
    def store(self) -> Store:
        """The database, opened on first use.

        Raises:
            JournalError: The database cannot be used.
        """
        if self._store is None:
            self._store = Store.open(self.database_url)
        return self._store

    @property
    def longterm(self) -> LongTerm:
        """The long-term memory that this is a face of, opened on first use."""
        if self._longterm is None:
            from quarterdeck.memory.longterm import LongTerm

            self._longterm = LongTerm(self.store, self._embeds(), self.index, self.profile)
        return self._longterm

    def close(self) -> None:
        """Commit what is queued and let database and index go."""
        self._let_go()
        store, self._store = self._store, None
        if store is not None:
            store.close()

    async def aclose(self) -> None:
        """Let everything go. As `close`."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Memory:
        """Return the memory; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Memory:
        """Return the memory; the end of the block closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    @property
    def index(self) -> Path:
        """The folder of the vector index: made from the database, and can be deleted at any time."""
        return (self.store.folder or self.workspace.runs) / INDEX

    async def _delete_episodes(self, episode_id: str = "") -> int:
        return await self.store.writer.ask(lambda connection: delete_episodes(connection, self.scope, episode_id))

    async def _admit(self, item: Item, commit: Commit | None = None) -> Admitted:
        """Let the write gate decide on an item.

        Raises:
            Rejected: It is refused.
        """
        admitted = await self._willing(lambda: self._gate().admit([item], commit))
        for _, why in admitted.refused:
            raise Rejected(f"Not remembered: {why}.")
        return admitted

    async def _willing(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Do something by meaning and words; by words alone where the embedder cannot be used."""
        try:
            return await ask()
        except ModelError as error:
            if self._by_words:
                raise
            self._by_words = True
            self.without_meaning = f"By words alone: {' '.join(str(error).split())}"
            self._let_go()
            return await ask()

    @property
    def _searched(self) -> Searches:
        if self._reranked is None:
            from quarterdeck.memory.rerank import searched

            self._reranked = searched(self.longterm, self.profile.rerank, self.workspace)
        return self._reranked

    def _embeds(self) -> Embedder | None:
        if self._by_words:
            return None
        if self._embedder is None:
            from quarterdeck.memory.embedder import EMBEDDED, EmbeddedEmbedder, embedder_of

            if self.profile.embedding == EMBEDDED:
                self._embedder = EmbeddedEmbedder()
            else:
                from quarterdeck.models.catalog import Catalog

                self._embedder = embedder_of(self.profile.embedding, Catalog(load_models(self.workspace)))
        return self._embedder

    def _gate(self) -> Admission:
        loop = asyncio.get_running_loop()
        if self._admission is None or self._admission[0] is not loop:  # its lock belongs to one event loop
            from quarterdeck.memory.admission import Admission
            from quarterdeck.tools.secrets import Masker, referenced

            masker = Masker(names=referenced(folder / "config" for folder in self.workspace.folders))
            gate = Admission(
                self.longterm, self.profile, embedder=self._embeds(), masker=masker, personal=not self._private
            )
            self._admission = (loop, gate)
        return self._admission[1]

    def _let_go(self) -> None:
        self._admission = self._reranked = None
        longterm, self._longterm = self._longterm, None
        if longterm is not None:
            longterm.close()
