"""What calls cost, read back from every database."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from quarterdeck.journal.events import Decision, ModelFailed
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.spending import Choice, FailedAttempt, ModelCall, Sum, find_run, find_runs, spending
from quarterdeck.journal.store import Store

Begin = Callable[..., Any]


async def test_many_pages_are_read_in_order_and_add_up(store: Store, begin: Begin, call: Callable[..., Any]) -> None:
    for run_id in ("one", "two"):
        async with await begin(run_id) as journal:
            for turn in range(130):
                journal.note(call(f"gather/turn-{turn}", cost_usd=f"0.00{turn:03}1", cached_tokens=3))
            await journal.append(call("report/turn-1", cost_usd=None))
            totals = journal.totals
    rows = list(spending(store, find_runs(store)))
    assert [row.path for row in rows if row.run.id == "two"][:2] == ["gather/turn-0", "gather/turn-1"]
    used = Sum()
    for row in rows:
        used.add(row)
    assert (used.calls, used.unpriced, used.usd) == (262, 2, None)
    assert used.known_usd == 2 * totals.known_usd
    assert used.prompt_tokens == 2 * totals.prompt_tokens and used.cached_tokens == 2 * 130 * 3
    assert used.latency(0.95) == 0.5


async def test_rows_are_typed_and_say_where_they_belong(store: Store, begin: Begin, call: Callable[..., Any]) -> None:
    async with await begin("one") as journal:
        await journal.decide(
            Decision(path="a/turn-1/route", what="route", why="first", chosen="m", alternatives=("n",))
        )
        failed = ModelFailed(
            path="a/turn-1", request_hash="", model="m", error="x", error_kind="server", attempt=1, seconds=2
        )
        await journal.append(failed)
        await journal.append(call("a/turn-1", source="cache", cost_usd="0"))
    choice, attempt, answered = spending(store, [find_run(store, "on")])
    assert isinstance(choice, Choice) and (choice.chosen, choice.alternatives) == ("m", ("n",))
    assert isinstance(attempt, FailedAttempt) and (attempt.kind, attempt.seconds) == ("server", 2)
    assert isinstance(answered, ModelCall) and (answered.usd, answered.source) == (Decimal(0), "cache")
    assert answered.run.crew == "research" and answered.task == "a"
    used = Sum()
    used.add(answered)
    assert used.latency(0.5) is None, "the cache is no model"


async def test_a_fork_does_not_pay_for_what_it_took_over(store: Store, begin: Begin, call: Callable[..., Any]) -> None:
    async with await begin("parent") as journal:
        await journal.append(call("gather/turn-1", cost_usd="1"))
        await journal.append(call("report/turn-1", cost_usd="2"))
    async with await RunJournal.fork(store, "parent", "report", {}) as fork:
        await fork.append(call("report/turn-1", cost_usd="4"))
    rows = [row for row in spending(store, [find_run(store, fork.id)]) if isinstance(row, ModelCall)]
    assert [row.usd for row in rows] == [Decimal(4)] and fork.totals.cost_usd == Decimal(4)
    assert rows[0].run.parent == "parent"


async def test_only_what_is_asked_for(store: Store, begin: Begin, call: Callable[..., Any]) -> None:
    async with await begin("one") as journal:
        await journal.append(call("gather/turn-1"))
    run = find_run(store, "one")
    assert find_runs(store, begun_since=run.created_at + 1) == []
    assert find_runs(store, active_since=run.updated_at) == [run]
    assert find_runs(store, crew="other") == []
    assert list(spending(store, [run], since=run.updated_at + 1)) == []
