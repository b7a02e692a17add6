"""What a run has tried and what came of it, gathered from its events: the stuff that episodes are made of."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.governance.labels import Origin
from quarterdeck.journal.events import ModelCalled, PlanMade, StepEnded, ToolCalled
from quarterdeck.journal.totals import usd_of

if TYPE_CHECKING:
    from quarterdeck.journal.events import Event
    from quarterdeck.journal.run import RunJournal

MAX_FAILURES = 50
"""Of one task; the first ones are kept, for later ones mostly repeat them."""
NOT_DONE = ("error", "denied", "unverified", "unknown")


class Attempts:
    """Hears the events of one run; failures of earlier processes are taken from the journal.

    Args:
        journal: Of the run.
    """

    reads_text = False

    def __init__(self, journal: RunJournal) -> None:
        self._failures: dict[str, dict[str, None]] = defaultdict(dict)
        self._told_by: dict[str, str] = {}
        self._plans: dict[str, tuple[str, ...]] = {}
        self._usd: dict[str, Decimal | None] = defaultdict(Decimal)
        for call in journal.recorded_tools_below(""):
            self(call)
        journal.listen(self)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        task = event.path.split("/")[0]
        if isinstance(event, ToolCalled):
            if event.status in NOT_DONE and event.error_class != "repeated":
                self._fail(task, f"{event.tool}({_brief(event.arguments)}) -> {event.result}")
                if event.status != "denied":  # that is said by the gate; all else by the tool
                    self._told_by.setdefault(task, str(Origin("tool", event.tool[:128])))
        elif isinstance(event, StepEnded):
            if event.status == "failed":
                self._fail(task, f"step {event.step} -> {event.why}")
        elif isinstance(event, PlanMade):
            self._plans[task] = tuple(_step(step) for step in event.plan.get("steps", ()))
        elif isinstance(event, ModelCalled):
            before, cost = self._usd[task], usd_of(event.cost_usd)
            self._usd[task] = None if before is None or cost is None else before + cost

    def failures(self, path: str) -> tuple[str, ...]:
        """Return what failed in the task at a path, each approach once."""
        return tuple(self._failures.get(path, ()))

    def origin(self, path: str) -> str:
        """Return the label of what failed in the task at a path: the first tool whose words it holds, else `model`."""
        return self._told_by.get(path, "model")

    def plan(self, path: str) -> tuple[str, ...]:
        """Return the steps of the last plan of the task at a path."""
        return self._plans.get(path, ())

    def usd(self, path: str) -> str:
        """Return what this process paid for the task at a path; empty when a price is not known."""
        cost = self._usd.get(path, Decimal())
        return "" if cost is None else str(cost)

    def _fail(self, task: str, line: str) -> None:
        own = self._failures[task]
        if len(own) < MAX_FAILURES:
            own[line[:1000]] = None


def _brief(arguments: dict[str, Any]) -> str:
    return orjson.dumps(arguments, default=str).decode()[1:-1][:160]


def _step(step: Any) -> str:
    return f"{step.get('id', '')}: {step.get('does', '')}" if isinstance(step, dict) else str(step)
