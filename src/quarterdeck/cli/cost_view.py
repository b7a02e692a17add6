"""Costs as people and programs read them: tables, charts and JSON."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quarterdeck.cli.chart import Bar, bars, svg
from quarterdeck.cli.text import count, exact, one_line
from quarterdeck.evaluation.statistics import ENOUGH, RESAMPLES, SEED

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.costs import By, Costs
    from quarterdeck.evaluation.decided import Decided, Saving
    from quarterdeck.evaluation.projection import Projection
    from quarterdeck.journal.spending import RunRow, Sum

SHOWN = 30
"""Groups in a table, and decisions in a list; --json has all."""
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class CostReport:
    """What `quarterdeck cost` found.

    Attributes:
        run: The run that was asked for; None for all.
        since: The runs began since then, in seconds since 1970.
        by: What the calls are added up by.
        runs: How many runs were looked at.
        cut: There are more runs than are looked at.
        detailed: The decisions are told one by one.
    """

    run: RunRow | None
    since: float
    by: tuple[By, ...]
    runs: int
    cut: bool
    costs: Costs
    projections: list[Projection]
    detailed: bool


def show(report: CostReport, screen: Screen) -> None:
    """Write the report as text."""
    width = shutil.get_terminal_size((80, 24)).columns if screen.terminal else 80
    screen.line(_head(report), "bold")
    for line in _lines(report, width, screen.unicode):
        screen.line(line)


def _lines(report: CostReport, width: int, unicode: bool) -> Iterator[str]:
    decisions = report.costs.decisions
    yield from _total(report.costs.total)
    if report.cut:
        yield f"Only the newest {report.runs:,} runs were looked at; ask for less with --since."
    for by in report.by:
        if groups := _ordered(report.costs, by):
            yield from ("", *_table(by, groups, width))
            if len(groups) > 1:
                yield from ("", *bars(_bars(groups), width=width, unicode=unicode))
    if report.detailed:
        yield from _decisions(decisions.all())
    if decisions.saving.routed:
        yield from ("", *_saving(decisions.saving))
    for projection in report.projections:
        yield from ("", *_projection(projection))


def draw(report: CostReport) -> str:
    """Return the chart of the report as SVG."""
    by = report.by[0]
    groups = _ordered(report.costs, by)
    what = "cost in USD" if _in_usd(groups) else "tokens"
    return svg(_bars(groups), title=f"{_head(report)}, {what} by {by}", description=f"A bar for each {by}.")


def cost_object(report: CostReport) -> dict[str, Any]:
    """Return the report as programs read it; money is an exact decimal as text, None when it is not known."""
    costs = report.costs
    saving = costs.decisions.saving
    told = costs.decisions.all() if report.detailed or "decision" in report.by else []
    return {
        "run_id": report.run.id if report.run else None,
        "since": None if report.run else report.since,
        "runs": report.runs,
        "total": _sum_object(costs.total),
        "by": {by: [{"name": name, **_sum_object(used)} for name, used in _ordered(costs, by)] for by in report.by},
        "decisions": [_decision_object(decided) for decided in told if decided.choice],
        "routing": {
            "saved_usd": decimal_text(saving.usd), "known_saved_usd": decimal_text(saving.known_usd),
            "paid_usd": decimal_text(saving.paid_usd), "top_usd": decimal_text(saving.top_usd),
            "compared_calls": saving.compared, "routed_calls": saving.routed, "calls": saving.calls,
        },
        "projections": [_projection_object(projection) for projection in report.projections],
    }  # fmt: skip


def decimal_text(usd: Decimal | None) -> str | None:
    """Return money for programs: an exact decimal as text, None when it is not known."""
    return None if usd is None else format(usd.normalize(), "f")


def near(usd: float | Decimal) -> str:
    """Return money that is an estimate, with four digits that matter at most."""
    value = float(usd)
    size = abs(value)
    text = f"{size:,.2f}" if size >= 1 or not size else f"{size:.4g}" if size >= 0.0001 else f"{size:.7f}"
    whole, _, rest = text.partition(".")
    return f"{'-' if value < 0 else ''}${whole}.{rest.ljust(2, '0')}"


def short(number: int) -> str:
    """Return a count in at most six characters: `612`, `12.3k`, `4.0M`."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return str(number)


