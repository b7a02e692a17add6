"""Quantiles and bootstrap intervals, against known values."""

from __future__ import annotations

import random

import pytest

from quarterdeck.evaluation.statistics import mean_interval
from quarterdeck.journal.quantile import quantile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.95, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.5),
        (list(range(101)), 0.95, 95.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0.9, 4.6),  # numpy.quantile([1, 2, 3, 4, 5], 0.9)
        ([5.0, 1.0], 1.0, 5.0),
    ],
)
def test_quantiles(values: list[float], share: float, expected: float | None) -> None:
    assert quantile(values, share) == (expected if expected is None else pytest.approx(expected))


def test_the_interval_is_that_of_the_normal_distribution_where_there_are_many() -> None:
    chance = random.Random(3)
    values = [chance.gauss(10, 2) for _ in range(400)]
    interval = mean_interval(values)
    assert interval is not None and interval.n == 400
    mean = sum(values) / 400
    error = (sum((value - mean) ** 2 for value in values) / 399) ** 0.5 / 20
    assert interval.mean == pytest.approx(mean)
    assert interval.low == pytest.approx(mean - 1.96 * error, abs=0.2 * error)
    assert interval.high == pytest.approx(mean + 1.96 * error, abs=0.2 * error)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = random.Random(11)
    covered = 0
    for seed in range(300):
        # differences of pass or fail on 30 cases: better in 30 %, worse in 10 %, so 0.2 on average
        values = chance.choices([1.0, -1.0, 0.0], [0.3, 0.1, 0.6], k=30)
        interval = mean_interval(values, resamples=400, seed=seed)
        assert interval is not None
        covered += interval.low <= 0.2 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_a_seed_gives_the_same_interval_and_few_are_not_believed() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    interval = mean_interval(values)
    assert interval is not None and not interval.enough and interval.low <= 0.6 <= interval.high
    assert mean_interval([]) is None


@pytest.mark.parametrize(("values", "excludes"), [([1.0] * 12, True), ([-1.0] * 12, True), ([1.0, -1.0] * 6, False)])
def test_whether_zero_is_excluded(values: list[float], excludes: bool) -> None:
    interval = mean_interval(values)
    assert interval is not None and interval.enough and interval.excludes_zero is excludes
