"""The session cache in Redis, for runs that more than one process works on. The only file that imports redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson

from quarterdeck.errors import InputError
from quarterdeck.memory.session import packed

TIMEOUT_SECONDS = 0.5
"""A cache that does not answer in this time is as good as none."""
REST_SECONDS = 5.0
"""For which a cache that has not answered is left alone; twice as long after each failure that follows at once."""
TRIES = 5
"""Failures one after the other from which on a run does without it: they have cost it 2.5 s."""
VARIABLE = "QUARTERDECK_REDIS_URL"

_log = logging.getLogger(__name__)

_DROP = """
local function drop(field)
  local size = redis.call('HGET', KEYS[2], field)
  if size then redis.call('HINCRBY', KEYS[2], '#', -tonumber(size)) end
  redis.call('HDEL', KEYS[1], field)
  redis.call('HDEL', KEYS[2], field)
  redis.call('ZREM', KEYS[3], field)
  redis.call('ZREM', KEYS[4], field)
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local tick = clock[1] * 1000000 + clock[2]
"""
_GET = (
    _DROP
    + """
local expires = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not expires then return false end
if tonumber(expires) <= now then drop(ARGV[1]) return false end
redis.call('ZADD', KEYS[3], tick, ARGV[1])
return redis.call('HGET', KEYS[1], ARGV[1])
"""
)
_PUT = (
    _DROP
    + """
drop(ARGV[1])
for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do drop(field) end
local size, most, lasts = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if size > most then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], size)
redis.call('ZADD', KEYS[3], tick, ARGV[1])
redis.call('ZADD', KEYS[4], now + lasts, ARGV[1])
local total = redis.call('HINCRBY', KEYS[2], '#', size)
while total > most do
  drop(redis.call('ZRANGE', KEYS[3], 0, 0)[1])
  total = tonumber(redis.call('HGET', KEYS[2], '#'))
end
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < lasts then redis.call('PEXPIRE', key, lasts) end
end
return 1
"""
)


class RedisSession:
    """The session cache of a run in Redis. Where Redis does not answer, the cache is empty, and that is all.

    A Redis that hangs is not asked at every get and put: it is left alone for a while, and in the end for good.

    Args:
        url: Such as `redis://localhost:6379/0` or `rediss://...`.
        tenant: On whose behalf the run acts.
        run_id: The run.
        seconds: Until a value expires, where none is given with it.
        max_bytes: Of all keys and values of the run; the least recently used ones make room.
        clock: Seconds; for tests.

    Raises:
        InputError: The URL is none of a Redis.
    """

    def __init__(
        self,
        url: str,
        tenant: str,
        run_id: str,
        seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = _client(url)
        self._clock = clock
        self._seconds = seconds
        self._max_bytes = max_bytes
        # a digest of both names, each marked off from the other: no name can reach into another's keys
        scope = sha256(orjson.dumps([tenant, run_id])).hexdigest()
        self._keys = [f"quarterdeck:session:{{{scope}}}:{part}" for part in ("values", "sizes", "used", "ends")]
        self._told = False
        self._failures = 0
        self._rests_until = 0.0

    async def get(self, key: str) -> Any | None:
        """Return a value that was put and has not expired; None when there is none."""
        body = await self._ask(lambda: self._redis.eval(_GET, 4, *self._keys, _field(key)))
        return None if body is None else orjson.loads(body)

    async def put(self, key: str, value: Any, seconds: float | None = None) -> bool:
        """Keep a value; as in `Session`."""
        body, size = packed(key, value)
        lasts = int(1000 * (self._seconds if seconds is None else seconds))
        given = (_field(key), body, size, self._max_bytes, max(1, lasts))
        return bool(await self._ask(lambda: self._redis.eval(_PUT, 4, *self._keys, *given)))

    async def clear(self) -> int:
        """Forget everything of the run; return how many values there were."""
        return await self._ask(self._cleared) or 0

    async def close(self) -> None:
        """Close the connections; values stay until they expire."""
        await self._redis.aclose()

    async def _cleared(self) -> int:
        count = int(await self._redis.hlen(self._keys[0]))
        await self._redis.delete(*self._keys)
        return count

    async def _ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        from redis.exceptions import RedisError

        if self._failures >= TRIES or self._clock() < self._rests_until:
            return None
        try:
            answer = await ask()
            self._failures = 0
            return answer
        except (RedisError, OSError) as error:
            if self._clock() >= self._rests_until:  # of several that wait at the same time the first one counts
                self._rests_until = self._clock() + REST_SECONDS * 2**self._failures
                self._failures += 1
            if not self._told:
                self._told = True
                _log.warning("the session cache in Redis does not answer, the run goes on without it: %s", error)
            return None


def _field(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check_url(url: str) -> None:
    """Say in one line what is wrong with the URL of a Redis; nothing is connected.

    Raises:
        InputError: It is none.
    """
    _client(url)


async def clear_sessions(url: str, tenant: str, run_ids: Sequence[str]) -> tuple[int, list[str]]:
    """Forget what some runs keep in Redis, for the right to erasure.

    Args:
        url: Of the Redis.
        tenant: Whose runs they are.
        run_ids: The runs.

    Returns:
        How many values there were, and the runs whose values could not be reached: nothing is tried after the first.
    """
    from redis.exceptions import RedisError

    count = 0
    for place, run_id in enumerate(run_ids):
        try:
            session = RedisSession(url, tenant, run_id, 1, 1)
            try:
                count += await session._cleared()
            finally:
                await session.close()
        except (RedisError, OSError, InputError) as error:
            _log.warning("the session caches in Redis could not be emptied: %s", error)
            return count, list(run_ids[place:])
    return count, []


def _client(url: str) -> Any:
    from redis.asyncio import Redis

    try:
        return Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, protocol=2)
    except ValueError:  # what it says repeats the URL, which may hold a password
        raise InputError(
            f"{VARIABLE} is no URL of a Redis. Write redis://HOST:6379/0, rediss://... or unix:///PATH, or unset it: "
            "the session cache is in the process then."
        ) from None