def seconds(value: float | None) -> str:
    """Return a latency in seconds with three digits at most, or `-`."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def latencies(used: Sum) -> str:
    """Return the quantiles of latency in one cell: `0.84/2.10/9.71`."""
    return "/".join(seconds(used.latency(share)) for share in _SHARES.values())


def _head(report: CostReport) -> str:
    if report.run:
        return f"{report.run.crew}  run {report.run.id}  {report.run.status}"
    day = datetime.fromtimestamp(report.since, UTC).strftime("%Y-%m-%d %H:%M")
    return f"{count(report.runs, 'run')} since {day} UTC"


def _total(used: Sum) -> tuple[str, str]:
    parts = (
        count(used.calls, "call"),
        count(used.failed, "failed attempt"),
        f"{short(used.prompt_tokens)} tokens in ({short(used.cached_tokens)} cached)",
        f"{short(used.completion_tokens)} out",
    )
    return "   ".join(parts), _money(used)


def _money(used: Sum) -> str:
    if used.unpriced:
        rest = f", {exact(used.known_usd)} for the rest" if used.unpriced < used.calls else ""
        return f"cost unknown for {count(used.unpriced, 'call')}{rest}"
    return exact(used.usd)


def _ordered(costs: Costs, by: By) -> list[tuple[str, Sum]]:
    groups = list(costs.groups[by].items())
    if by == "day":
        return sorted(groups)
    if by == "call":
        return groups
    return sorted(groups, key=lambda group: (-group[1].known_usd, -_tokens(group[1]), group[0]))


def _tokens(used: Sum) -> int:
    return used.prompt_tokens + used.completion_tokens


def _table(by: str, groups: list[tuple[str, Sum]], width: int) -> list[str]:
    figures = [("calls", "failed", "in", "cached", "out", "p50/95/99 s", "USD")] + [
        (str(used.calls), str(used.failed), short(used.prompt_tokens), short(used.cached_tokens),
         short(used.completion_tokens), latencies(used), exact(used.usd))
        for _, used in groups[:SHOWN]
    ]  # fmt: skip
    wide = [max(len(row[at]) for row in figures) for at in range(len(figures[0]))]
    right = ["  ".join(cell.rjust(wide[at]) for at, cell in enumerate(row)) for row in figures]
    names = [by, *(one_line(name, width) for name, _ in groups[:SHOWN])]
    room = width - len(right[0]) - 2
    column = max((len(name) for name in names if len(name) <= room), default=0)
    lines = []
    for name, row in zip(names, right, strict=True):
        if len(name) > room:  # what is too long to stand beside its figures stands above them
            lines.append(name)
        lines.append(f"{'' if len(name) > room else name:{column}}  {row}")
    return lines + ([f"... and {len(groups) - SHOWN} more; all of them with --json"] if len(groups) > SHOWN else [])


def _in_usd(groups: list[tuple[str, Sum]]) -> bool:
    """Whether a chart of money says anything: where nothing costs anything, it shows tokens."""
    return any(used.known_usd for _, used in groups)


def _bars(groups: list[tuple[str, Sum]]) -> list[Bar]:
    if _in_usd(groups):
        return [
            Bar(name, None if used.usd is None else float(used.usd), exact(used.usd)) for name, used in groups[:SHOWN]
        ]
    return [Bar(name, float(_tokens(used)), f"{short(_tokens(used))} tokens") for name, used in groups[:SHOWN]]


def _decisions(decided: list[Decided]) -> Iterator[str]:
    told = [(one.choice, one) for one in decided if one.choice]
    if not told:
        return
    yield ""
    yield "Decisions, and the calls below each"
    for choice, one in told[:SHOWN]:
        yield f"  {choice.path}  {one.name}: {one_line(choice.why, 100)}"
        yield f"    {count(one.sum.calls, 'call')}   {short(_tokens(one.sum))} tokens   {_money(one.sum)}"
    if len(told) > SHOWN:
        yield f"  ... and {len(told) - SHOWN} more; all of them with --json"


def _saving(saving: Saving) -> Iterator[str]:
    if saving.usd is not None:
        yield f"Routing saved {exact(saving.usd)} against always asking the most expensive model"
    else:
        known = f"; {exact(saving.known_usd)} where they are known" if saving.compared else ""
        yield f"What routing saved is unknown, for not all prices are known{known}"
    if saving.compared:
        yield f"  = {exact(saving.top_usd)} for the same tokens at the highest price - {exact(saving.paid_usd)} paid"
    yield f"  {saving.compared} of {count(saving.routed, 'routed call')} compared; {count(saving.calls, 'call')} in all"


def _projection(projection: Projection) -> Iterator[str]:
    runs = f"{projection.volume:,} runs of {projection.crew}"
    if projection.usd is None or projection.interval is None or projection.mean_usd is None:
        why = (
            f"{projection.unpriced} of its {count(projection.runs, 'ended run')} have calls without a known price"
            if projection.unpriced
            else "none of its runs has ended"
        )
        yield f"{runs} would cost an unknown amount: {why}."
        return
    interval, volume = projection.interval, projection.volume
    low, high = near(interval.low * volume), near(interval.high * volume)
    yield f"{runs} would cost {near(projection.usd)} (95 % interval {low} to {high})"
    yield f"  = {volume:,} x {near(projection.mean_usd)}, the mean of {count(interval.n, 'ended run')}"
    yield f"  interval: percentile bootstrap over runs, {RESAMPLES:,} resamples, seed {SEED}, n = {interval.n}"
    if not interval.enough:
        yield f"  n = {interval.n} is too few for this interval to be believed; {ENOUGH} or more would do."


def _sum_object(used: Sum) -> dict[str, Any]:
    return {
        "calls": used.calls, "failed_attempts": used.failed, "prompt_tokens": used.prompt_tokens,
        "cached_tokens": used.cached_tokens, "completion_tokens": used.completion_tokens, "usd": decimal_text(used.usd),
        "known_usd": decimal_text(used.known_usd), "unpriced_calls": used.unpriced,
        "seconds": {name: used.latency(share) for name, share in _SHARES.items()},
    }  # fmt: skip


def _decision_object(decided: Decided) -> dict[str, Any]:
    choice = decided.choice
    assert choice is not None
    return {
        "run_id": choice.run.id, "path": choice.path, "what": choice.what, "chosen": choice.chosen, "why": choice.why,
        "alternatives": list(choice.alternatives), **_sum_object(decided.sum),
    }  # fmt: skip


def _projection_object(projection: Projection) -> dict[str, Any]:
    interval = projection.interval
    return {
        "crew": projection.crew, "volume": projection.volume, "usd": decimal_text(projection.usd),
        "low_usd": interval and interval.low * projection.volume,
        "high_usd": interval and interval.high * projection.volume,
        "mean_usd": decimal_text(projection.mean_usd), "runs": projection.runs, "unpriced_runs": projection.unpriced,
        "enough": bool(interval and interval.enough),
        "method": f"mean x volume; percentile bootstrap over runs, {RESAMPLES} resamples, seed {SEED}",
    }  # fmt: skip
