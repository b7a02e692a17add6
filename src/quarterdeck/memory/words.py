"""The index of words as long-term memory uses it: what is wrong with it costs a search its words, and no memory.

It is made from SQL, so it is never believed to be whole: a table that is damaged, emptied or gone is found when it is
used, and made anew. Until then searches compare the texts themselves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from quarterdeck.errors import JournalError
from quarterdeck.journal.failures import classify
from quarterdeck.journal.tables import memories
from quarterdeck.memory.fulltext import Entry, Hits, scan, text_index
from quarterdeck.memory.rows import within
from quarterdeck.memory.written import index_texts

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.item import Scope
    from quarterdeck.memory.reembed import Write

CHECK_SECONDS = 300.0
"""After which it is counted again whether all memories are indexed."""
MEND_SECONDS = 10.0
"""For one mending; what is left is indexed at the next search."""
PAGE = 1_000
ADVICE = "Run: quarterdeck memory rebuild"
_LOST = frozenset({"42P01", "42703", "42P17", "XX000", "XX001", "XX002"})
"""Of PostgreSQL: the table or a column of it is not there, or its index is damaged."""

_log = logging.getLogger(__name__)


class Words:
    """The index of words of one database, for threads to share.

    Args:
        store: The database.

    Attributes:
        why: What is wrong with it; empty while nothing is known.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = text_index(store)
        self._lost = False
        self._checked = 0.0
        self._told = False
        self._mending = False
        self._trusted = False
        self.why = ""

    def put(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Index texts, in the transaction that adds them; where that cannot be done they are found missing later."""
        self._try(connection, partial(self._index.put, connection, entries))

    def remove(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Forget texts, in the transaction that has deleted them."""
        self._try(connection, partial(self._index.remove, connection, entries))

    def search(self, store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
        """Return the best memories, and the words by which they were found. As `TextIndex.search`."""
        try:
            self._check()
            if not self.why:
                hits = self._found(store, scope, query, limit, kinds, now)
                if any(word.held for word in hits.words) or self._finds_the_newest(scope, now):
                    return hits
                self._trusted = True  # once made anew, it is not doubted for this again
                self._lose("it does not find what it holds")
        except JournalError as error:
            if not self._is_lost(error.__cause__):
                raise
            self._lose(_short(error.__cause__))
        return scan(store, scope, query, limit, kinds, now)

    def _found(self, store: Store, scope: Scope, query: str, limit: int, kinds: Collection[str], now: float) -> Hits:
        """Search the index; once more on a new connection where it fails: an old one may know the tables of before."""
        try:
            return self._index.search(store, scope, query, limit, kinds, now)
        except JournalError as error:
            if not self._is_lost(error.__cause__):
                raise
            store.reconnect()
            return self._index.search(store, scope, query, limit, kinds, now)

    def count(self, which: ColumnElement[bool] | None = None) -> int:
        """Return how many memories are indexed; of those that a condition names, or of all."""
        query = select(func.count()).select_from(memories).where(self._index.indexed())
        try:
            return int(self._store.read(query if which is None else query.where(which))[0][0])
        except JournalError as error:
            if not self._is_lost(error.__cause__):
                raise
            return 0

    async def mend(self, write: Write, *, ours: bool) -> bool:
        """Index what is not indexed, for ten seconds at most; return whether it is whole now. Says so in one line.

        Args:
            write: Commits.
            ours: Whether this process may; others only say what to do.
        """
        if self._mending:
            return False
        if not ours:
            self._tell(f"{self.why}; recall goes on without it. {ADVICE}")
            return False
        self._mending = True
        why = self.why
        try:
            whole = await self.make(write, anew=self._lost, seconds=MEND_SECONDS)
        except JournalError as error:
            self._tell(f"{why}, and could not be made anew ({error}); recall goes on without it. {ADVICE}")
            return False
        finally:
            self._mending = False
        self._tell(f"{why}; it is made anew from the database" + ("" if whole else f", in parts. For all: {ADVICE}"))
        self._told = not whole
        return whole

    async def make(
        self, write: Write, *, anew: bool, seconds: float = 0.0, progress: Callable[[int], None] | None = None
    ) -> bool:
        """Index all that is not indexed; return whether it was done in time.

        Args:
            write: Commits.
            anew: Throw away what there is, first.
            seconds: For it; 0 for as long as it takes.
            progress: Told how many memories were indexed, page by page.

        Raises:
            JournalError: The database cannot be written.
        """
        if anew:
            await write(self._index.renew)
            self._lost = False
        after, end = 0, time.monotonic() + seconds
        while True:
            after, count = await write(partial(index_texts, text=self._index, after=after, limit=PAGE))
            if progress is not None:
                progress(count)
            if not after:
                self.why, self._checked = "", time.monotonic()
                return True
            if seconds and time.monotonic() > end:
                self.why = "the full text of memory is not whole yet"
                return False

    def _check(self) -> None:
        """Find out now and then whether all memories are indexed."""
        now = time.monotonic()
        if self.why or (self._checked and now < self._checked + CHECK_SECONDS):
            return
        items, words = self._index.state(self._store)
        self._checked = now
        if items != words:
            self.why = f"the full text of memory holds {words:,} of {items:,} memories"
            self._lost = words > items

    def _finds_the_newest(self, scope: Scope, now: float) -> bool:
        """Return whether a text of a scope is found by its own words: nothing found may be the index's fault."""
        newest = select(memories.c.text).where(within(scope)).order_by(memories.c.number.desc()).limit(1)
        rows = () if self._trusted else self._store.read(newest)
        if not rows or not any(one.isalpha() for one in rows[0].text):
            return True
        hits = self._index.search(self._store, scope, rows[0].text, 1, (), now)
        return any(word.held for word in hits.words) or not hits.words

    def _try(self, connection: Connection, work: Callable[[], Any]) -> None:
        try:
            with connection.begin_nested():
                work()
        except DBAPIError as error:
            if not self._is_lost(error):
                raise
            self._lose(_short(error))

    def _is_lost(self, error: BaseException | None) -> bool:
        """Return whether an error says that the index is damaged, and not that the database cannot be used."""
        if not isinstance(error, DBAPIError):
            return False
        if self._store.folder is None:
            return getattr(error.orig, "sqlstate", None) in _LOST
        return classify(error) in ("corrupt", "journal")

    def _lose(self, why: str) -> None:
        self.why, self._lost = f"the full text of memory is damaged ({why})", True

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s", what)


def _short(error: BaseException | None) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())[:100]
