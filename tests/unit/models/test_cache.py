"""The same question is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.models.stages import ask, failure

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import TextArrived
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.cache import Cache
from quarterdeck.models.port import ModelReply, ModelRequest, ToolRequest, Usage
from quarterdeck.models.stack import build_port
from quarterdeck.models.stages import Replay
from quarterdeck.spec.models import CacheSpec
from quarterdeck.testing import ScriptedCatalog, ScriptedModel

KEPT = CacheSpec(seconds=60)
Begin = Callable[..., Any]


class Slow:
    """Answers when it is told to: what the calls cost can be counted."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[str] = []
        self.go = asyncio.Event()

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.calls.append(context.journal.id)
        await self.go.wait()
        await asyncio.sleep(0.005)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome or ModelReply("deep", usage=Usage(100, 20), cost_usd=Decimal("0.01"), model=request.model)


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    journals: list[RunJournal] = []
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:

        async def begin(tenant: str = "", seconds: float = 60.0, group: str = "cheap") -> CallContext:
            journal = await RunJournal.start(
                store, crew="c", spec={}, inputs={}, spec_hash="", version="0", tenant=tenant
            )
            journals.append(journal)
            ends = asyncio.get_running_loop().time() + seconds
            return CallContext(journal, cast(Any, None), "p", "", "", ends, group=group)

        yield begin
        for journal in journals:
            await journal.close()


async def settled(*calls: Any) -> list[asyncio.Task[ModelReply]]:
    tasks = [asyncio.ensure_future(call) for call in calls]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_identical_calls_in_flight_share_one(begin: Begin) -> None:
    contexts, end = [await begin() for _ in range(4)], Slow()
    port = Replay(Cache(end, lambda _: None))
    tasks = await settled(*(port.complete(ask(), context) for context in contexts))
    end.go.set()
    paid, *shared = await asyncio.gather(*tasks)
    assert len(end.calls) == 1
    assert (paid.source, paid.usage.prompt_tokens, paid.cost_usd) == ("model", 100, Decimal("0.01"))
    assert {(one.text, one.source, one.usage, one.cost_usd) for one in shared} == {
        ("deep", "shared", Usage(), Decimal(0))
    }
    totals = [context.journal.totals for context in contexts]
    assert sum(one.tokens for one in totals) == 120 and sum(one.known_usd for one in totals) == Decimal("0.01")
    assert all(one.cost_usd is not None for one in totals)


@pytest.mark.parametrize(
    ("one", "other", "tenants"),
    [
        ({"temperature": 0.7}, {"temperature": 0.7}, ("", "")),
        ({}, {"max_tokens": 7}, ("", "")),
        ({}, {"words": "How wide is it?"}, ("", "")),
        ({}, {}, ("acme", "other")),
    ],
    ids=["sampled", "other cap", "other words", "other tenant"],
)
async def test_what_differs_is_not_shared(
    begin: Begin, one: dict[str, Any], other: dict[str, Any], tenants: tuple[str, str]
) -> None:
    contexts, end = [await begin(tenant) for tenant in tenants], Slow()
    stage = Cache(end, lambda _: KEPT)
    end.go.set()
    await asyncio.gather(stage.complete(ask(**one), contexts[0]), stage.complete(ask(**other), contexts[1]))
    assert len(end.calls) == 2


@pytest.mark.parametrize("stop", ["cancel", LimitReached("used up", "usd"), failure("unknown_price")], ids=str)
async def test_when_the_first_stops_for_itself_another_asks(begin: Begin, stop: Any) -> None:
    contexts, end = [await begin() for _ in range(3)], Slow(*([] if stop == "cancel" else [stop]))
    stage = Cache(end, lambda _: None)
    tasks = await settled(*(stage.complete(ask(), context) for context in contexts))
    if stop == "cancel":
        tasks[0].cancel()
        await asyncio.sleep(0)
    end.go.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, BaseException)
    assert isinstance(second, ModelReply) and isinstance(third, ModelReply)
    assert (second.source, third.source) == ("model", "shared")
    assert end.calls == [context.journal.id for context in contexts[:2]]


async def test_a_failed_call_fails_for_all_who_shared_it(begin: Begin) -> None:
    contexts, end = [await begin() for _ in range(3)], Slow(failure("server", 7.0, "down"))
    stage = Cache(end, lambda _: None)
    tasks = await settled(*(stage.complete(ask(), context) for context in contexts))
    end.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(end.calls) == 1 and len({id(one) for one in outcomes}) == 3
    for one in outcomes:
        assert isinstance(one, ModelError) and (one.kind, one.retry_after) == ("server", 7.0)
    assert (await stage.complete(ask(), contexts[0])).source == "model", "a failure is not kept"


