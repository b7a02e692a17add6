"""When the next calls of a model may start, agreed between all processes on one database.

Requests are spaced by the generic cell rate algorithm (GCRA): one moment a model, from which on it may be called again,
and which a booking moves on. Tokens are counted in a sliding window of small buckets, so that what a call did not need
can be given back. A call may start a little after its booked moment, never before, and the spacing leaves room for
that: no rolling window holds more starts, or more tokens, than the limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.spec.models import RateSpec

LATE_SHARE = 0.05
LATE_SECONDS = 1.0
"""So much later than booked may a call start: this share of the window, and never more than these seconds."""

HELD_TO = 0.7
"""Who is late by more than this part of that books again; the rest covers the way from the check to the start."""

BURST_SHARE = 0.03
"""The part of a limit that may be used at once; so much less is refilled in a window."""

MAX_AHEAD = 3600.0
"""A booked moment further ahead than this, in seconds, is the mark of a clock that was set back."""

BLOCK_SECONDS = 0.05
BLOCKS_ABOVE = 100.0
"""Above so many starts a second they are booked in blocks of at most so many seconds."""

GRAINS = 120
"""Buckets of the token window."""

# an insert locks the row, or makes it, on both databases
_LOCK = text(
    "INSERT INTO rates (model, next_request_at, tokens) VALUES (:model, 0, '{}') "
    "ON CONFLICT (model) DO UPDATE SET model = excluded.model RETURNING next_request_at, tokens"
)
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
_MOVE = text("UPDATE rates SET next_request_at = :request_at, tokens = :tokens WHERE model = :model")

Buckets = dict[int, int]
"""Tokens by the number of the bucket in which they were booked, counted from 1970."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The spacing of calls that keeps a declared rate.

    Attributes:
        interval: Seconds between two starts; 0 when they are not limited.
        ahead: Seconds by which a start may come before its turn: the burst.
        tokens: The most that a window may hold; 0 when tokens are not limited.
        window: Seconds of the window, with the room for late starts.
        grain: Seconds of one bucket of tokens.
        late: Seconds by which a call may start later than booked.
        block: Starts that may be booked together at most.
    """

    interval: float
    ahead: float
    tokens: int
    window: float
    grain: float
    late: float
    block: int

    @property
    def patience(self) -> float:
        """Seconds that tokens are booked ahead, and after which one looks again whether some were given back."""
        return 2 * self.grain

    @classmethod
    def of(cls, rate: RateSpec) -> Pace:
        """Return the spacing for a rate."""
        seconds = 1.0 if rate.per == "second" else 60.0
        late = min(LATE_SHARE * seconds, LATE_SECONDS)
        burst = 1 + int(BURST_SHARE * rate.requests) if rate.requests else 1
        interval = (seconds + late) / (rate.requests - burst + 1) if rate.requests else 0.0
        return cls(
            interval=interval,
            ahead=(burst - 1) * interval,
            tokens=rate.tokens or 0,
            window=seconds + late,
            grain=seconds / GRAINS,
            late=late * HELD_TO,
            block=max(1, int(BLOCK_SECONDS / interval)) if 0 < interval < 1 / BLOCKS_ABOVE else 1,
        )

    def schedule(
        self, request_at: float, booked: Buckets, now: float, needs: Sequence[int], until: float = inf
    ) -> tuple[list[float], float]:
        """Return when calls may start, and the moment from which on the next is in turn.

        Where tokens would let a call start after `until` only, its start is the last one returned and is not booked.

        Args:
            request_at: The moment from which on the first of them is in turn.
            booked: The tokens of the window; those of the calls are added.
            now: The time, by the same clock.
            needs: The tokens that each call needs.
            until: How far ahead tokens are booked.
        """
        starts: list[float] = []
        for need in needs:
            start = max(now, request_at - self.ahead)
            if self.tokens:
                start = self._with_room(booked, start, need)
                if start > until:
                    return [*starts, start], request_at
                bucket = self.bucket(start)
                booked[bucket] = booked.get(bucket, 0) + need
            request_at = max(start, request_at) + self.interval
            starts.append(start)
        return starts, request_at

    def bucket(self, moment: float) -> int:
        """Return the number of the bucket that a moment falls into."""
        return int(moment // self.grain)

    def leaves(self, bucket: int) -> float:
        """Return the moment at which the window has left a bucket behind."""
        return (bucket + 1) * self.grain + self.window

    def at_least(self, calls: int, tokens: int) -> float:
        """Return the seconds that so many calls, with so many tokens, take at least before another may start."""
        windows = (tokens - 1) // self.tokens if self.tokens and tokens else 0
        return max(calls * self.interval - self.ahead, windows * self.window, 0.0)

    def _with_room(self, booked: Buckets, start: float, need: int) -> float:
        """Return the first moment at which the window has room; not before that of an earlier booking."""
        start = max(start, max(booked, default=0) * self.grain)
        left = sorted(bucket for bucket in booked if self.leaves(bucket) > start)
        total = sum(booked[bucket] for bucket in left)
        for bucket in left:
            if total + need <= self.tokens:
                break
            start = self.leaves(bucket)
            total -= booked[bucket]
        return start


@dataclass(frozen=True, slots=True)
class Slot:
    """A moment at which one call may start, by this machine's monotonic clock.

    Attributes:
        opens: The call must not start before.
        closes: Nor after: then it has to book again.
        tokens: What was booked for it.
        bucket: Where its tokens are booked.
    """

    opens: float
    closes: float
    tokens: int
    bucket: int


def book(
    connection: Connection,
    model: str,
    pace: Pace,
    needs: Sequence[int],
    unused: Mapping[int, int] | None = None,
    ahead: float = inf,
) -> tuple[list[Slot], float]:
    """Book starts of a model; in a transaction of its own, since it holds the model's row until the commit.

    Args:
        connection: Of the database that all processes share.
        model: The model's name.
        pace: How fast it may be called.
        needs: The tokens that each of the calls needs at most, up to `pace.tokens`.
        unused: Tokens by bucket that earlier calls had booked and did not need; negative when they needed more.
        ahead: Seconds that tokens are booked ahead at most: what earlier calls give back may come in before.

    Returns:
        The slots of the first calls, as many as are booked, and the seconds after which the next could start as things
        stand; 0 when all are booked.
    """
    request_at, tokens = connection.execute(_LOCK, {"model": model}).one()
    asked = time.monotonic()  # only when the lock is held: waiting for it says nothing about the clocks
    now = time.time() if connection.dialect.name == "sqlite" else connection.execute(_CLOCK).scalar_one()
    answered = time.monotonic()
    if request_at > now + MAX_AHEAD:
        request_at = now
    booked = _corrected(pace, tokens, now, unused or {})
    starts, request_at = pace.schedule(request_at, booked, now, needs, now + ahead)
    tokens = orjson.dumps(booked, option=orjson.OPT_NON_STR_KEYS).decode()
    connection.execute(_MOVE, {"model": model, "request_at": request_at, "tokens": tokens})
    wait = max(0.0, starts.pop() - now) if starts and starts[-1] > now + ahead and pace.tokens else 0.0
    # the server's clock was read at some time between these two moments: by the later one nobody starts too early, by
    # the earlier one nobody too late
    slots = [
        Slot(answered + start - now, asked + start - now + pace.late, need, pace.bucket(start))
        for start, need in zip(starts, needs, strict=False)
    ]
    return slots, wait


def _corrected(pace: Pace, tokens: str, now: float, unused: Mapping[int, int]) -> Buckets:
    """Return the window's tokens without those that have left it and those that were not needed."""
    booked = {int(bucket): count for bucket, count in orjson.loads(tokens).items()} if pace.tokens else {}
    for bucket, count in unused.items():
        if bucket in booked:
            booked[bucket] -= count
    ahead = pace.bucket(now + MAX_AHEAD)
    return {
        bucket: count for bucket, count in booked.items() if count > 0 and bucket <= ahead and pace.leaves(bucket) > now
    }
