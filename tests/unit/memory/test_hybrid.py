"""How scores are combined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.memory.fulltext import Word
from quarterdeck.memory.hybrid import Candidate, Ranked, Scoring, Weights, why
from quarterdeck.memory.hybrid import rank as rank_scored

PLAIN = Weights(group=0, recent=0, before=0, after=0, lent=0)
WEIGHTS = Weights(recent=0)
RARE, COMMON = 5.0, 0.5
held = st.dictionaries(st.integers(0, 30), st.floats(0.01, 1), max_size=20)


def candidate(number: int, group: str = "", place: int = 0, created_at: float = 0.0, digest: str = "") -> Candidate:
    return Candidate(number, f"id{number}", group, place, created_at, digest or f"text {number}")


def rank(
    candidates: list[Candidate], words: list[Word], near: dict[int, float], weights: Weights, now: float
) -> list[Ranked]:
    return rank_scored(candidates, Scoring(words, near, weights), weights, now)


def base(number: int, words: list[Word], near: dict[int, float], weights: Weights) -> float:
    return sum(Scoring(words, near, weights).own(number))


def order(candidates: list[Candidate], words: list[Word], near: dict[int, float], weights: Weights) -> list[int]:
    return [one.candidate.number for one in rank(candidates, words, near, weights, 0)]


def test_words_count_by_how_much_of_the_query_is_held() -> None:
    words = [Word(RARE, {1: 1.0}), Word(RARE, {1: 1.0, 2: 1.0})]
    assert base(1, words, {}, PLAIN) == pytest.approx(PLAIN.text)
    assert base(2, words, {}, PLAIN) == pytest.approx(PLAIN.text / 4), "half of the words, a quarter of the weight"
    assert base(3, words, {3: 0.5}, PLAIN) == pytest.approx(PLAIN.meaning / 2)
    assert base(4, [], {4: -0.3}, PLAIN) == 0


def test_where_no_memory_holds_the_words_that_tell_meaning_decides() -> None:
    words = [Word(COMMON, {2: 1.0}), Word(RARE, {}), Word(RARE, {})]
    assert order([candidate(1), candidate(2)], words, {1: 0.5, 2: 0.45}, PLAIN) == [1, 2]
    assert order([candidate(1), candidate(2)], [Word(RARE, {2: 1.0})], {1: 0.5, 2: 0.45}, PLAIN) == [2, 1]


def test_an_answer_is_found_by_the_question_before_it() -> None:
    words = [Word(RARE, {1: 1.0}), Word(RARE, {2: 1.0, 3: 1.0})]
    said = [candidate(1, "g", 4), candidate(2, "g", 5), candidate(3, "h", 5)]
    ranked = rank(said, words, {}, WEIGHTS, 0)
    assert ranked[0].candidate.number == 2 and ranked[0].neighbour == "id1" and "neighbour of id1" in why(ranked[0])
    parts = {one.candidate.number: one.parts for one in ranked}
    assert parts[2]["neighbour"] > parts[1]["neighbour"] > 0, "the one before lends more than the one after"
    assert parts[3]["neighbour"] == 0 and parts[3]["text"] == parts[2]["text"]
    apart = [candidate(1, "g", 4), candidate(2, "g", 6), candidate(3, "", 5)]
    assert all(one.parts["neighbour"] == 0 for one in rank(apart, words, {}, WEIGHTS, 0))


def test_both_neighbours_can_lend_and_the_one_that_lends_more_is_named() -> None:
    words = [Word(RARE, {1: 1.0}), Word(RARE, {2: 1.0}), Word(RARE, {3: 1.0})]
    said = [candidate(number, "g", number) for number in (1, 2, 3)]
    best = rank(said, words, {}, WEIGHTS, 0)[0]
    share = (1 + WEIGHTS.before + WEIGHTS.after) / 3
    assert best.candidate.number == 2 and best.neighbour == "id1"
    assert (best.parts["text"] + best.parts["neighbour"]) * WEIGHTS.total == pytest.approx(
        WEIGHTS.text * share**2, abs=1e-5
    )


def test_a_strong_neighbour_never_takes_from_what_is_strong_itself() -> None:
    near = {1: 0.9, 2: 0.2}
    alone = rank([candidate(1)], [], near, WEIGHTS, 0)[0]
    beside = rank([candidate(1, "g", 1), candidate(2, "g", 2)], [], near, Weights(recent=0, group=0), 0)
    assert beside[0].candidate.number == 1 and beside[0].parts["neighbour"] == 0 and beside[1].parts["neighbour"] > 0
    assert beside[0].parts["meaning"] >= alone.parts["meaning"]


def test_a_group_of_good_members_counts() -> None:
    near = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}
    said = [candidate(1, "g", 1), candidate(2, "h", 1), candidate(3, "h", 5), candidate(4)]
    assert order(said, [], near, WEIGHTS) == [2, 3, 1, 4]


def test_a_repeated_text_stands_below_the_first_of_it_and_says_so() -> None:
    said = [candidate(1, digest="same"), candidate(2, digest="same"), candidate(3)]
    ranked = rank(said, [], {1: 0.9, 2: 0.9, 3: 0.6}, PLAIN, 0)
    assert [one.candidate.number for one in ranked] == [1, 3, 2]
    assert ranked[2].parts["repeated"] < 0 and "repeated -0." in why(ranked[2]) and "repeated" not in ranked[0].parts
    plain = Weights(group=0, recent=0, before=0, after=0, lent=0, repeated=0)
    assert order(said, [], {1: 0.9, 2: 0.9, 3: 0.6}, plain) == [1, 2, 3]


def test_of_equal_ones_the_newer_comes_first() -> None:
    ranked = rank([candidate(1), candidate(2, created_at=90 * 86400)], [], {1: 0.5, 2: 0.5}, Weights(), 100 * 86400)
    assert [one.candidate.number for one in ranked] == [2, 1]


@given(held, held, st.dictionaries(st.integers(0, 30), st.floats(-1, 1), max_size=20))
def test_scores_are_between_nothing_and_all(
    one: dict[int, float], other: dict[int, float], near: dict[int, float]
) -> None:
    words = [Word(RARE, one), Word(COMMON, other), Word(RARE, {})]
    numbers = sorted({*one, *other, *near})
    everyone = [candidate(number, f"g{number % 3}", number // 3, digest=f"t{number % 7}") for number in numbers]
    ranked = rank(everyone, words, near, Weights(), 0)
    assert len(ranked) <= len(everyone)
    for made in ranked:
        assert 0 <= made.score <= 1 and made.score == pytest.approx(sum(made.parts.values()), abs=1e-5)
        assert all(value >= 0 for name, value in made.parts.items() if name != "repeated")
    assert ranked == sorted(ranked, key=lambda one: (-one.score, one.candidate.number))


@pytest.mark.parametrize(
    ("cosine", "held", "fits"),
    [(0.07, 0.0, False), (0.24, 0.0, False), (0.26, 0.0, True), (0.0, 1.0, True), (-0.2, 0.0, False)],
)
def test_what_fits_nothing_is_left_out(cosine: float, held: float, fits: bool) -> None:
    words = [Word(RARE, {1: held} if held else {}), Word(RARE, {})]
    assert bool(order([candidate(1)], words, {1: cosine}, Weights())) is fits


def test_being_recent_or_in_a_good_group_is_no_reason_by_itself() -> None:
    words = [Word(RARE, {1: 1.0})]
    said = [candidate(1, "g", 1), candidate(5, "g", 5)]
    assert order(said, words, {}, Weights(group=1.0, recent=1.0)) == [1]


def test_beside_a_good_one_what_is_next_to_nothing_is_left_out() -> None:
    words = [Word(RARE, {1: 1.0}), Word(COMMON, {1: 1.0, 2: 1.0})]
    both = [candidate(1), candidate(2)]
    assert order(both, words, {}, PLAIN) == [1], "a common word of a query that another memory holds whole"
    assert order([candidate(2)], words, {}, PLAIN) == [2], "by itself it is the best that there is"
