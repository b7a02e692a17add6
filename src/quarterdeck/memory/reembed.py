"""Vectors for memories that have none of the present model: after a change of model, in the background.

A vector is comparable only with those of its own model and length, so the old ones are of no use to the new model.
Until a memory has its new one, it is found by its words; the old ones stay for whoever still uses the old model.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from quarterdeck.errors import QuarterdeckError
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.rows import within
from quarterdeck.memory.written import put_vectors

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.item import Scope
    from quarterdeck.memory.nearest import Floats

BATCH = 64
"""Memories that are embedded and committed at once."""
REST = 1.0
"""Rest after a batch, as a share of the time it took: others need the cores too."""
MAX_SCOPES = 10_000
"""Scopes that are remembered as looked at; then they are looked at again."""
CLOSE_SECONDS = 10.0
"""For the batch at work when the memory is closed; what it has not committed is embedded at the next start."""

Write = Callable[[Callable[["Connection"], Any]], Coroutine[Any, Any, Any]]
"""Does something on the writer's connection, in one transaction."""

_log = logging.getLogger(__name__)


async def packed_vectors(
    embedder: Embedder, texts: Sequence[str], given: Sequence[Sequence[float]] | Floats | None = None
) -> list[bytes]:
    """Return the vectors of texts as the database keeps them.

    Args:
        embedder: Makes them.
        texts: Of memories.
        given: The vectors where they are known already.

    Raises:
        ValueError: They are not one a text, of the wrong length, or hold what is no finite number.
        ModelError: They could not be made.
    """
    import numpy as np

    made = np.asarray(await embedder.embed(texts) if given is None else given, "<f4")
    if made.ndim != 2 or made.shape != (len(texts), embedder.dimension or made.shape[1]):
        raise ValueError(
            f"{embedder.name} makes one vector of {embedder.dimension} numbers a text; these are {made.shape}"
        )
    if not np.isfinite(made).all():
        raise ValueError(f"{embedder.name} made a vector that holds numbers which are not finite")
    return [vector.tobytes() for vector in made]


def lacking(embedder: Embedder, scope: Scope | None = None) -> ColumnElement[bool]:
    """Return the condition that a memory has no vector that an embedder's can be compared with.

    Args:
        embedder: The present one.
        scope: Only what holds in this scope; None for all that there is.
    """
    own = select(vectors.c.memory).where(vectors.c.model == embedder.name, vectors.c.memory == memories.c.number)
    if embedder.dimension:
        own = own.where(func.length(vectors.c.vector) == 4 * embedder.dimension)
    none = ~own.exists()
    return none if scope is None else none & within(scope) & (memories.c.superseded_by == "")


def count_lacking(store: Store, embedder: Embedder, which: ColumnElement[bool] | None = None) -> int:
    """Return how many memories have no vector of the present model; of those that a condition names, or of all."""
    query = select(func.count()).select_from(memories).where(lacking(embedder))
    return int(store.read(query if which is None else query.where(which))[0][0])


async def embed_page(
    store: Store, embedder: Embedder, write: Write, which: ColumnElement[bool], after: int, limit: int
) -> int:
    """Embed and commit some memories; return the last number of them, 0 when there were none.

    Args:
        store: The database.
        embedder: The present one.
        write: Commits.
        which: A condition on `memories`.
        after: Numbers above this one.
        limit: So many at most.

    Raises:
        JournalError: The database cannot be used.
        ModelError: They could not be embedded.
    """
    query = select(memories.c.number, memories.c.text).where(which, memories.c.number > after)
    rows = await asyncio.to_thread(store.read, query.order_by(memories.c.number).limit(limit))
    if not rows:
        return 0
    made = await packed_vectors(embedder, [row.text for row in rows])
    embedded = {row.number: vector for row, vector in zip(rows, made, strict=True)}
    await write(partial(put_vectors, model=embedder.name, embedded=embedded))
    return int(rows[-1].number)


class Reembedding:
    """Embeds, scope by scope, what has no vector of the present model; in a thread that ends when there is no more.

    Only scopes that are used are looked at: another crew's memories may have another model, or be not ours to send.

    Args:
        store: The database.
        embedder: The present one.
        write: Commits.
        claim: Returns whether this process owns the index: one process does it.
        done: Told of a scope that is whole now.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        write: Write,
        claim: Callable[[], bool],
        done: Callable[[Scope], None],
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._write = write
        self._claim = claim
        self._done = done
        self._seen: set[Scope] = set()
        self._waiting: deque[Scope] = deque()
        self._at_work: Scope | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        # a program that ends without closing its memory: the thread lets go between two batches
        self._end = weakref.finalize(self, self._stop.set)

    def look(self, scope: Scope) -> None:
        """Have a scope looked at, once; returns at once."""
        with self._lock:
            if scope in self._seen or self._stop.is_set():
                return
            if len(self._seen) >= MAX_SCOPES:
                self._seen.clear()
            self._seen.add(scope)
            self._waiting.append(scope)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="quarterdeck-reembed", daemon=True)
                self._thread.start()

    def busy(self, scope: Scope) -> bool:
        """Return whether a scope's vectors are being made."""
        return self._at_work == scope

    @property
    def working(self) -> bool:
        """Whether there is something to do, or it is not known yet."""
        return self._thread is not None

    def join(self) -> None:
        """Wait until all scopes that were looked at are whole."""
        while (thread := self._thread) is not None:
            thread.join()

    def close(self) -> None:
        """Stop after the batch at work; harmless when nothing is at work."""
        self._end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._stop.is_set():
                    self._thread = None
                    return
                scope = self._waiting.popleft()
            try:
                whole = self._embed_scope(scope)
            except (QuarterdeckError, ValueError, RuntimeError) as error:  # RuntimeError: the interpreter is ending
                _log.info("memories of a scope have no vectors yet; at the next start again: %s", error)
                whole = False
            self._at_work = None
            if whole:
                self._done(scope)

    def _embed_scope(self, scope: Scope) -> bool:
        """Return whether something was missing in a scope, and nothing is now."""
        which = lacking(self._embedder, scope)
        if not self._store.read(select(memories.c.number).where(which).limit(1)) or not self._claim():
            return False
        self._at_work = scope
        return asyncio.run(self._embed(which))

    async def _embed(self, which: ColumnElement[bool]) -> bool:
        after = 0
        while not self._stop.is_set():
            began = time.monotonic()
            after = await embed_page(self._store, self._embedder, self._write, which, after, BATCH)
            if not after:
                return True
            self._stop.wait((time.monotonic() - began) * REST)
        return False
