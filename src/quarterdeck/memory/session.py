"""The session cache: intermediate results of one run, shared by its agents, for a while and within bounds."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

MAX_KEY = 1000
"""Characters of a key."""


class Session(Protocol):
    """What the agents of one run keep for each other. Nobody else's run can name a key of it."""

    async def get(self, key: str) -> Any | None:
        """Return a value that was put and has not expired; None when there is none."""
        ...

    async def put(self, key: str, value: Any, seconds: float | None = None) -> bool:
        """Keep a value.

        Args:
            key: At most 1,000 characters; compared exactly.
            value: JSON-able data.
            seconds: Until it expires; those of the profile when None.

        Returns:
            Whether it is kept; one that is larger than the whole cache is not.

        Raises:
            ValueError: The key is too long, or the value is no JSON-able data.
        """
        ...

    async def clear(self) -> int:
        """Forget everything of the run; return how many values there were."""
        ...

    async def close(self) -> None:
        """Let go what it holds; values that others can read stay until they expire."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    size: int
    expires_at: float


class LocalSession:
    """The session cache of a run in this process.

    Args:
        seconds: Until a value expires, where none is given with it.
        max_bytes: Of all keys and values; the least recently used ones make room.
        clock: Seconds; for tests.
    """

    def __init__(self, seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    async def get(self, key: str) -> Any | None:
        """Return a value that was put and has not expired; None when there is none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_at <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return orjson.loads(kept.body)  # a copy: what one agent does to it no other one sees

    async def put(self, key: str, value: Any, seconds: float | None = None) -> bool:
        """Keep a value; as in `Session`."""
        body, size = packed(key, value)
        self._drop(key)
        if size > self._max_bytes:
            return False
        self._kept[key] = _Kept(body, size, self._clock() + (self._seconds if seconds is None else seconds))
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
        return True

    async def clear(self) -> int:
        """Forget everything of the run; return how many values there were."""
        count, self._bytes = len(self._kept), 0
        self._kept.clear()
        return count

    async def close(self) -> None:
        """Forget everything: no other process can read it."""
        await self.clear()

    def _drop(self, key: str) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= kept.size


def packed(key: str, value: Any) -> tuple[bytes, int]:
    """Return a value as bytes, and what it takes together with its key.

    Raises:
        ValueError: The key is too long, or the value is no JSON-able data.
    """
    if len(key) > MAX_KEY:
        raise ValueError(f"A key of the session cache has at most {MAX_KEY:,} characters; this one has {len(key):,}.")
    try:
        body = orjson.dumps(value)
        return body, len(body) + len(key.encode())
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"What is to be kept under {key[:80]!r} is no JSON-able data: {error}") from None
