"""Exact nearest neighbours: the vectors of one scope as a matrix, read from SQL and kept while they are current."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.rows import within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.item import Scope

    Floats = NDArray[np.float32]

KEPT_BYTES = 192_000_000
"""Of matrices in this process; the one not used for longest goes first."""
FETCHED = 5_000
"""Vectors of one read."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """The vectors of the memories of a scope that are not superseded, in the order of their numbers."""

    numbers: NDArray[np.int64]
    vectors: Floats
    expires: NDArray[np.float64]
    kinds: NDArray[np.str_]

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        return int(self.numbers[-1]) if len(self.numbers) else 0

    def similar(self, query: Floats, now: float, kinds: Collection[str]) -> tuple[NDArray[np.int64], Floats]:
        """Return the numbers of what still holds and is of one of the kinds, with the cosine of each."""
        import numpy as np

        numbers, scores = self.numbers, self.vectors @ query
        keep = (self.expires == 0) | (self.expires > now)
        if kinds:
            keep &= np.isin(self.kinds, sorted(kinds))
        return (numbers, scores) if keep.all() else (numbers[keep], scores[keep])


class Nearest:
    """Matrices of scopes, for threads to share.

    Args:
        store: The database.
        model: Whose vectors.
        dimension: Of each.
        kept_bytes: Of matrices that are kept.
    """

    def __init__(self, store: Store, model: str, dimension: int, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._model = model
        self._dimension = dimension
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[Scope, Matrix] = OrderedDict()
        self._lock = threading.Lock()

    def size(self, scope: Scope) -> tuple[int, int]:
        """Return how many memories of a scope hold, and the highest number of them."""
        # both come from the index by scope alone
        query = select(func.count(), func.coalesce(func.max(memories.c.number), 0)).where(
            within(scope), memories.c.superseded_by == ""
        )
        count, last = tuple(self._store.read(query)[0])
        return int(count), int(last)

    def matrix(self, scope: Scope, size: tuple[int, int] | None = None) -> Matrix:
        """Return the matrix of a scope as it is in the database now.

        Args:
            scope: Whose vectors.
            size: What `size` has just returned, where it was asked already.
        """
        count, last = size or self.size(scope)
        with self._lock:
            kept = self._kept.get(scope)
            if kept is not None:
                self._kept.move_to_end(scope)
        if kept is not None and (len(kept.numbers), kept.last) == (count, last):
            return kept
        if kept is not None and kept.last < last:
            grown = _joined(kept, self._read(scope, kept.last))
            kept = grown if len(grown.numbers) == count else None
        else:
            kept = None
        if kept is None:
            kept = self._read(scope, 0)
        self._keep(scope, kept)
        return kept

    def of(self, numbers: Sequence[int]) -> dict[int, Floats]:
        """Return the vectors of some memories by number."""
        import numpy as np

        query = select(vectors.c.memory, vectors.c.vector).where(
            vectors.c.model == self._model, vectors.c.memory.in_(numbers)
        )
        found = map(tuple, self._store.read(query.where(func.length(vectors.c.vector) == 4 * self._dimension)))
        return {memory: np.frombuffer(vector, "<f4") for memory, vector in found}

    def clear(self) -> None:
        """Forget all matrices."""
        with self._lock:
            self._kept.clear()

    def pages(self, scope: Scope, after: int = 0) -> Iterator[list[tuple[Any, ...]]]:
        """Yield numbers, vectors, times of expiry and kinds of a scope, page by page."""
        query = (
            select(memories.c.number, vectors.c.vector, memories.c.expires_at, memories.c.kind)
            .join(vectors, (vectors.c.memory == memories.c.number) & (vectors.c.model == self._model))
            .where(within(scope), memories.c.superseded_by == "")
            .order_by(memories.c.number)
            .limit(FETCHED)
        )
        while rows := list(map(tuple, self._store.read(query.where(memories.c.number > after)))):
            after = rows[-1][0]
            yield [row for row in rows if len(row[1]) == 4 * self._dimension]

    def _read(self, scope: Scope, after: int) -> Matrix:
        import numpy as np

        rows = [row for page in self.pages(scope, after) for row in page]
        return Matrix(
            np.array([row[0] for row in rows], np.int64),
            np.frombuffer(b"".join([row[1] for row in rows]), "<f4").reshape(-1, self._dimension),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[3] for row in rows], np.str_),
        )

    def _keep(self, scope: Scope, matrix: Matrix) -> None:
        with self._lock:
            self._kept[scope] = matrix
            self._kept.move_to_end(scope)
            held = sum(one.vectors.nbytes for one in self._kept.values())
            while held > self._kept_bytes and len(self._kept) > 1:
                held -= self._kept.popitem(last=False)[1].vectors.nbytes


def _joined(first: Matrix, second: Matrix) -> Matrix:
    import numpy as np

    return Matrix(
        np.concatenate([first.numbers, second.numbers]),
        np.concatenate([first.vectors, second.vectors]),
        np.concatenate([first.expires, second.expires]),
        np.concatenate([first.kinds, second.kinds]),
    )
