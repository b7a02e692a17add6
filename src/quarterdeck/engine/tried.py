"""What the plans of one assignment have tried in vain, so that the next plan does something else."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quarterdeck.engine.plan import reference
from quarterdeck.governance.repeated import near
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.engine.plan import Plan, Step

EQUAL_FAILURES = 2
"""After so many failures of the same step, no later plan may have it."""


@dataclass(slots=True)
class _Failed:
    what: str
    means: str
    why: str
    times: int = 0


class Tried:
    """The steps that have failed, equal ones together: blanks, case, ids and the order of words make no difference."""

    def __init__(self) -> None:
        self._failed: dict[str, _Failed] = {}

    def add(self, plan: Plan, failed: Mapping[str, str]) -> None:
        """Take in how a plan went.

        Args:
            plan: What was carried out.
            failed: Why steps failed, by id.
        """
        steps = {step.id: step for step in plan.steps}
        for name, why in failed.items():
            step = steps[name]
            means = step.tool or step.worker
            one = self._failed.setdefault(_key(step, steps), _Failed(f"{means}: {step.does}", means, why))
            one.times += 1
            one.why = why

    def objection(self, plan: Plan, seed: str) -> str:
        """Return why a plan may not be carried out, in words for the planner; empty when it may.

        Args:
            plan: What the planner wants next.
            seed: As of `advice`.
        """
        steps = {step.id: step for step in plan.steps}
        again = [step.id for step in plan.steps if _key(step, steps) in self._stuck()]
        if not again:
            return ""
        return f"steps.{again[0]}: this very step has failed {EQUAL_FAILURES} times or more. {self.advice(seed)}"

    def advice(self, seed: str) -> str:
        """Return what the next plan must leave out; empty as long as no step has failed so often.

        Which of several tools or workers it is to do without is drawn by lot, so that plans do not all leave the same
        failed path by the same next one; the same seed draws the same.

        Args:
            seed: Of the plan: the run, and its place in it.
        """
        stuck = self._stuck()
        if not stuck:
            return ""
        listed = "; ".join(f"{one.what[:200]} (failed {one.times} times: {one.why[:200]})" for one in stuck.values())
        without = random.Random(seed).choice(sorted({one.means for one in stuck.values()}))
        return (
            f"Tried in vain: {listed}. Your plan must differ: none of these steps again, as they are. Try first to do "
            f"without {without}; if only that will do, give it other inputs."
        )

    def _stuck(self) -> dict[str, _Failed]:
        return {key: one for key, one in self._failed.items() if one.times >= EQUAL_FAILURES}


def _key(step: Step, steps: Mapping[str, Step], depth: int = 0) -> str:
    """Return what is the same for steps that try the same: a step that it refers to stands by what that one does."""
    inputs = {}
    for name, value in step.inputs.items():
        head = (reference(value) or "").split(".")[0]
        if head in steps and depth < len(steps):
            inputs[name] = {"of": _key(steps[head], steps, depth + 1)}
        else:
            inputs[name] = near(value)
    does = "" if step.tool else near(step.does)  # of a tool, the inputs say it all
    return fingerprint({"tool": step.tool, "worker": step.worker, "does": does, "inputs": inputs})
