"""What runs cost, grouped: by run, crew, role, model, day, decision and more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from quarterdeck.evaluation.decided import Decisions, PriceOf
from quarterdeck.journal.spending import Choice, FailedAttempt, ModelCall, RunRow, Spent, Sum

By = Literal["run", "crew", "role", "agent", "task", "model", "day", "decision", "tenant", "call"]
RoleOf = Callable[[RunRow, str], str]
"""The role of an agent of a run."""

NOBODY = "(none)"
_Row = ModelCall | FailedAttempt
_KEYS: dict[By, Callable[[_Row], str]] = {
    "run": lambda row: row.run.id,
    "crew": lambda row: row.run.crew,
    "agent": lambda row: row.agent,
    "task": lambda row: row.task,
    "model": lambda row: row.model,
    "day": lambda row: datetime.fromtimestamp(row.at, UTC).date().isoformat(),
    "tenant": lambda row: row.run.tenant,
    "call": lambda row: f"{row.run.id} {row.path}",
}


@dataclass(slots=True)
class Costs:
    """What some runs cost.

    Attributes:
        total: Of all of them.
        groups: By each thing that was asked for, the sums by name; each call is in exactly one sum of each.
        runs: What each run used, in the order of the runs.
        decisions: The decisions about models, and what routing saved.
    """

    decisions: Decisions
    total: Sum = field(default_factory=Sum)
    groups: dict[By, dict[str, Sum]] = field(default_factory=dict)
    runs: dict[str, tuple[RunRow, Sum]] = field(default_factory=dict)


def add_up(
    rows: Iterable[Spent], by: Iterable[By], *, price_of: PriceOf, role_of: RoleOf, runs: Iterable[RunRow] = ()
) -> Costs:
    """Return the sums of what some runs spent.

    Args:
        rows: As `journal.spending` yields them.
        by: What to group by.
        price_of: The price of a model by its name; None when it is not known.
        role_of: The role of an agent of a run.
        runs: All runs that were looked at: one without calls cost nothing, and counts.
    """
    costs = Costs(Decisions(price_of), groups={one: {} for one in by})
    costs.runs = {run.id: (run, Sum()) for run in runs}
    for row in rows:
        decided = costs.decisions.add(row)
        if isinstance(row, Choice):
            continue
        costs.total.add(row)
        costs.runs.setdefault(row.run.id, (row.run, Sum()))[1].add(row)
        for one, sums in costs.groups.items():
            if one == "decision":
                name = decided.name if decided else ""
            elif one == "role":
                name = role_of(row.run, row.agent)
            else:
                name = _KEYS[one](row)
            sums.setdefault(name or NOBODY, Sum()).add(row)
    return costs
