"""Asking for a plan: what the planner is told, the shape it answers in, and the person who may review it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import loop
from quarterdeck.engine.assign import choice_of
from quarterdeck.engine.assignment import Outcome
from quarterdeck.engine.output import OutputType
from quarterdeck.engine.plan import Means, Plan, check_plan, means_of, remaining
from quarterdeck.errors import Rejected, Waiting
from quarterdeck.journal.events import PlanMade, PlanReviewed
from quarterdeck.spec.template import as_text

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.engine.steps import Steps
    from quarterdeck.spec.crew import PlanSpec
    from quarterdeck.tools.evidence import Evidence

PLAN_TOKENS = 4096
MAX_SHOWN = 1500
"""Characters of a finished step's output that the planner sees when it plans again."""
TURNS = loop.MAX_REPAIRS + 1
"""Of each model that `auto` may come to: the first try, and the repairs that the loop allows."""

IDS = [f"s{number}" for number in range(1, 61)]
"""What a constrained model may name its steps: small ones name every step after its tool."""

TASK = """\
Write a plan for the task below. Others carry it out step by step; you will not see their work.

The task: {description}
What it must give: {expected_output}"""
RULES = """\
The plan:
- At most {max_steps} steps, with the ids s1, s2 and so on. A step names one tool, or one worker, and in `does` says
  in one sentence what it does.
- `inputs` are the tool's arguments, or what the worker is shown. A value is a literal, or the output of a step
  above: {{"from": "step_id"}}, or one field of it: {{"from": "step_id.field"}}. Workers give text, which has no fields.
- A step waits for the steps that its inputs refer to; all others run at once. Name in `after` only what passes no
  data and must be done before all the same.
- `check` is a condition over `output` that must hold, such as: len(output) > 0. Leave it empty where none is needed.
- `answer` is the id of the step whose output is the result; leave it empty to have the result written from all outputs.
- Prefer tools to workers: a worker sees its own inputs alone."""
AGAIN = """\
An earlier plan failed; the context says what is done and what failed. Plan what is left. Steps that are done stay:
refer to them, and do not plan them again."""


class PlanShape(OutputType):
    """The shape of a plan, its names limited to the tools and workers there are.

    Args:
        means: What the plan may use.
    """

    def __init__(self, means: Means) -> None:
        super().__init__(Plan)
        self._means = means

    def schema(self, evidence: Evidence) -> dict[str, Any]:
        """Return the JSON Schema for a model that can be constrained."""
        schema: dict[str, Any] = json.loads(json.dumps(super().schema(evidence)))
        schema["properties"]["steps"]["maxItems"] = self._means.max_steps
        named = schema["$defs"]["Step"]["properties"]
        for key, names in (("tool", self._means.tools), ("worker", self._means.workers)):
            named[key] = {"type": "string", "enum": ["", *names]}
        named["id"] = {"type": "string", "enum": IDS}
        del named["after"]  # what passes no data seldom needs an order, and small models write one that cannot be
        return schema


async def make_plan(number: int, work: Assignment, spec: PlanSpec, steps: Steps, run: RunScope) -> Plan | Outcome:
    """Have the planner write a plan, and a person review it where that is declared.

    Args:
        number: 1 for the first plan, one more for each replan.
        work: What is planned.
        spec: How.
        steps: What earlier plans have done, and what failed.
        run: The run it belongs to.

    Returns:
        What will be carried out; or how the work ended, when there is no plan.

    Raises:
        Waiting: A person has to review the plan first; nothing of it has been carried out.
        ModelError: The planner cannot be asked.
        LimitReached: The run's time is up.
    """
    asked = planning(number, work, spec, steps, run)
    outcome = await loop.perform(asked, run)
    if outcome.status != "succeeded":
        if outcome.code != "output_rejected":
            return replace(outcome, status="failed", value=None)
        return Outcome("failed", "plan_failed", why=f"no plan that could be carried out: {outcome.why}")
    plan: Plan = outcome.value
    if run.journal.recorded(PlanMade, asked.path) is None:
        why = "; ".join(f"{step}: {failure}" for step, failure in steps.failed.items())
        made = PlanMade(
            path=asked.path, task=work.task, agent=work.agent_name, plan=plan.as_data(), number=number, why=why[:2000]
        )
        await run.journal.append(made)
    return _reviewed(plan, asked.path, steps, run) if spec.review else plan


