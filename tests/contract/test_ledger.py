"""Never a cent over budget, on every database: from many runs, from several processes, and when one is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from quarterdeck.errors import LimitReached
from quarterdeck.journal.events import Decision
from quarterdeck.journal.ledger import NOTHING, Amount, Hold, Ledger, recover
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.limits import BudgetSpec

HAMMER = Path(__file__).with_name("hammer.py")
Begin = Callable[..., Any]


async def row(store: Store, key: str) -> tuple[int, int, int, int]:
    """Return spent and reserved nano-dollars, then spent and reserved tokens."""
    query = "SELECT spent_nano, reserved_nano, spent_tokens, reserved_tokens FROM budgets WHERE key = :key"
    found = await store.writer.ask(lambda connection: connection.execute(text(query), {"key": key}).first())
    return (0, 0, 0, 0) if found is None else (found[0], found[1], found[2], found[3])


def ever(usd: float | None = None, tokens: int | None = None, **whose: str) -> BudgetSpec:
    return BudgetSpec(usd=usd, tokens=tokens, per="ever", **whose)


def hammers(url: str, number: int) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen([sys.executable, HAMMER, url, str(seed), "settle"], stdout=subprocess.PIPE, text=True)
        for seed in range(number)
    ]


async def test_a_call_is_set_aside_under_every_budget_or_under_none(store: Store, begin: Begin) -> None:
    async with await begin() as journal:
        ledger = Ledger(journal, Limits(usd=1.0), [ever(usd=0.5), ever(tokens=10, crew="research")])
        hold = await ledger.reserve(Amount(100, 10))
        assert sorted(hold.keys) == ["all/ever", "crew/research/ever", f"run/{journal.id}"]
        with pytest.raises(LimitReached, match="take up to 1 tokens and pass the 10 of crew research") as refused:
            await ledger.reserve(Amount(1, 1))
        assert refused.value.limit == "tokens"
        for key in hold.keys:
            assert await row(store, key) == (0, 100, 0, 10)
        ledger.settle(hold, Amount(60, 4))
        await journal.append(Decision(what="call", why=""))
        for key in hold.keys:
            assert await row(store, key) == (60, 0, 4, 0)


async def test_to_the_last_nano_dollar_and_no_further(store: Store, begin: Begin) -> None:
    async with await begin() as journal:
        ledger = Ledger(journal, Limits(usd=0.000_000_1))
        await ledger.reserve(Amount(60, 0))
        with pytest.raises(LimitReached, match=r"cost up to \$0\.000000041 .* the \$0\.0000001 of this run \(limits"):
            await ledger.reserve(Amount(41, 0))
        await ledger.reserve(Amount(40, 0))
        with pytest.raises(LimitReached):
            await ledger.reserve(Amount(1, 0))
        await ledger.reserve(NOTHING)
    assert (await row(store, f"run/{journal.id}"))[:2] == (0, 100)


async def test_room_is_left_but_not_set_aside(store: Store, begin: Begin) -> None:
    async with await begin() as journal:
        ledger = Ledger(journal, Limits(tokens=100))
        await ledger.reserve(Amount(0, 50), room=Amount(0, 50))
        with pytest.raises(LimitReached, match="with room for a last answer"):
            await ledger.reserve(Amount(0, 1), room=Amount(0, 50))
        await ledger.reserve(Amount(0, 50))


async def test_each_tenant_has_its_own_day(store: Store) -> None:
    budgets = [BudgetSpec(tenant="*", usd=1.0, per="day"), BudgetSpec(tenant="acme", crew="c", tokens=5, per="month")]
    for tenant, rows in (("acme", 2), ("bolt", 1), ("", 1)):
        journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0", tenant=tenant)
        async with journal:
            hold = await Ledger(journal, Limits(), budgets).reserve(Amount(10**9, 1))
            assert len(hold.keys) == rows
            with pytest.raises(LimitReached, match=r"\$1 a day of .*tenant") as refused:
                await Ledger(journal, Limits(), budgets[:1]).reserve(Amount(1, 1))
            assert "config/limits.yaml" in refused.value.remedy and journal.id in refused.value.remedy


async def test_a_run_that_had_no_row_begins_with_what_it_used(store: Store, begin: Begin, call: Any) -> None:
    async with await begin() as journal:
        await journal.append(call())  # $0.001 and 15 tokens, under no budget
        ledger = Ledger(journal, Limits(usd=0.002))
        with pytest.raises(LimitReached, match=r"\$0\.001 is spent"):
            await ledger.reserve(Amount(1_000_001, 1))
        await ledger.reserve(Amount(1_000_000, 1))
        assert await row(store, f"run/{journal.id}") == (1_000_000, 1_000_000, 15, 1)


async def test_a_cancelled_reservation_is_given_back(store: Store, begin: Begin) -> None:
    async with await begin() as journal:
        ledger = Ledger(journal, Limits(usd=1.0), [ever(usd=1.0)])
        for delay in (0.0, 0.0005, 0.002):
            taking = asyncio.ensure_future(ledger.reserve(Amount(10, 10)))
            await asyncio.sleep(delay)
            if taking.done():
                ledger.settle(taking.result(), NOTHING)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
    assert await row(store, "all/ever") == (0, 0, 0, 0)
    assert await row(store, f"run/{journal.id}") == (0, 0, 0, 0)


async def test_64_runs_end_at_or_below_their_shared_budget(store: Store) -> None:
    budget, price = 100_000, 300  # nano-dollars; a call costs two thirds of what is set aside for it
    made = 0

    async def run(number: int) -> int:
        journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0")
        ledger, calls = Ledger(journal, Limits(), [ever(usd=budget / 10**9)]), 0
        async with journal:
            while True:
                try:
                    hold = await ledger.reserve(Amount(price, 10))
                except LimitReached:
                    return calls
                await asyncio.sleep(random.random() * 0.002)
                ledger.settle(hold, Amount(200, 6))
                await journal.append(Decision(what="call", why=str(number)))
                calls += 1

    made = sum(await asyncio.gather(*(run(number) for number in range(64))))
    spent, reserved, tokens, reserved_tokens = await row(store, "all/ever")
    assert (spent, reserved, tokens, reserved_tokens) == (made * 200, 0, made * 6, 0)
    # each run stops at its first refusal, so the last calls may leave room; but most of it is used
    assert budget * 0.7 < spent <= budget


async def test_several_processes_never_pass_a_budget_and_lose_no_settlement(url: str) -> None:
    with Store.open(url) as store:
        working = hammers(url, 3)
        highest = 0
        while any(process.poll() is None for process in working):
            spent, reserved, tokens, reserved_tokens = await row(store, "all/ever")
            highest = max(highest, spent + reserved)
            assert spent + reserved <= 20_000
            spent, reserved, tokens, reserved_tokens = await row(store, "each-crew/c/ever")
            assert tokens + reserved_tokens <= 15_000
            await asyncio.sleep(0.01)
        told = [process.communicate(timeout=60)[0].split() for process in working]
        assert [process.returncode for process in working] == [0, 0, 0]
        nano, tokens = (sum(int(one[place]) for one in told) for place in (0, 1))
        assert await row(store, "all/ever") == (nano, 0, tokens, 0)
        assert await row(store, "each-crew/c/ever") == (nano, 0, tokens, 0)
        assert 15_000 - 200 * 18 < tokens <= 15_000 and highest <= 20_000


async def test_what_a_killed_process_had_set_aside_counts_as_spent(url: str) -> None:
    died = subprocess.run([sys.executable, HAMMER, url, "0", "die"], check=False)
    assert died.returncode == -9
    with Store.open(url) as store:
        assert await row(store, "run/dies") == (0, 70, 0, 30)
        async with await RunJournal.resume(store, "dies") as journal:
            assert await recover(journal) == Amount(70, 30)
            assert await row(store, "run/dies") == (70, 0, 30, 0)
            assert await recover(journal) == NOTHING
            with pytest.raises(LimitReached, match="30 are used"):
                await Ledger(journal, Limits(usd=1.0, tokens=31)).reserve(Amount(0, 2))
        # nobody can tell whether it was billed, so the shared budget keeps it set aside: never a cent over
        assert await row(store, "all/ever") == (0, 70, 0, 30)
        said = [event for stored in store.events("dies") if isinstance(event := stored.event, Decision)]
        assert [(event.what, "$0.00000007 and 30 tokens" in event.why) for event in said] == [
            ("counted as spent", True)
        ]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 60), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 100), st.integers(0, 100)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_rows_are_what_a_plain_count_says(store: Store, steps: list[tuple[str, int, int]]) -> None:
    """Any order of reservations, settlements in part, and crashes that lose what is in flight."""

    async def play() -> None:
        journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0")
        run_id, limits = journal.id, Limits(usd=100 / 10**9, tokens=100)
        ledger, open_, spent, held = Ledger(journal, limits), [], [0, 0], [0, 0]
        for step, one, two in steps:
            if step == "reserve":
                fits = spent[0] + held[0] + one <= 100 and spent[1] + held[1] + two <= 100
                try:
                    open_.append(await ledger.reserve(Amount(one, two)))
                    assert fits
                    held = [held[0] + one, held[1] + two]
                except LimitReached:
                    assert not fits
            elif step == "settle" and open_:
                hold: Hold = open_.pop(0)
                used = Amount(hold.amount.nano * one // 100, hold.amount.tokens * two // 100)
                ledger.settle(hold, used)
                held = [held[0] - hold.amount.nano, held[1] - hold.amount.tokens]
                spent = [spent[0] + used.nano, spent[1] + used.tokens]
            elif step == "crash":
                await journal.close()
                open_.clear()
                journal = await RunJournal.resume(store, run_id)
                assert await recover(journal) == Amount(held[0], held[1])
                spent, held = [spent[0] + held[0], spent[1] + held[1]], [0, 0]
                ledger = Ledger(journal, limits)
            await journal.store.writer.ask(lambda _: None)
        await journal.close()
        assert await row(store, f"run/{run_id}") in [(spent[0], held[0], spent[1], held[1])]

    asyncio.run(play())
