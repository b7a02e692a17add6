"""Drift: what counts as the same behaviour, what as another, and when nothing can be said."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from math import log2
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.evaluation.behaviour import Behaviour
from quarterdeck.evaluation.drift import ENOUGH, difference, divergence, dominance, drift, shares
from quarterdeck.journal.spending import RunRow, Sum

counts = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9)).map(Counter), min_size=1, max_size=9)


def a_run(tokens: int = 1000, usd: str | None = "0.01", turns: int = 2, **other: Any) -> Behaviour:
    run = RunRow("r", "research", "succeeded", "", "", other.pop("spec_hash", "s"), 0.0, 0.0)
    used = Sum(prompt_tokens=tokens, known_usd=Decimal(usd or 0), unpriced=usd is None)
    values: dict[str, Any] = {
        "tools": Counter(look=2), "models": Counter(small=2), "tasks": Counter({"succeeded goal_met": 1}),
        "end": "succeeded goal_met", "turns": Counter(gather=turns), "used": used,
    }  # fmt: skip
    return Behaviour(run, **{**values, **other})


def scores(before: list[Behaviour], now: list[Behaviour]) -> dict[str, float | None]:
    return {part.name: part.score for part in drift(before, now).parts}


@given(one=counts, other=counts)
def test_the_divergence_is_a_symmetric_measure_from_0_to_1(one: list[Counter[str]], other: list[Counter[str]]) -> None:
    p, q = shares(one), shares(other)
    assert sum(p.values()) == pytest.approx(1)
    assert divergence(p, q) == pytest.approx(divergence(q, p)) and 0 <= divergence(p, q) <= 1
    assert divergence(p, p) == 0
    if not p.keys() & q.keys():
        assert divergence(p, q) == pytest.approx(1)


def test_the_divergence_by_hand() -> None:
    by_hand = (log2(4 / 3) + 0.5 * log2(2 / 3) + 0.5 * log2(2)) / 2
    assert divergence({"a": 1.0}, {"a": 0.5, "b": 0.5}) == pytest.approx(by_hand)


@pytest.mark.parametrize(("one", "other", "share"), [(0, 0, 0), (0, 3, 1), (2, 4, 0.5), (4, 2, 0.5), (5, 5, 0)])
def test_figures_differ_by_a_share_of_the_larger(one: float, other: float, share: float) -> None:
    assert difference(one, other) == share


@pytest.mark.parametrize(
    ("one", "other", "sure"),
    [([1, 2], [3, 4], 1), ([3, 4], [1, 2], 1), ([1, 3], [2], 0), ([5, 5], [5, 5], 0), ([1, 2, 2], [2], 1 / 3)],
)
def test_how_surely_one_side_is_above_the_other(one: list[float], other: list[float], sure: float) -> None:
    assert dominance(one, other) == pytest.approx(sure)


def test_a_median_of_scattered_figures_counts_no_more_than_it_sets_apart() -> None:
    before, now = ([a_run(turns=turns) for turns in side] for side in ([1, 1, 1, 5, 5], [1, 1, 5, 5, 5]))
    assert scores(before, now)["turns a task"] == pytest.approx((9 - 4) / 25), "not 0.8"


def test_each_run_weighs_the_same_and_one_without_calls_counts() -> None:
    assert shares([Counter(a=99), Counter(b=1)]) == {"a": 0.5, "b": 0.5}
    assert shares([Counter(), Counter(a=3)]) == {"(none)": 0.5, "a": 0.5}


def test_the_same_behaviour_has_no_drift() -> None:
    found = drift([a_run()] * 5, [a_run()] * 9)
    assert found.score == 0 and (found.before, found.now, found.redeclared) == (5, 9, False)
    assert all(part.score == 0 for part in found.parts) and len(found.parts) == 7


@pytest.mark.parametrize(
    ("changed", "part", "score"),
    [
        ({"tools": Counter(delete=1)}, "tools", 1),
        ({"tools": Counter()}, "tools", 1),
        ({"models": Counter(large=2)}, "models", 1),
        ({"end": "failed tool"}, "run ends", 1),
        ({"tasks": Counter({"failed tool": 1})}, "task ends", 1),
        ({"turns": 8}, "turns a task", 0.75),
        ({"tokens": 4000}, "tokens a run", 0.75),
        ({"usd": "0.04"}, "USD a run", 0.75),
    ],
)
def test_each_part_is_found_alone_and_the_total_is_the_largest(changed: Any, part: str, score: float) -> None:
    found = drift([a_run()] * 5, [a_run(**changed)] * 5)
    assert found.score == pytest.approx(score)
    assert {one.name for one in found.parts if one.score} == {part}


def test_turns_are_counted_by_task_and_costs_by_the_median() -> None:
    two = a_run(turns=2)
    two.turns["report"] = 6
    assert two.turns_a_task == 4 and a_run(turns=0, usd="1").used.usd == 1
    outlier = [*[a_run()] * 5, a_run(tokens=1_000_000, usd="900")]
    assert drift([a_run()] * 5, outlier).score == 0


def test_an_unknown_price_has_no_score_and_hides_nothing_else() -> None:
    unknown = scores([a_run()] * 5, [a_run(usd=None)] * 5)
    assert unknown.pop("USD a run") is None and set(unknown.values()) == {0}
    few = scores([a_run()] * 5, [*[a_run(usd=None)] * 5, a_run(usd="9")])
    assert few["USD a run"] is None, "one price says nothing of five runs"


def test_too_few_runs_say_nothing() -> None:
    for before, now in ((ENOUGH - 1, 20), (20, ENOUGH - 1), (0, 0)):
        found = drift([a_run()] * before, [a_run(end="failed")] * now)
        assert found.score is None and found.parts == ()
    assert drift([a_run()] * ENOUGH, [a_run(end="failed")] * ENOUGH).score == 1


def test_another_declaration_is_told() -> None:
    assert drift([a_run()] * 5, [a_run(spec_hash="t")] * 5).redeclared


def test_chance_alone_is_seldom_above_the_limit_that_the_docs_name() -> None:
    chance = Random(1)

    def one() -> Behaviour:
        tools = Counter(chance.choices("abcde", [5, 3, 2, 1, 1], k=chance.randint(2, 8)))
        end = chance.choices(["succeeded goal_met", "partial limit_turns", "failed tool"], [85, 10, 5])[0]
        tokens = int(chance.lognormvariate(8, 0.5))
        used = Sum(prompt_tokens=tokens, known_usd=Decimal(tokens) / 1_000_000)
        return a_run(turns=chance.randint(1, 5), tools=tools, end=end, used=used)

    pairs = [drift([one() for _ in range(20)], [one() for _ in range(20)]).score or 0 for _ in range(200)]
    assert sum(score > 0.3 for score in pairs) <= 30
