"""One search: candidates by words and by meaning, their neighbours, their scores, and the best of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select, tuple_

from quarterdeck.journal.tables import memories
from quarterdeck.memory import hybrid
from quarterdeck.memory.hybrid import Candidate, Ranked, Scoring, Weights
from quarterdeck.memory.item import Recalled, Scope
from quarterdeck.memory.rows import holds, to_item, within

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.nearest import Floats, Nearest
    from quarterdeck.memory.vectors import VectorIndex
    from quarterdeck.memory.words import Words

POOL = 100
"""Candidates by words, and as many by meaning, that are weighed."""
NEIGHBOURS_OF = 30
"""The best of them, whose neighbours in the group become candidates too."""
OVERFETCH = 4
"""The index of vectors is asked for so many times more: it is approximate, and what it names is measured again."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is searched for: words, their vector, whose memories, of which kinds (empty for all), and when."""

    text: str
    vector: Floats | None
    scope: Scope
    kinds: frozenset[str]
    now: float


@dataclass(frozen=True, slots=True, eq=False)
class _Similar:
    """Memories in the order of their numbers, with the cosine of each; `partial` if there are others."""

    numbers: NDArray[np.int64]
    scores: Floats
    partial: bool = False

    def of(self, wanted: Collection[int]) -> dict[int, float]:
        if not len(self.numbers) or not wanted:
            return {}
        asked = np.fromiter(wanted, np.int64, len(wanted))
        places = np.minimum(np.searchsorted(self.numbers, asked), len(self.numbers) - 1)
        there = self.numbers[places] == asked
        return dict(zip(asked[there].tolist(), self.scores[places[there]].tolist(), strict=True))

    def best(self) -> list[int]:
        if len(self.scores) > POOL:
            least = np.partition(self.scores, -POOL)[-POOL]
            chosen = np.flatnonzero(self.scores >= least)  # equal ones too, so that their order does not matter
        else:
            chosen = np.arange(len(self.scores))
        order = np.lexsort((self.numbers[chosen], -self.scores[chosen]))[:POOL]
        found: list[int] = self.numbers[chosen[order]].tolist()
        return found


class Search:
    """Searches a database; made anew for each search.

    Args:
        store: The database.
        text: The index of words.
        near: The vectors; None for none.
        index: The index of large scopes; None for none.
        weights: How much each reason counts.
        exact: Memories of a scope up to which all vectors are compared.

    Attributes:
        behind: Whether the index of vectors should have answered and could not.
    """

    def __init__(
        self,
        store: Store,
        text: Words,
        near: Nearest | None,
        index: VectorIndex | None,
        weights: Weights,
        exact: int,
    ) -> None:
        self._store = store
        self._text = text
        self._near = near
        self._index = index
        self._weights = weights
        self._exact = exact
        self.behind = False

    def find(self, asked: Question, limit: int) -> list[Recalled]:
        """Return what fits best, best first.

        Args:
            asked: What is searched for.
            limit: So many at most.
        """
        hits = self._text.search(self._store, asked.scope, asked.text, POOL, asked.kinds, asked.now)
        similar = self._similar(asked)
        known = {*hits.scores, *(similar.best() if similar else ())}
        near = self._measure(asked, similar, known)
        candidates = self._candidates(asked, memories.c.number.in_(sorted(known)))
        scoring = Scoring(hits.words, near, self._weights)
        beside = self._beside(asked, candidates, scoring)
        near |= self._measure(asked, similar, [one.number for one in beside])
        return self._recalled(hybrid.rank([*candidates, *beside], scoring, self._weights, asked.now)[:limit])

    def _similar(self, asked: Question) -> _Similar | None:
        """Return what is near to a question; None where meaning is not looked at."""
        if self._near is None or asked.vector is None:
            return None
        size = self._near.size(asked.scope)
        if size[0] > self._exact and self._index is not None and not asked.kinds:
            chosen = self._index.search(asked.scope, asked.vector, POOL * OVERFETCH, size)
            if chosen is not None:
                vectors = self._near.of(sorted(chosen))
                numbers = np.array(sorted(vectors), np.int64)
                scores = np.array([vectors[number] @ asked.vector for number in sorted(vectors)], np.float32)
                return _Similar(numbers, scores, partial=True)
            self.behind = True
        return _Similar(*self._near.matrix(asked.scope, size).similar(asked.vector, asked.now, asked.kinds))

    def _measure(self, asked: Question, similar: _Similar | None, numbers: Collection[int]) -> dict[int, float]:
        """Return the cosine of memories that have a vector."""
        if similar is None or self._near is None or asked.vector is None:
            return {}
        found = similar.of(numbers)
        if similar.partial and (missing := [number for number in numbers if number not in found]):
            found |= {number: float(vector @ asked.vector) for number, vector in self._near.of(missing).items()}
        return found

    def _candidates(self, asked: Question, which: ColumnElement[bool]) -> list[Candidate]:
        names = ("number", "id", "group_name", "place", "created_at", "digest")
        query = (
            select(*[memories.c[name] for name in names])
            .where(which, within(asked.scope), holds(asked.now))
            .order_by(memories.c.number)
        )
        if asked.kinds:
            query = query.where(memories.c.kind.in_(sorted(asked.kinds)))
        return [Candidate(*tuple(row)) for row in self._store.read(query)]

    def _beside(self, asked: Question, candidates: Sequence[Candidate], scoring: Scoring) -> list[Candidate]:
        """Return the neighbours of the best candidates that are no candidates yet."""
        scores = {one.number: sum(scoring.own(one.number)) for one in candidates}
        best = sorted(candidates, key=lambda one: (-scores[one.number], one.number))[:NEIGHBOURS_OF]
        there = {(one.group, one.place) for one in candidates}
        places = {(one.group, one.place + step) for one in best if one.group for step in (-1, 1)} - there
        if not places:
            return []
        return self._candidates(asked, tuple_(memories.c.group_name, memories.c.place).in_(sorted(places)))

    def _recalled(self, ranked: Sequence[Ranked]) -> list[Recalled]:
        numbers = [one.candidate.number for one in ranked]
        rows = {row.number: row for row in self._store.read(select(memories).where(memories.c.number.in_(numbers)))}
        return [
            Recalled(to_item(rows[one.candidate.number]), one.score, hybrid.why(one), one.parts)
            for one in ranked
            if one.candidate.number in rows
        ]
