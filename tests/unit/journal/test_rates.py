"""The arithmetic of rates, with a clock of its own: never more than the limit in any window, and nearly all of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text

from quarterdeck.journal.rates import HELD_TO, MAX_AHEAD, Buckets, Pace, book
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import metadata
from quarterdeck.spec.models import RateSpec

Per = Literal["second", "minute"]
SECONDS = {"second": 1.0, "minute": 60.0}
BEGIN = 1_800_000_000.0


def fullest(starts: list[tuple[float, int]], window: float) -> tuple[int, int]:
    """Return the most starts, and the most tokens, of any closed window."""
    starts = sorted(starts)
    inside = [[tokens for at, tokens in starts if first <= at <= first + window] for first, _ in starts]
    return max(map(len, inside)), max(map(sum, inside))


@settings(max_examples=150, deadline=None)
@given(
    requests=st.integers(1, 60),
    tokens=st.none() | st.integers(100, 5000),
    per=st.sampled_from(["second", "minute"]),
    bookings=st.lists(
        st.tuples(st.floats(0, 0.3), st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1)), min_size=1, max_size=4)),
        min_size=1, max_size=60,
    ),
)  # fmt: skip
def test_no_rolling_window_holds_more_than_the_limit(
    requests: int, tokens: int | None, per: Per, bookings: list[tuple[float, list[tuple[int, float]]]]
) -> None:
    """However late within its slot each call starts, whenever it was booked."""
    pace = Pace.of(RateSpec(requests=requests, tokens=tokens, per=per))
    now, request_at, booked = BEGIN, 0.0, Buckets()
    starts: list[tuple[float, int]] = []
    for gap, calls in bookings:
        now += gap * SECONDS[per]
        needs = [min(need, tokens) if tokens else 0 for need, _ in calls]
        opens, request_at = pace.schedule(request_at, booked, now, needs)
        assert all(at >= now for at in opens)
        lates = [late * pace.late / HELD_TO for _, late in calls]
        starts += [(at + late * 0.999, need) for at, late, need in zip(opens, lates, needs, strict=True)]
    most, most_tokens = fullest(starts, SECONDS[per])
    assert most <= requests
    assert tokens is None or most_tokens <= tokens


@pytest.mark.parametrize("per", ["second", "minute"])
@pytest.mark.parametrize(("requests", "tokens", "need"), [
    (1, None, 0), (10, None, 0), (600, None, 0), (5000, None, 0), (None, 6000, 50), (None, 6000, 6000), (60, 6000, 10),
])  # fmt: skip
def test_nine_tenths_are_sustained(requests: int | None, tokens: int | None, need: int, per: Per) -> None:
    pace = Pace.of(RateSpec(requests=requests, tokens=tokens, per=per))
    now, request_at, booked = BEGIN, 0.0, Buckets()
    count, windows = 0, 12
    while now < BEGIN + windows * SECONDS[per]:
        (now,), request_at = pace.schedule(request_at, booked, now, [need])
        booked = {bucket: one for bucket, one in booked.items() if pace.leaves(bucket) > now}
        count += 1
    used = max(count / requests if requests else 0.0, count * need / tokens if tokens else 0.0)
    assert used >= 0.9 * windows


def test_a_large_rate_is_booked_in_blocks_and_a_small_one_is_not() -> None:
    assert Pace.of(RateSpec(requests=100, per="second")).block == 1
    assert Pace.of(RateSpec(requests=1000, per="second")).block > 10
    assert Pace.of(RateSpec(requests=600)).block == 1


def test_tokens_are_not_booked_far_ahead_and_come_back(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/rates.db")
    metadata.create_all(engine)
    pace = Pace.of(RateSpec(tokens=1000))
    with engine.begin() as connection:
        (first,), wait = book(connection, "m", pace, [900], ahead=pace.patience)
        assert wait == 0
        slots, wait = book(connection, "m", pace, [200], ahead=pace.patience)
        assert not slots and 60 < wait < 64
        slots, wait = book(connection, "m", pace, [200], {first.bucket: 150}, ahead=pace.patience)
        assert len(slots) == 1 and wait == 0
        slots, wait = book(connection, "m", pace, [200], {first.bucket: -100})
        assert slots[0].opens > first.opens + 60
    engine.dispose()


async def test_a_clock_that_was_set_back_stops_nobody_for_long(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        pace = Pace.of(RateSpec(requests=10, tokens=1000, per="second"))
        far = 2 * MAX_AHEAD + time.time()

        def book_with_a_row_of_the_future(connection: Connection) -> float:
            row = {"m": "m", "at": far, "tokens": f'{{"{pace.bucket(far)}": 1000}}'}
            connection.execute(text("INSERT INTO rates VALUES (:m, :at, :tokens)"), row)
            (slot,), _ = book(connection, "m", pace, [10])
            return slot.opens - time.monotonic()

        assert await store.writer.ask(book_with_a_row_of_the_future) < 1
