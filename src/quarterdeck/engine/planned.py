"""Plan, then execute: an expensive model plans, code and cheap models carry out, and a failed step plans again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import loop
from quarterdeck.engine.assign import MAX_CONTEXT_CHARACTERS
from quarterdeck.engine.assignment import Outcome
from quarterdeck.engine.plan import plan_spec
from quarterdeck.engine.planner import given, make_plan
from quarterdeck.engine.remember import given as given_memories
from quarterdeck.engine.steps import Steps, executor_of
from quarterdeck.spec.template import as_text

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment
    from quarterdeck.engine.plan import Plan
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.crew import PlanSpec


async def perform(work: Assignment, run: RunScope) -> Outcome:
    """Work on an assignment: plan first where its agent or crew declares `plan`, else turn by turn.

    Args:
        work: What to do.
        run: The run it belongs to.

    Returns:
        How it ended. A plan whose steps keep failing ends with the code `plan_failed`.

    Raises:
        LimitReached: The run's time is up.
        Waiting: A person has to review the plan, or to raise a limit.
        ModelError: The model cannot be asked.
    """
    work.evidence.memories = await given_memories(run, work.path, work.task, work.agent_name, work.evidence.item)
    work = replace(work, memories=work.evidence.memories)
    spec = plan_spec(work.agent, run.spec)
    if spec is None:
        return await loop.perform(work, run)
    steps = Steps(work, spec, run)
    plan: Plan | Outcome
    for number in range(1, spec.max_replans + 2):
        plan = await make_plan(number, work, spec, steps, run)
        if isinstance(plan, Outcome):
            return plan
        if await steps.carry_out(plan, f"{work.path}/plan-{number}"):
            return await _answer(plan, work, spec, steps, run)
    assert not isinstance(plan, Outcome)
    step, reason = next(iter(steps.failed.items()))
    why = f'step "{step}" failed, and {spec.max_replans} replans were made: {reason}'
    value = _as_declared(work, steps.outputs.get(plan.answer))
    if value is not None:
        return Outcome("partial", "plan_failed", value, why=why)
    return Outcome("failed", "plan_failed", why=why)


async def _answer(plan: Plan, work: Assignment, spec: PlanSpec, steps: Steps, run: RunScope) -> Outcome:
    """Return the answer: the output of the step that the plan names where that will do, else written by the executor.

    An output is the result as it is only where no guardrail has to see it and it has the declared shape.
    """
    value = _as_declared(work, steps.outputs.get(plan.answer))
    if value is not None:
        return Outcome("succeeded", "goal_met", value)
    shown = [plan.answer] if plan.answer else list(steps.finished)
    outputs = [f"## {name} ({steps.finished[name].does})\n{as_text(steps.outputs[name])}" for name in shown]
    closing = replace(
        work,
        path=f"{work.path}/answer",
        context="\n\n".join(filter(None, [given(work, 2), work.context, *outputs]))[:MAX_CONTEXT_CHARACTERS],
        **executor_of(work, spec, run),
        tools=(),
        begin=(),
    )
    return await loop.perform(closing, run)


def _as_declared(work: Assignment, output: Any) -> Any:
    """Return an output as the task's result; None where a model has to write that, or a guardrail to see it."""
    if output is None or work.guardrails:
        return None
    text = as_text(output)
    if work.output is None:
        return output if text.strip() else None
    try:
        return work.output.read(text)
    except ValueError:
        return None
