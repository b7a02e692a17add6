"""`quarterdeck models health`: how well each model has answered lately, from the journal alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options

if TYPE_CHECKING:
    from quarterdeck.journal.spending import Choice, Spent, Sum

SINCE = "1h"
_BREAKER = "breaker"
_OF_MODEL = re.compile(r"of (\S+): ")


@dataclass(slots=True)
class Health:
    """How well one model has answered.

    Attributes:
        sum: Its calls and failed attempts.
        failures: Failed attempts by kind.
        breaker: The last decision of its circuit breaker, if there was one.
    """

    sum: Sum
    failures: Counter[str] = field(default_factory=Counter)
    breaker: Choice | None = None


def health(
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="What was recorded since then: 90s, 1h, 7d, 2026-11-01.")
    ] = SINCE,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show how well each model has answered: calls, failures by kind, latency, and its circuit breaker."""
    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.since import read_since
    from quarterdeck.journal.spending import find_runs, spending

    from_then = read_since(since)
    screen = Screen()
    with open_store(database, read_only=True) as store:
        runs = find_runs(store, active_since=from_then)
        models = by_model(spending(store, runs, since=from_then))
    if json:
        screen.data([_as_object(name, one) for name, one in sorted(models.items())])
    elif not models:
        screen.line(f"No model was asked in the last {since}.")
    else:
        head = ("model", "calls", "failed", "p50 s", "p95 s", "breaker")
        screen.columns([head, *(_row(name, one) for name, one in sorted(models.items()))])
        for name, one in sorted(models.items()):
            if one.failures:
                kinds = ", ".join(f"{kind} {number}" for kind, number in one.failures.most_common())
                screen.line(f"{name} failed: {kinds}")


def by_model(rows: Iterable[Spent]) -> dict[str, Health]:
    """Return the health of each model that was asked, or whose breaker has decided something.

    Args:
        rows: As `journal.spending` yields them.
    """
    from quarterdeck.journal.spending import Choice, FailedAttempt, ModelCall, Sum

    models: dict[str, Health] = {}
    breakers: list[Choice] = []
    for row in rows:
        if isinstance(row, Choice):
            if row.path.endswith(f"/{_BREAKER}") or row.what.startswith(_BREAKER):
                breakers.append(row)
            continue
        if isinstance(row, ModelCall) and row.source != "model":
            continue
        one = models.setdefault(row.model, Health(Sum()))
        one.sum.add(row)
        if isinstance(row, FailedAttempt):
            one.failures[row.kind] += 1
    for choice in sorted(breakers, key=lambda choice: choice.at):
        named = _OF_MODEL.search(choice.what)
        if named:
            models.setdefault(named[1], Health(Sum())).breaker = choice
    return models


def _row(name: str, one: Health) -> tuple[str, ...]:
    from quarterdeck.cli.cost_view import seconds

    breaker = one.breaker.chosen if one.breaker else "-"
    figures = str(one.sum.calls), str(one.sum.failed), seconds(one.sum.latency(0.5)), seconds(one.sum.latency(0.95))
    return name, *figures, breaker


def _as_object(name: str, one: Health) -> dict[str, Any]:
    last = one.breaker
    attempts = one.sum.calls + one.sum.failed
    return {
        "model": name, "calls": one.sum.calls, "failed_attempts": one.sum.failed, "failures": dict(one.failures),
        "error_rate": one.sum.failed / attempts if attempts else None,
        "seconds": {"p50": one.sum.latency(0.5), "p95": one.sum.latency(0.95)},
        "breaker": last and {"state": last.chosen, "why": last.why, "at": last.at, "run_id": last.run.id},
    }  # fmt: skip