def _reviewed(plan: Plan, path: str, steps: Steps, run: RunScope) -> Plan | Outcome:
    review = run.journal.recorded(PlanReviewed, path)
    if review is None:
        command = "quarterdeck plans {} " + run.journal.id
        raise Waiting(
            f"The plan at {path} waits for a person; nothing of it has been carried out. See it: "
            f"{command.format('show')}. Then: {command.format('approve')} (or edit, or reject).",
            code="plan_review",
        )
    if not review.approved:
        said = f"{review.by or 'a person'} rejected the plan"
        return Outcome("failed", "plan_rejected", why=f"{said}: {review.reason}" if review.reason else said)
    return plan if review.plan is None else remaining(Plan.model_validate(review.plan), steps.finished)


def planning(number: int, work: Assignment, spec: PlanSpec, steps: Steps, run: RunScope) -> Assignment:
    """Return what the planner is asked: the task, what there is to do it with, and what became of earlier plans.

    Arguments as of `make_plan`.
    """
    path = f"{work.path}/plan-{number}"
    means = means_of(run.spec, run.tools, path, work.task, work.agent_name, steps.finished)
    choice = choice_of(work.agent.model_copy(update={"model": spec.planner}), run)

    def can_be_carried_out(plan: Plan, evidence: Evidence) -> Plan:
        plan = remaining(plan, steps.finished)
        if problems := check_plan(plan, means):
            listed = "; ".join(f"{'.'.join(map(str, one.place))}: {one.what}" for one in problems)
            raise Rejected(listed)
        if objection := steps.tried.objection(plan, _seed(path, run)):
            raise Rejected(objection)
        return plan

    return replace(
        work,
        path=path,
        description=_description(work, spec, means, run, again=number > 1),
        expected_output="The plan.",
        context="\n\n".join(
            filter(None, [given(work, number), work.context, _progress(steps), _tried(steps, path, run)])
        ),
        **choice,
        max_turns=TURNS * max(1, len(choice["ladder"])),
        max_tokens=max(work.max_tokens, min(PLAN_TOKENS, choice["model"].context // 4)),
        tools=(),
        begin=work.begin if number == 1 else (),
        output=PlanShape(means),
        guardrails=(can_be_carried_out,),
    )


def given(work: Assignment, number: int) -> str:
    """Return the results of the task's declared first calls, as text; the first planner makes and sees the calls."""
    begun = work.evidence.receipts[: len(work.begin)] if number > 1 else []
    return "\n\n".join(f"## {receipt.tool}\n{receipt.text}" for receipt in begun)


def _description(work: Assignment, spec: PlanSpec, means: Means, run: RunScope, *, again: bool) -> str:
    tools = [f"- {name}: {_about(run, name)}" for name in means.tools]
    workers = [f"- {name}: {run.spec.agents[name].goal}" for name in means.workers]
    parts = [
        TASK.format(description=work.description, expected_output=work.expected_output),
        "Tools, with their arguments as JSON Schema:\n" + ("\n".join(tools) or "none"),
        "Workers:\n" + "\n".join(workers),
        RULES.format(max_steps=spec.max_steps),
        *([AGAIN] if again else []),
    ]
    return "\n\n".join(parts)


def _about(run: RunScope, name: str) -> str:
    tool = run.tools[name]
    schema = json.dumps(tool.parameters, ensure_ascii=False, separators=(",", ":"))
    return f"{tool.description} {schema}"


def _tried(steps: Steps, path: str, run: RunScope) -> str:
    if not steps.failed:
        return ""  # a prompt that is only shown has no run to draw lots for
    advice = steps.tried.advice(_seed(path, run))
    return f"## Leave the failed path\n{advice}" if advice else ""


def _seed(path: str, run: RunScope) -> str:
    """Return what lots are drawn from: the same in every replay, another in another run."""
    return f"{run.journal.id}/{path}"


def _progress(steps: Steps) -> str:
    parts = [
        f"## Done: {name} ({step.does})\n{as_text(steps.outputs[name])[:MAX_SHOWN]}"
        for name, step in steps.finished.items()
    ]
    parts += [f"## Failed: {name}\n{why}" for name, why in steps.failed.items()]
    return "\n\n".join(parts)
