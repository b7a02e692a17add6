"""Sums by anything, decisions with the calls below them, what routing saved, projections."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.evaluation.costs import By, add_up
from quarterdeck.evaluation.decided import Decisions
from quarterdeck.evaluation.projection import project
from quarterdeck.journal.spending import Choice, FailedAttempt, ModelCall, RunRow, Spent, Sum
from quarterdeck.models.prices import Price

RUN = RunRow("run1", "research", "succeeded", "", "", "hash", 0.0, 1.0)
PRICES = {"small": Price.per_million(1, 2), "large": Price.per_million(10, 20, 5), "mystery": None}


def a_call(path: str = "gather/turn-1", usd: str | None = "0.001", **other: Any) -> ModelCall:
    values: dict[str, Any] = {
        "run": RUN, "task": "gather", "agent": "clerk", "at": 0.0, "model": "small", "prompt_tokens": 1000,
        "completion_tokens": 100, "cached_tokens": 0, "seconds": 1.0, "source": "model", "degraded": False,
    }  # fmt: skip
    return ModelCall(path=path, usd=None if usd is None else Decimal(usd), **{**values, **other})


def a_choice(path: str, chosen: str = "small", what: str = "route", *alternatives: str) -> Choice:
    return Choice(RUN, path, "gather", "clerk", 0.0, what, "because", chosen, alternatives or ("small", "large"))


runs = st.sampled_from([RUN, replace(RUN, id="run2", tenant="acme"), replace(RUN, id="run3", crew="other")])
calls = st.builds(
    a_call,
    path=st.sampled_from(["gather/turn-1", "gather/turn-2", "report/turn-1"]),
    usd=st.none() | st.decimals(0, 5, places=9).map(str),
    run=runs,
    task=st.sampled_from(["gather", "report", ""]),
    agent=st.sampled_from(["clerk", ""]),
    model=st.sampled_from(["small", "large"]),
    at=st.floats(0, 2e9),
    prompt_tokens=st.integers(0, 10**6),
)
failures = st.builds(
    FailedAttempt, run=runs, path=st.just("gather/turn-1"), task=st.just("gather"), agent=st.just("clerk"),
    at=st.just(0.0), model=st.just("small"), kind=st.just("server"), seconds=st.just(1.0),
)  # fmt: skip
choices = st.sampled_from([a_choice("gather/turn-1/route"), a_choice("gather/turn-2/fallback", "large", "instead")])


@given(rows=st.lists(st.one_of(calls, failures, choices), max_size=40))
def test_the_sums_of_every_grouping_add_up_to_the_total(rows: list[Spent]) -> None:
    costs = add_up(rows, get_args(By), price_of=PRICES.get, role_of=lambda run, agent: agent.upper())
    paid = [row for row in rows if isinstance(row, ModelCall)]
    assert costs.total.known_usd == sum((row.usd for row in paid if row.usd is not None), Decimal(0))
    assert costs.total.unpriced == sum(row.usd is None for row in paid)
    assert (costs.total.usd is None) == any(row.usd is None for row in paid)
    for groups in (*costs.groups.values(), {run.id: used for run, used in costs.runs.values()}):
        sums = list(groups.values())
        assert sum((one.known_usd for one in sums), Decimal(0)) == costs.total.known_usd
        for name in ("calls", "failed", "prompt_tokens", "completion_tokens", "cached_tokens", "unpriced"):
            assert sum(getattr(one, name) for one in sums) == getattr(costs.total, name)


def test_calls_stand_below_the_decision_that_chose_their_model() -> None:
    rows: list[Spent] = [
        a_choice("gather/turn-1/route", "small"),
        a_call("gather/turn-1"),
        a_choice("gather/turn-2/route", "large"),
        a_call("gather/turn-2", "0.01"),
        a_call("gather/turn-2/tool-1/worker/turn-1"),  # a worker's own assignment: nobody routed it
        a_choice("gather/turn-3/fallback", "small", "small answered in the place of large"),
        a_call("gather/turn-3", degraded=True),
        a_call("gather/turn-4"),
    ]
    told = [(one.name, one.sum.calls) for one in Decisions.of(rows, PRICES.get).all()]
    assert told == [("route small", 1), ("route large", 2), ("fallback small", 1), ("", 1)]


def test_what_routing_saved() -> None:
    rows: list[Spent] = [
        a_choice("gather/turn-1/route"),
        a_call("gather/turn-1", "0.0012"),
        a_call("gather/turn-2", "0.0012", cached_tokens=400),
        a_call("gather/turn-3", "0", source="cache"),  # the always expensive run would have had it too
        a_call("report/turn-1", "0.5"),  # not routed
    ]
    saving = Decisions.of(rows, PRICES.get).saving
    assert (saving.calls, saving.routed, saving.compared) == (3, 2, 2)
    # 1,000 in at 10, 100 out at 20 USD a million: 0.012; 400 of them cached at 5: 0.010
    assert (saving.top_usd, saving.paid_usd, saving.usd) == (Decimal("0.022"), Decimal("0.0024"), Decimal("0.0196"))


@pytest.mark.parametrize("usd", [None, "0.001"])
def test_a_saving_with_an_unknown_price_is_unknown(usd: str | None) -> None:
    top = "mystery" if usd else "large"
    rows: list[Spent] = [
        a_choice("gather/turn-1/route"), a_call("gather/turn-1", "0.0012"),
        a_choice("report/turn-1/route", "small", "route", "small", top), a_call("report/turn-1", usd),
    ]  # fmt: skip
    saving = Decisions.of(rows, PRICES.get).saving
    assert (saving.compared, saving.routed, saving.usd) == (1, 2, None)
    assert saving.known_usd == Decimal("0.0108")


def test_without_routing_nothing_is_claimed() -> None:
    saving = Decisions.of([a_call()], PRICES.get).saving
    assert (saving.calls, saving.routed, saving.usd) == (1, 0, None)


def _used(usd: str | None) -> Sum:
    used = Sum()
    used.add(a_call(usd=usd))
    return used


def test_a_projection_is_the_mean_of_ended_runs_of_the_crew() -> None:
    others = [replace(RUN, crew="other"), replace(RUN, status="running"), replace(RUN, parent="p")]
    found = project(
        "research",
        [(RUN, _used("0.01")), (RUN, _used("0.03")), (RUN, Sum()), *((run, _used("9")) for run in others)],
        10_000,
    )
    assert (found.runs, found.unpriced) == (3, 0)
    assert found.usd == pytest.approx(Decimal("133.3333333"), abs=Decimal("0.0001"))
    assert found.interval is not None and found.interval.low <= 0.04 / 3 <= found.interval.high


def test_a_projection_with_an_unknown_price_is_unknown() -> None:
    found = project("research", [(RUN, _used("0.01")), (RUN, _used(None))], 100)
    assert (found.usd, found.interval, found.unpriced, found.runs) == (None, None, 1, 2)
    assert project("research", [], 100).usd is None
