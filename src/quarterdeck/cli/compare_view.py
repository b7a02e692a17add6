"""A comparison of models as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quarterdeck.cli.cost_view import decimal_text, near, seconds, short
from quarterdeck.cli.text import count, one_line
from quarterdeck.evaluation.compare import Comparison, Pair, Score, compared
from quarterdeck.evaluation.statistics import ENOUGH, RESAMPLES, SEED, Interval

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.trials import Trial

CASES_SHOWN = 20


class Progress:
    """Keeps the trials as they end, and shows one line each.

    Args:
        screen: Where to write.
        runs: How many there will be.
        quiet: Show nothing.
    """

    def __init__(self, screen: Screen, runs: int, *, quiet: bool) -> None:
        self.trials: list[Trial] = []
        self._screen = screen
        self._runs = runs
        self._quiet = quiet

    def __call__(self, trial: Trial) -> None:
        """Take a trial that has ended."""
        self.trials.append(trial)
        if self._quiet:
            return
        mark, why = ("ok  ", "") if trial.passed else ("fail", one_line("; ".join(trial.why), 60))
        place = f"{len(self.trials)}/{self._runs}".rjust(2 * len(str(self._runs)) + 1)
        cost = "cost unknown" if trial.usd is None else near(trial.usd)
        line = f"{mark}  {place}  {one_line(trial.case, 24)}  {trial.model}  {seconds(trial.seconds)} s  {cost}  {why}"
        self._screen.line(line.rstrip(), "" if trial.passed else "red")


def show(
    crew: str, trials: Sequence[Trial], models: Sequence[str], screen: Screen, runs: int, *, stopped: bool
) -> None:
    """Write the comparison as text.

    Args:
        crew: The crew's name.
        trials: What was run.
        models: The models; the first is the base.
        screen: Where to write.
        runs: How many runs there should have been.
        stopped: Somebody stopped it before its end.
    """
    screen.line()
    left = runs - len(trials)
    if left:
        why = "Stopped" if stopped else "What is left of --limit-usd is less than one run may cost,"
        screen.line(f"{why} after {len(trials)} of {count(runs, 'run')}; what is done is below and in the journal.")
    comparison = compared(trials, models)
    cases = len({trial.case for trial in trials})
    screen.line(f"{crew}  {count(cases, 'case')}  {count(len(trials), 'run')}", "bold")
    head = ("model", "passed", "rate", "USD a run", "p50 s", "p95 s", "tokens")
    screen.columns([head, *(_score(score) for score in comparison.scores)])
    for line in _remarks(comparison):
        screen.line(line)
    for pair in comparison.pairs:
        screen.line()
        for line in _pair(pair):
            screen.line(line)
    screen.line()
    screen.line(f"Intervals: 95 %, paired percentile bootstrap over cases, {RESAMPLES:,} resamples, seed {SEED}.")


def report_object(
    crew: str, trials: Sequence[Trial], models: Sequence[str], runs: int, *, stopped: bool
) -> dict[str, Any]:
    """Return the comparison as programs read it; money is a decimal as text, None when it is not known."""
    comparison = compared(trials, models)
    return {
        "crew": crew,
        "complete": len(trials) == runs,
        "stopped": stopped,
        "runs": len(trials),
        "wanted_runs": runs,
        "models": [_score_object(score) for score in comparison.scores],
        "pairs": [_pair_object(pair) for pair in comparison.pairs],
        "method": f"paired percentile bootstrap over cases, level 0.95, {RESAMPLES} resamples, seed {SEED}",
        "trials": [{**asdict(trial), "why": list(trial.why), "usd": decimal_text(trial.usd)} for trial in trials],
    }


def _score(score: Score) -> tuple[str, ...]:
    cost = "unknown" if score.usd_a_run is None else near(score.usd_a_run)
    passed = f"{score.passed}/{score.trials}"
    rate = f"{100 * score.rate:.0f} %" if score.trials else "-"
    return score.model, passed, rate, cost, seconds(score.p50), seconds(score.p95), short(score.tokens)


def _remarks(comparison: Comparison) -> Iterator[str]:
    for score in comparison.scores:
        if score.codes:
            yield f"{score.model} failed: {', '.join(f'{code} {number}' for code, number in score.codes)}"
        if score.stand_ins:
            calls = count(score.stand_ins, "call")
            yield f"{score.model}: {calls} answered from a cache or by a fallback; cost and latency are not its own."


def _pair(pair: Pair) -> Iterator[str]:
    yield (
        f"{pair.model} against {pair.base}: {len(pair.better)} cases better, {len(pair.same)} the same, "
        f"{len(pair.worse)} worse"
    )
    yield _difference("pass rate", pair.rate, lambda value: f"{100 * value:+.1f} points")
    yield _difference("USD a run", pair.usd, lambda value: f"{'+' if value >= 0 else ''}{near(value)}")
    yield _difference("seconds a run", pair.seconds, lambda value: f"{value:+.3f} s")
    if 0 < pair.cases < ENOUGH:
        yield f"  n = {pair.cases}: too few cases to tell; {ENOUGH} or more would do"
    for word, cases in (("better", pair.better), ("worse", pair.worse)):
        if cases:
            more = f" and {len(cases) - CASES_SHOWN} more" if len(cases) > CASES_SHOWN else ""
            yield f"  {word} in: {', '.join(one_line(case, 40) for case in cases[:CASES_SHOWN])}{more}"


def _difference(name: str, interval: Interval | None, shown: Any) -> str:
    if interval is None:
        return f"  {name.ljust(13)}  unknown"
    if not interval.enough:
        verdict = f"n = {interval.n}, too few to tell"
    else:
        verdict = f"n = {interval.n}, {'excludes' if interval.excludes_zero else 'includes'} 0"
    return f"  {name.ljust(13)}  {shown(interval.mean)}  ({shown(interval.low)} to {shown(interval.high)}; {verdict})"


def _score_object(score: Score) -> dict[str, Any]:
    return {
        "model": score.model, "runs": score.trials, "passed": score.passed, "pass_rate": score.rate,
        "usd": decimal_text(score.usd), "usd_a_run": decimal_text(score.usd_a_run),
        "seconds": {"p50": score.p50, "p95": score.p95}, "tokens": score.tokens, "cached_tokens": score.cached_tokens,
        "failed": dict(score.codes), "stand_ins": score.stand_ins,
    }  # fmt: skip


def _pair_object(pair: Pair) -> dict[str, Any]:
    def one(interval: Interval | None) -> dict[str, Any] | None:
        if interval is None:
            return None
        return {**asdict(interval), "excludes_zero": interval.excludes_zero, "enough": interval.enough}

    return {
        "model": pair.model, "base": pair.base, "cases": pair.cases, "better": list(pair.better),
        "same": list(pair.same), "worse": list(pair.worse), "pass_rate": one(pair.rate), "usd_a_run": one(pair.usd),
        "seconds_a_run": one(pair.seconds),
    }  # fmt: skip
