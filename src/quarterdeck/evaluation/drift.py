"""Drift: how far what a crew does now is from what it did before."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum, log2

from quarterdeck.evaluation.behaviour import Behaviour
from quarterdeck.journal.quantile import quantile

ENOUGH = 5
"""Runs a side; below so many nothing is said."""
NOTHING = "(none)"

Shares = dict[str, float]
"""What part of a run falls to each name, from 0 to 1; together 1."""


@dataclass(frozen=True, slots=True)
class Part:
    """One side of behaviour, compared.

    Attributes:
        score: 0, as before, to 1, nothing in common; None when a side has too little to say.
        before: Shares by name, or the median; None when it is not known.
        now: Likewise.
    """

    name: str
    score: float | None
    before: Shares | float | None
    now: Shares | float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """What has changed in a crew's runs.

    Attributes:
        before: Runs of the baseline.
        now: Runs compared with it.
        redeclared: The crew was not declared the same in all of these runs.
        parts: Empty when there are too few runs.
    """

    before: int
    now: int
    redeclared: bool
    parts: tuple[Part, ...]

    @property
    def score(self) -> float | None:
        """The largest of the parts; None when there are too few runs."""
        return max((part.score for part in self.parts if part.score is not None), default=None)


_NAMED: dict[str, Callable[[Behaviour], Counter[str]]] = {
    "tools": lambda run: run.tools,
    "models": lambda run: run.models,
    "run ends": lambda run: Counter([run.end] if run.end else []),
    "task ends": lambda run: run.tasks,
}
_MEASURED: dict[str, Callable[[Behaviour], float | None]] = {
    "turns a task": lambda run: run.turns_a_task,
    "tokens a run": lambda run: float(run.used.prompt_tokens + run.used.completion_tokens),
    "USD a run": lambda run: None if run.used.usd is None else float(run.used.usd),
}


def drift(before: Sequence[Behaviour], now: Sequence[Behaviour]) -> Drift:
    """Compare what runs did with what others did before.

    Args:
        before: The baseline.
        now: What is compared with it.
    """
    declared = {one.run.spec_hash for one in (*before, *now)}
    parts: list[Part] = []
    if min(len(before), len(now)) >= ENOUGH:
        for name, counts in _NAMED.items():
            old, new = shares(map(counts, before)), shares(map(counts, now))
            parts.append(Part(name, divergence(old, new), old, new))
        for name, value in _MEASURED.items():
            parts.append(_measured(name, list(map(value, before)), list(map(value, now))))
    return Drift(len(before), len(now), len(declared) > 1, tuple(parts))


def shares(of: Iterable[Counter[str]]) -> Shares:
    """Return the mean of the runs' own shares: a run with many calls weighs no more than another.

    Args:
        of: The counts of each run; a run without any counts as `(none)`.
    """
    runs = [counts or Counter([NOTHING]) for counts in of]
    names = sorted({name for counts in runs for name in counts})
    return {name: fsum(counts[name] / counts.total() for counts in runs) / len(runs) for name in names}


def divergence(one: Shares, other: Shares) -> float:
    """Return the Jensen-Shannon divergence in bits: 0 for the same shares, 1 where no name is in both.

    Lin (1991), Divergence measures based on the Shannon entropy.
    """
    terms = []
    for name in one.keys() | other.keys():
        p, q = one.get(name, 0.0), other.get(name, 0.0)
        middle = (p + q) / 2
        terms += [share * log2(share / middle) / 2 for share in (p, q) if share > 0]
    return min(1.0, max(0.0, fsum(terms)))


def difference(one: float, other: float) -> float:
    """Return by how much two figures, neither below 0, differ, as a share of the larger: 0 to 1."""
    larger = max(one, other)
    return abs(one - other) / larger if larger else 0.0


def dominance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how surely a value of one side is above, or below, one of the other: 0 for a toss-up, 1 for always.

    Cliff (1993), Dominance statistics: the absolute value of his delta.
    """
    ordered = sorted(other)
    above = sum(bisect_left(ordered, value) + bisect_right(ordered, value) - len(ordered) for value in one)
    return abs(above) / (len(one) * len(ordered))


def _measured(name: str, before: Sequence[float | None], now: Sequence[float | None]) -> Part:
    """Compare medians, and count no more than sets the sides apart: where figures scatter widely, medians do too.

    A figure that too few runs of a side have, such as a cost without prices, has no score.
    """
    sides = [[value for value in side if value is not None] for side in (before, now)]
    old, new = (quantile(side, 0.5) for side in sides)
    if old is None or new is None or min(map(len, sides)) < ENOUGH:
        return Part(name, None, old, new)
    return Part(name, min(difference(old, new), dominance(*sides)), old, new)
