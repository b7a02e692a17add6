"""Models compared on the same cases: what each achieved, and the differences with their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import fsum
from typing import TYPE_CHECKING

from quarterdeck.evaluation.statistics import Interval, mean_interval
from quarterdeck.journal.quantile import quantile

if TYPE_CHECKING:
    from quarterdeck.evaluation.trials import Trial


@dataclass(frozen=True, slots=True)
class Score:
    """What one model achieved.

    Attributes:
        usd: What its runs cost together; None when a price is not known.
        tokens: Of all its runs.
        codes: The codes of its runs that did not pass, with their number, most frequent first.
        stand_ins: Calls that were answered from a cache or by a fallback.
    """

    model: str
    trials: int
    passed: int
    usd: Decimal | None
    p50: float | None
    p95: float | None
    tokens: int
    cached_tokens: int
    codes: tuple[tuple[str, int], ...]
    stand_ins: int

    @property
    def rate(self) -> float:
        """The share of runs that passed."""
        return self.passed / self.trials if self.trials else 0.0

    @property
    def usd_a_run(self) -> Decimal | None:
        """The mean cost of a run."""
        return None if self.usd is None or not self.trials else self.usd / self.trials


@dataclass(frozen=True, slots=True)
class Pair:
    """A model against the first one, on the cases that both have run.

    Attributes:
        better: Cases in which it passed more often.
        rate: Difference of the pass rate; None when no case was run with both.
        usd: Difference of USD a run; None when a price is not known.
        seconds: Difference of seconds a run.
    """

    model: str
    base: str
    better: tuple[str, ...]
    same: tuple[str, ...]
    worse: tuple[str, ...]
    rate: Interval | None
    usd: Interval | None
    seconds: Interval | None

    @property
    def cases(self) -> int:
        """Cases that were run with both: the observations of the intervals."""
        return len(self.better) + len(self.same) + len(self.worse)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole comparison; the first model is what the others are held against."""

    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]


def compared(trials: Sequence[Trial], models: Sequence[str]) -> Comparison:
    """Return what trials tell about models.

    Repeats of a case are no observations of their own: they are averaged first, and cases are resampled.

    Args:
        trials: The trials.
        models: The models; the first is what the others are held against.
    """
    of = {model: [trial for trial in trials if trial.model == model] for model in models}
    scores = tuple(_score(model, of[model]) for model in models)
    base = models[0]
    return Comparison(scores, tuple(_pair(model, of[model], base, of[base]) for model in models[1:]))


def _score(model: str, trials: Sequence[Trial]) -> Score:
    costs = [trial.usd for trial in trials if trial.usd is not None]
    codes: dict[str, int] = defaultdict(int)
    for trial in trials:
        if not trial.passed:
            codes[trial.code if trial.status != "succeeded" else "checks"] += 1
    return Score(
        model=model,
        trials=len(trials),
        passed=sum(trial.passed for trial in trials),
        usd=sum(costs, Decimal(0)) if len(costs) == len(trials) else None,
        p50=quantile([trial.seconds for trial in trials], 0.5),
        p95=quantile([trial.seconds for trial in trials], 0.95),
        tokens=sum(trial.tokens for trial in trials),
        cached_tokens=sum(trial.cached_tokens for trial in trials),
        codes=tuple(sorted(codes.items(), key=lambda item: (-item[1], item[0]))),
        stand_ins=sum(trial.stand_ins for trial in trials),
    )


def _pair(model: str, trials: Sequence[Trial], base: str, others: Sequence[Trial]) -> Pair:
    mine, theirs = _by_case(trials), _by_case(others)
    both = sorted(mine.keys() & theirs.keys())  # not as they ended: the same trials give the same interval

    def differences(measure: Callable[[Trial], float]) -> list[float]:
        return [_mean(mine[case], measure) - _mean(theirs[case], measure) for case in both]

    rates = differences(lambda trial: float(trial.passed))
    priced = all(trial.usd is not None for case in both for trial in (*mine[case], *theirs[case]))
    return Pair(
        model=model,
        base=base,
        better=tuple(case for case, difference in zip(both, rates, strict=True) if difference > 0),
        same=tuple(case for case, difference in zip(both, rates, strict=True) if difference == 0),
        worse=tuple(case for case, difference in zip(both, rates, strict=True) if difference < 0),
        rate=mean_interval(rates),
        usd=mean_interval(differences(lambda trial: float(trial.usd or 0))) if priced else None,
        seconds=mean_interval(differences(lambda trial: trial.seconds)),
    )


def _by_case(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    cases: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        cases[trial.case].append(trial)
    return dict(cases)


def _mean(trials: Sequence[Trial], measure: Callable[[Trial], float]) -> float:
    return fsum(measure(trial) for trial in trials) / len(trials)
