"""How scores are combined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.memory.hybrid import Candidate, Weights, base, rank, why

PLAIN = Weights(neighbour=0, group=0, recent=0)
scores = st.dictionaries(st.integers(0, 30), st.floats(0.01, 50), max_size=20)


def candidate(number: int, group: str = "", place: int = 0, created_at: float = 0.0) -> Candidate:
    return Candidate(number, f"id{number}", group, place, created_at)


def test_each_side_is_normalised_by_its_own_best() -> None:
    found = base({1: 20.0, 2: 5.0}, {2: 0.9, 3: 0.5}, PLAIN)
    assert found == {1: (0.5, 0.0), 2: (0.125, 0.5), 3: (0.0, 0.0)}
    order = [one.candidate.number for one in rank([candidate(n) for n in (1, 2, 3)], found, PLAIN, 0)]
    assert order == [2, 1, 3]


def test_how_much_better_counts_where_ranks_would_tie() -> None:
    found = base({1: 10.0, 2: 9.9, 3: 1.0}, {2: 0.8, 1: 0.3, 3: 0.2}, PLAIN)
    assert sum(found[2]) > sum(found[1])


def test_a_neighbour_and_its_group_gain() -> None:
    weights = Weights(recent=0)
    found = base({1: 10.0, 2: 1.0, 3: 1.1}, {}, weights)
    ranked = rank([candidate(1, "g", 4), candidate(2, "g", 5), candidate(3, "h", 5)], found, weights, 0)
    assert [one.candidate.number for one in ranked] == [1, 2, 3]
    assert ranked[1].neighbour == "id1" and "neighbour of id1" in why(ranked[1]) and "group" in why(ranked[1])
    assert ranked[2].parts["neighbour"] == 0


def test_of_equal_ones_the_newer_comes_first() -> None:
    weights = Weights()
    found = base({1: 1.0, 2: 1.0}, {}, weights)
    ranked = rank([candidate(1), candidate(2, created_at=90 * 86400)], found, weights, 100 * 86400)
    assert [one.candidate.number for one in ranked] == [2, 1]


@given(scores, scores)
def test_scores_are_between_nothing_and_all(text: dict[int, float], meaning: dict[int, float]) -> None:
    found = base(text, meaning, Weights())
    everyone = [candidate(number, f"g{number % 3}", number // 3) for number in sorted({*text, *meaning})]
    ranked = rank(everyone, found, Weights(), 0)
    assert len(ranked) == len(everyone)
    for one in ranked:
        assert 0 <= one.score <= 1 and one.score == pytest.approx(sum(one.parts.values()))
    assert ranked == sorted(ranked, key=lambda one: (-one.score, one.candidate.number))
