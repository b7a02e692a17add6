"""Chroma as the index of large scopes. The one file that imports chromadb.

Up to some ten thousand vectors, reading all of a scope is as fast as an approximate index, and exact. Above that the
process that owns the folder keeps a collection a scope: a collection costs nothing to search, a filter does. The index
is made from SQL, is never believed without looking there, and is thrown away when anything about it is wrong.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.memory.owner import Owner
from quarterdeck.vendors import importing

if TYPE_CHECKING:
    from quarterdeck.memory.item import Scope
    from quarterdeck.memory.nearest import Floats, Nearest

SETTINGS = {"space": "ip", "ef_construction": 200, "ef_search": 400, "max_neighbors": 32}
"""Of the graph. The vectors are normalised, so that the inner product is the cosine."""
BATCH = 1_000

_log = logging.getLogger(__name__)


class VectorIndex:
    """The collections of one folder; used by threads one after the other.

    Args:
        folder: Holds them, and the lock of their owner. Nothing else may lie there.
        model: Whose vectors.
        nearest: Reads the vectors from SQL.
    """

    def __init__(self, folder: Path, model: str, nearest: Nearest) -> None:
        self._folder = folder / "chroma"
        self._model = model
        self._nearest = nearest
        self._client: Any = None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._lock = threading.RLock()
        self.owner = Owner(folder)

    def name(self, scope: Scope) -> str:
        """Return the name of a scope's collection: a hash, so that no name of a scope can look like another's."""
        names = json.dumps([self._model, scope.tenant, scope.crew, scope.agent, scope.user])
        return hashlib.sha256(names.encode()).hexdigest()[:60]

    def search(self, scope: Scope, query: Floats, limit: int, size: tuple[int, int]) -> list[int] | None:
        """Return numbers of memories that are near to a query, the nearest first; None while the index cannot say.

        Args:
            scope: Whose memories.
            query: A normalised vector.
            limit: So many at most.
            size: How many memories of the scope hold, and the highest number of them; else the index is stale.
        """
        with self._lock:
            name = self.name(scope)
            if not self.owner.claim() or not self._there() or self._sizes.get(name) != size:
                return None
            try:
                found = self._client.get_collection(name, embedding_function=None).query(
                    query_embeddings=[query.tolist()], n_results=min(limit, size[0]), include=["distances"]
                )
                return [int(number) for number in found["ids"][0]]
            except Exception:  # whatever is wrong with an index: it is made anew
                self._discard()
                return None

    def sync(self, scope: Scope, size: tuple[int, int]) -> bool:
        """Bring a scope's collection to what SQL holds; return whether it now agrees with a size.

        Args:
            scope: Whose memories.
            size: As `Nearest.size` returned it.
        """
        with self._lock:
            if not self.owner.claim():
                return False
            try:
                return self._sync(scope, size)
            except Exception:
                self._discard()
                return False

    def remove(self, scope: Scope, numbers: Sequence[int], size: tuple[int, int]) -> None:
        """Take memories out of a scope's collection, if there is one and it is ours."""
        with self._lock:
            if not self._folder.exists() or not self.owner.claim():
                return
            try:
                name = self.name(scope)
                client = self._open()
                if name in {one.name for one in client.list_collections()}:
                    collection = client.get_collection(name, embedding_function=None)
                    if size[0] == 0:
                        client.delete_collection(name)
                    else:
                        collection.delete(ids=[str(number) for number in numbers])
                    if name in self._sizes:
                        self._sizes[name] = size
            except Exception:
                self._discard()

    def counts(self) -> dict[str, int]:
        """Return how many vectors each collection holds; empty where the folder is another's."""
        with self._lock:
            if not self._folder.exists() or not self.owner.claim():
                return {}
            try:
                return {one.name: int(one.count()) for one in self._open().list_collections()}
            except Exception:
                self._discard()
                return {}

    def discard(self) -> bool:
        """Throw the index away, if it is ours; return whether it is."""
        with self._lock:
            if not self.owner.claim():
                return False
            self._throw_away()
            return True

    def close(self) -> None:
        """Let the folder go."""
        with self._lock:
            self._let_go()
            self.owner.release()

    def _sync(self, scope: Scope, size: tuple[int, int]) -> bool:
        name = self.name(scope)
        collection = self._open().get_or_create_collection(
            name, configuration={"hnsw": SETTINGS}, embedding_function=None
        )
        count, last = int(collection.count()), self._last(name)
        if count > size[0] or last > size[1]:  # something went that we have not heard of
            collection, count, last = self._anew(name), 0, 0
        count = self._append(collection, scope, last, count)
        if count != size[0]:
            count = self._append(self._anew(name), scope, 0, 0)
        agrees = count == size[0]
        if agrees:
            self._sizes[name] = size
            (self._folder / f"{name}.last").write_text(str(size[1]))
        return agrees

    def _append(self, collection: Any, scope: Scope, after: int, count: int) -> int:
        import numpy as np

        for page in self._nearest.pages(scope, after):
            for start in range(0, len(page), BATCH):
                rows = page[start : start + BATCH]
                vectors = np.frombuffer(b"".join([row[1] for row in rows]), "<f4").reshape(len(rows), -1)
                collection.upsert(ids=[str(row[0]) for row in rows], embeddings=vectors)
        return int(collection.count())

    def _anew(self, name: str) -> Any:
        client = self._open()
        self._sizes.pop(name, None)
        (self._folder / f"{name}.last").unlink(missing_ok=True)
        client.delete_collection(name)
        return client.create_collection(name, configuration={"hnsw": SETTINGS}, embedding_function=None)

    def _last(self, name: str) -> int:
        """Return up to which number a collection is whole; written after it is, so that a crash only costs time."""
        try:
            return int((self._folder / f"{name}.last").read_text())
        except (OSError, ValueError):
            return 0

    def _there(self) -> bool:
        return self._client is not None and (self._folder / "chroma.sqlite3").exists()

    def _open(self) -> Any:
        if self._client is not None and not self._there():
            self._discard()  # somebody deleted the files under us
        if self._client is None:
            with importing():
                import chromadb
                from chromadb.config import Settings

            self._folder.mkdir(parents=True, exist_ok=True)
            self._client = chromadb.PersistentClient(str(self._folder), Settings(anonymized_telemetry=False))
        return self._client

    def _discard(self) -> None:
        error = sys.exc_info()[1]
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200] if error is not None else "its files are gone"
        _log.warning("the index of vectors in %s is made anew (%s)", self._folder, why)
        self._throw_away()

    def _throw_away(self) -> None:
        self._let_go()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _let_go(self) -> None:
        client, self._client = self._client, None
        self._sizes.clear()
        if client is not None:
            try:
                client.close()
            except Exception:
                _log.debug("closing a broken index failed", exc_info=True)
