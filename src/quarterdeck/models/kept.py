"""Which replies are kept, as far as this process knows: what is not among them is not looked for in the database."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from quarterdeck.journal import replies

if TYPE_CHECKING:
    from quarterdeck.journal.store import Store

STALE_SECONDS = 1.0
"""How late this process may hear of what another one has kept: it then asks once more than it had to."""

OVERLAP_SECONDS = 60.0
"""How far the clocks of processes may differ."""


@dataclass(slots=True)
class _Known:
    keys: set[str] = field(default_factory=set)
    newest: float = 0.0
    read_at: float = -STALE_SECONDS


class Kept:
    """The keys of kept replies, store by store; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: WeakKeyDictionary[Store, _Known] = WeakKeyDictionary()

    async def may_hold(self, store: Store, key: str) -> bool:
        """Return whether the store may hold a reply under a key.

        Raises:
            JournalError: The database cannot be read.
        """
        known = self._of(store)
        if time.monotonic() - known.read_at >= STALE_SECONDS:
            known.read_at = time.monotonic()
            since = known.newest - OVERLAP_SECONDS
            newest, keys = await store.writer.ask(partial(replies.keys_since, since=since))
            with self._lock:
                known.newest = max(known.newest, newest)
                known.keys |= keys
                if len(known.keys) > 2 * replies.MAX_ENTRIES:  # most of them are gone: begin anew
                    self._known.pop(store, None)
        return key in known.keys

    def add(self, store: Store, key: str) -> None:
        """Remember that a reply is on its way into the store."""
        known = self._of(store)
        with self._lock:
            known.keys.add(key)

    def _of(self, store: Store) -> _Known:
        with self._lock:
            return self._known.setdefault(store, _Known())
