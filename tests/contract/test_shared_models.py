"""Rates and kept replies on every backend: what processes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from quarterdeck.journal import replies
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.rates import Pace, book
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.port import Message, ModelReply, ModelRequest
from quarterdeck.models.rate_limit import RateLimit
from quarterdeck.spec.models import RateSpec

KEY = "0" * 64


class Starts:
    def __init__(self) -> None:
        self.at: list[float] = []

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.at.append(time.monotonic())
        return ModelReply("ok")


async def test_two_stores_keep_one_rate(url: str, store: Store, begin: Callable[..., Any]) -> None:
    rate = RateSpec(requests=40, per="second")
    starts = Starts()
    with Store.open(url) as other:
        theirs = await RunJournal.start(other, crew="c", spec={}, inputs={}, spec_hash="", version="0")
        async with await begin() as ours, theirs:
            ends = asyncio.get_running_loop().time() + 60
            contexts = [CallContext(journal, cast(Any, None), "p", "", "", ends) for journal in (ours, theirs)]
            stages = [RateLimit(starts, lambda _: rate) for _ in contexts]
            request = ModelRequest("m", (Message("user", "x"),))
            await asyncio.gather(*(
                stage.complete(request, context)
                for stage, context in zip(stages, contexts, strict=True) for _ in range(12)
            ))  # fmt: skip
    at = sorted(starts.at)
    assert len(at) == 24
    spacing = Pace.of(rate)
    assert at[-1] - at[0] >= 23 * spacing.interval - spacing.ahead - spacing.late


async def test_slots_open_by_the_clock_of_the_database(store: Store) -> None:
    pace = Pace.of(RateSpec(requests=10, per="second"))
    (first, second), wait = await store.writer.ask(partial(book, model="m", pace=pace, needs=[0, 0]))
    assert wait == 0 and abs(first.opens - time.monotonic()) < 1
    assert abs(second.opens - first.opens - pace.interval) < 1e-3
    (third,), _ = await store.writer.ask(partial(book, model="m", pace=pace, needs=[0]))
    assert abs(third.opens - second.opens - pace.interval) < 0.02


async def test_a_reply_is_kept_until_it_expires(store: Store) -> None:
    def at_once(connection: Any) -> list[Any]:
        replies.put(connection, KEY, "m", '{"text":"€"}', 60)
        found = [replies.get(connection, KEY)]
        replies.put(connection, KEY, "n", "{}", -1)
        return [*found, replies.get(connection, KEY), replies.prune(connection)]

    assert await store.writer.ask(at_once) == [("m", '{"text":"€"}'), None, 1]


async def test_the_oldest_replies_make_room(store: Store) -> None:
    def fill(connection: Any) -> None:
        for number in range(8):
            replies.put(connection, f"{number:064}", "m", "x" * 100, 60)
            time.sleep(0.001)

    def kept(connection: Any) -> list[int]:
        return [number for number in range(8) if replies.get(connection, f"{number:064}")]

    await store.writer.ask(fill)
    assert await store.writer.ask(partial(replies.prune, entries=6)) == 2
    assert await store.writer.ask(kept) == [2, 3, 4, 5, 6, 7]
    assert await store.writer.ask(partial(replies.prune, total=350)) == 3
    assert await store.writer.ask(kept) == [5, 6, 7]
    huge = partial(replies.put, key=KEY, model="m", reply="x" * (replies.MAX_ENTRY_BYTES + 1), seconds=60)
    await store.writer.ask(huge)
    assert await store.writer.ask(kept) == [5, 6, 7]