async def test_whoever_stops_waiting_stops_nobody_else(begin: Begin) -> None:
    contexts, hurried, end = [await begin() for _ in range(3)], await begin(seconds=0.03), Slow()
    stage = Cache(end, lambda _: None)
    tasks = await settled(*(stage.complete(ask(), context) for context in contexts))
    tasks[1].cancel()
    with pytest.raises(LimitReached, match=r"limits\.seconds"):
        await stage.complete(ask(), hurried)
    end.go.set()
    assert (await tasks[0]).source == "model" and (await tasks[2]).source == "shared"
    assert len(end.calls) == 1


async def asked_again(begin: Begin, spec: CacheSpec | None, reply: ModelReply | None = None, **request: Any) -> Any:
    """Ask twice, in two runs and two ports; return the second reply and how often the model was asked."""
    end = Slow(reply, reply)
    end.go.set()
    for _ in range(2):
        context = await begin()
        last = await Replay(Cache(end, lambda _: spec)).complete(ask(**request), context)
    return last, len(end.calls), context


async def test_a_kept_answer_is_given_again_for_nothing(begin: Begin) -> None:
    calls = (ToolRequest("1", "lookup", {"order": "€"}, '{"order": "€"}'), ToolRequest("2", "lookup", None, "{"))
    reply = ModelReply("", calls, Usage(100, 20), Decimal("0.01"), "first", "tool_calls")
    last, asked, context = await asked_again(begin, KEPT, reply)
    assert asked == 1 and last == ModelReply("", calls, Usage(), Decimal(0), "first", "tool_calls", "cache")
    assert (context.journal.totals.tokens, context.journal.totals.cost_usd) == (0, Decimal(0))


@pytest.mark.parametrize(
    ("spec", "reply", "request_"),
    [
        (None, None, {}),
        (CacheSpec(seconds=1e-6), None, {}),
        (KEPT, None, {"temperature": 0.5}),
        (KEPT, ModelReply("cut", finish="length"), {}),
        (KEPT, ModelReply("second best", degraded=True), {}),
    ],
    ids=["not declared", "expired", "sampled", "cut off", "degraded"],
)
async def test_what_is_not_kept(begin: Begin, spec: Any, reply: Any, request_: Any) -> None:
    last, asked, _ = await asked_again(begin, spec, reply, **request_)
    assert asked == 2 and last.source == "model"


async def test_sampled_answers_are_kept_where_the_group_says_so(begin: Begin) -> None:
    last, asked, _ = await asked_again(begin, CacheSpec(seconds=60, sampled=True), temperature=0.5)
    assert asked == 1 and last.source == "cache"


@pytest.mark.parametrize("broken", ["'{'", "'[]'", '\'{"text": 1, "finish": "stop"}\'', "substr(reply, 2)"])
@pytest.mark.parametrize("size", ["size", "length(reply)"])
async def test_a_broken_row_is_a_miss_and_is_replaced(begin: Begin, broken: str, size: str) -> None:
    _, _, context = await asked_again(begin, KEPT)
    with context.journal.store._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE replies SET reply = {broken}")
        connection.exec_driver_sql(f"UPDATE replies SET size = {size}")
    last, asked, _ = await asked_again(begin, KEPT)
    assert asked == 1 and last.source == "cache", "asked once more, and kept again"


async def test_who_listens_sees_the_text_of_a_kept_answer(begin: Begin) -> None:
    await asked_again(begin, KEPT)
    context = await begin()
    heard: list[Any] = []
    context.journal.listen(heard.append)
    await Replay(Cache(Slow(), lambda _: KEPT)).complete(ask(), context)
    assert [event.text for event in heard if isinstance(event, TextArrived)] == ["deep"]


async def test_another_group_has_other_fallbacks_and_is_not_shared(begin: Begin) -> None:
    contexts, end = [await begin(group="cheap"), await begin(group="expensive")], Slow()
    end.go.set()
    stage = Cache(end, lambda _: None)
    await asyncio.gather(*(stage.complete(ask(), context) for context in contexts))
    assert len(end.calls) == 2


async def test_a_fresh_port_asks_each_time() -> None:
    names = [type(stage).__name__ for stage in _stages_of(build_port(ScriptedCatalog(ScriptedModel([])), fresh=True))]
    assert "Cache" not in names and "Replay" in names


def _stages_of(stage: Any) -> Iterator[Any]:
    while stage is not None:
        yield stage
        stage = getattr(stage, "_proceed", None)


@pytest.mark.parametrize(("more", "calls"), [(600.0, 2), (0.0, 1)], ids=["more time", "no more time"])
async def test_a_run_that_gave_up_for_lack_of_time_does_not_give_up_for_others(
    begin: Begin, more: float, calls: int
) -> None:
    short, end = await begin(seconds=8.0), Slow(failure("rate_limited", 30.0))
    cache = Cache(end, lambda _: None)
    tasks = await settled(cache.complete(ask(), short), cache.complete(ask(), await begin(seconds=7.9 + more)))
    end.go.set()
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, ModelError) and len(end.calls) == calls
    assert isinstance(second, ModelReply if more else ModelError)
