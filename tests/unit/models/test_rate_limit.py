"""Calls wait for their turn: fairly, not past the deadline, and what they do not use goes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.models.stages import ask

from quarterdeck.errors import JournalError, ModelError
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.port import ModelReply, ModelRequest, Usage
from quarterdeck.models.rate_limit import RateLimit
from quarterdeck.spec.models import RateSpec

Begin = Callable[..., Any]


class Answers:
    """Says who was let through, and when."""

    def __init__(self, usage: Usage | None = None) -> None:
        self.runs: list[str] = []
        self.at: list[float] = []
        self._usage = usage or Usage()

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.runs.append(context.journal.id)
        self.at.append(time.monotonic())
        return ModelReply("ok", usage=self._usage)


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Begin runs, each with so many seconds left, and return their contexts."""
    journals: list[RunJournal] = []
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:

        async def begin(seconds: float = 60.0) -> CallContext:
            journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0")
            journals.append(journal)
            ends = asyncio.get_running_loop().time() + seconds
            return CallContext(journal, cast(Any, None), "p", "", "", ends)

        yield begin
        for journal in journals:
            await journal.close()


def limited(answers: Answers, **rate: Any) -> RateLimit:
    spec = RateSpec(**{"per": "second", **rate})
    return RateLimit(answers, lambda _: spec)


def booked_rows(context: CallContext) -> int:
    with context.journal.store._engine.connect() as connection:
        return len(connection.exec_driver_sql("SELECT * FROM rates").all())


async def test_without_a_rate_nothing_is_asked_of_the_database(begin: Begin) -> None:
    context = await begin()
    for stage in (RateLimit(Answers(), lambda _: None), RateLimit(Answers(), lambda _: RateSpec())):
        assert (await stage.complete(ask(), context)).text == "ok"
    assert booked_rows(context) == 0
    await limited(Answers(), requests=100).complete(ask(), context)
    assert booked_rows(context) == 1


async def test_calls_are_spaced(begin: Begin) -> None:
    context, answers = await begin(), Answers()
    stage = limited(answers, requests=20)
    await asyncio.gather(*(stage.complete(ask(), context) for _ in range(6)))
    gaps = [after - before for before, after in zip(answers.at, answers.at[1:], strict=False)]
    assert sum(gaps) >= 5 * 1.05 / 20 - 0.04


async def test_runs_take_turns(begin: Begin) -> None:
    greedy, modest = await begin(), await begin()
    answers = Answers()
    stage = limited(answers, requests=50)
    many = [asyncio.create_task(stage.complete(ask(), greedy)) for _ in range(16)]
    await asyncio.sleep(0.03)
    before = len(answers.runs)
    await stage.complete(ask(), modest)
    assert answers.runs.index(modest.journal.id) <= before + 2, "one run's queue does not stand before another's call"
    await asyncio.gather(*many)


async def test_a_turn_after_the_deadline_is_refused_at_once(begin: Begin) -> None:
    context, hurried, answers = await begin(), await begin(0.5), Answers()
    stage = limited(answers, requests=1, per="minute")
    await stage.complete(ask(), context)
    started = time.monotonic()
    with pytest.raises(ModelError, match="declared rate") as caught:
        await stage.complete(ask(), hurried)
    assert caught.value.kind == "rate_limited" and time.monotonic() - started < 0.3
    assert caught.value.retry_after is not None and caught.value.retry_after > 50
    assert len(answers.runs) == 1


async def test_a_long_line_is_refused_at_once_too(begin: Begin) -> None:
    context, hurried, answers = await begin(), await begin(0.5), Answers()
    stage = limited(answers, requests=10)
    calls = [asyncio.create_task(stage.complete(ask(), hurried)) for _ in range(12)]
    await asyncio.sleep(0.05)
    late = [call for call in calls if call.done() and call.exception() is not None]
    assert len(late) >= 7
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert 3 <= sum(isinstance(outcome, ModelReply) for outcome in outcomes) <= 5
    await stage.complete(ask(), context)


async def test_a_cancelled_call_frees_its_place(begin: Begin) -> None:
    context, answers = await begin(), Answers()
    stage = limited(answers, requests=10)
    await stage.complete(ask(), context)
    given_up = [asyncio.create_task(stage.complete(ask(), context)) for _ in range(20)]
    await asyncio.sleep(0.02)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    started = time.monotonic()
    await stage.complete(ask(), context)
    assert time.monotonic() - started < 0.35, "it does not wait for the twenty"
    assert len(answers.runs) == 2


async def test_tokens_that_were_not_used_come_back(begin: Begin) -> None:
    context, answers = await begin(), Answers(Usage(10, 10))
    stage = limited(answers, tokens=2000, per="minute")
    started = time.monotonic()
    for _ in range(5):  # 1,000 and more are booked for each
        await stage.complete(ask(max_tokens=1000), context)
    assert time.monotonic() - started < 2


async def test_tokens_that_were_used_hold_the_next_call_back(begin: Begin) -> None:
    context, answers = await begin(), Answers(Usage(0, 1000))
    stage = limited(answers, tokens=2000)
    await asyncio.gather(*(stage.complete(ask(max_tokens=900), context) for _ in range(3)))
    assert answers.at[1] - answers.at[0] < 0.5 and answers.at[2] - answers.at[0] >= 1


async def test_at_a_high_rate_few_bookings_serve_many_calls(begin: Begin) -> None:
    context, answers = await begin(), Answers()
    stage = limited(answers, requests=5000)
    writer, asked = context.journal.store.writer, []
    ask_once = writer.ask

    async def counted(work: Any) -> Any:
        asked.append(work)
        return await ask_once(work)

    writer.ask = counted
    for _ in range(200):
        await stage.complete(ask(), context)
    assert len(answers.runs) == 200 and len(asked) < 60


async def test_a_broken_database_reaches_every_waiting_call(begin: Begin) -> None:
    context, answers = await begin(), Answers()
    stage = limited(answers, requests=10)
    await stage.complete(ask(), context)
    waiting = [asyncio.create_task(stage.complete(ask(), context)) for _ in range(3)]
    await asyncio.sleep(0)
    context.journal.store.writer.stop()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, JournalError) for outcome in outcomes[1:])


async def test_event_loops_in_threads_share_the_rate_but_no_line(tmp_path: Path) -> None:
    answers = Answers()
    stage = limited(answers, requests=20)
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:

        async def three() -> None:
            async with await RunJournal.start(
                store, crew="c", spec={}, inputs={}, spec_hash="", version="0"
            ) as journal:
                ends = asyncio.get_running_loop().time() + 60
                context = CallContext(journal, cast(Any, None), "p", "", "", ends)
                await asyncio.gather(*(stage.complete(ask(), context) for _ in range(3)))

        await asyncio.gather(*(asyncio.to_thread(asyncio.run, three()) for _ in range(2)))
    at = sorted(answers.at)
    assert len(at) == 6 and at[-1] - at[0] >= 5 * 1.05 / 20 - 0.04
