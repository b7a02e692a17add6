"""Carrying out the steps of a plan: each at once when what it waits for is there, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import loop
from quarterdeck.engine.assign import choice_of
from quarterdeck.engine.assignment import Assignment
from quarterdeck.engine.concurrency import all_settled
from quarterdeck.engine.output import plain
from quarterdeck.engine.plan import granted_at, reference
from quarterdeck.engine.tried import Tried
from quarterdeck.errors import Cancelled, JournalError, LimitReached, QuarterdeckError, Waiting
from quarterdeck.governance.provenance import CALL
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import StepEnded
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.conditions import MISSING, Condition, find
from quarterdeck.spec.template import as_text
from quarterdeck.tools.evidence import Receipt

if TYPE_CHECKING:
    from quarterdeck.engine.assign import Choice
    from quarterdeck.engine.plan import Plan, Step
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.crew import PlanSpec

MAX_WHY = 2000


def executor_of(work: Assignment, spec: PlanSpec, run: RunScope) -> Choice:
    """Return the model of the steps that need one, as fields of an assignment."""
    return choice_of(work.agent.model_copy(update={"model": spec.executor}), run)


class Steps:
    """The steps of one planned assignment, over all its plans.

    Args:
        work: What is planned.
        spec: How.
        run: The run it belongs to.

    Attributes:
        finished: The steps that have succeeded, by id, in the order of their plans.
        outputs: What they gave, as JSON-able data.
        failed: Why the others of the last plan failed, by id, in the order of the plan.
        tried: What plans have tried in vain.
    """

    def __init__(self, work: Assignment, spec: PlanSpec, run: RunScope) -> None:
        self._work = work
        self._spec = spec
        self._run = run
        self.finished: dict[str, Step] = {}
        self.outputs: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.tried = Tried()
        self._paths: dict[str, str] = {}

    async def carry_out(self, plan: Plan, path: str) -> bool:
        """Do the steps of a plan; steps that do not wait for a failed one are done nevertheless.

        So what is done when the planner is asked again depends on the plan alone, not on which step was faster.

        Args:
            plan: A plan that has passed its checks.
            path: Its logical path.

        Returns:
            Whether all have succeeded.

        Raises:
            LimitReached: The run's time is up.
            Waiting: A person has to answer; steps that ran beside it have been let finish first.
            JournalError: What happened could not be recorded.
        """
        at_once = asyncio.Semaphore(self._run.spec.concurrency)
        ended: dict[str, asyncio.Future[bool]] = {
            step.id: asyncio.get_running_loop().create_future() for step in plan.steps
        }
        failed: dict[str, str] = {}

        async def one(step: Step) -> None:
            succeeded = False
            try:
                if all([await ended[other] for other in step.waits_for if other in ended]):
                    async with at_once:
                        result = await self._step(step, f"{path}/{step.id}")
                    succeeded = result.status == "succeeded"
                    if succeeded:
                        self.outputs[step.id] = result.output
                    else:
                        failed[step.id] = result.why
            finally:
                if not ended[step.id].done():
                    ended[step.id].set_result(succeeded)

        if plan.steps:
            await all_settled([one(step) for step in plan.steps])
        self.finished |= {step.id: step for step in plan.steps if step.id in self.outputs}
        self.failed = {step.id: failed[step.id] for step in plan.steps if step.id in failed}
        self.tried.add(plan, self.failed)
        return not self.failed

    async def _step(self, step: Step, path: str) -> StepEnded:
        """Do a step, or take its end from the journal: what has ended is never done again."""
        self._paths[step.id] = path
        recorded = self._run.journal.recorded(StepEnded, path)
        if recorded is not None:
            for call in self._run.journal.recorded_tools_below(path):
                result = ToolResult(call.status, call.result, call.error_class)
                self._keep_receipt(call.tool, call.arguments, result)
            return recorded
        ended = await self._attempt(step, path)
        if ended.status == "succeeded":  # all its calls are in the journal: its end can be made again
            self._run.journal.note(ended)
        else:
            await self._run.journal.append(ended)
        return ended

    async def _attempt(self, step: Step, path: str) -> StepEnded:
        ended = StepEnded(
            path=path, task=self._work.task, agent=step.worker or self._work.agent_name, step=step.id, status="failed"
        )
        try:
            inputs = resolved(step, self.outputs)
            output = await (self._call(step, inputs, path) if step.tool else self._ask(step, inputs, path))
        except (Waiting, JournalError, Cancelled):
            raise
        except QuarterdeckError as error:
            if isinstance(error, LimitReached) and error.limit == "seconds":
                raise
            return ended.model_copy(update={"why": str(error)[:MAX_WHY]})
        if step.check and not Condition.parse(step.check).holds({"output": output}):
            why = f'its check "{step.check}" does not hold; it gave: {as_text(output)[:500]}'
            return ended.model_copy(update={"output": output, "why": why[:MAX_WHY]})
        return ended.model_copy(update={"status": "succeeded", "output": output})

    async def _call(self, step: Step, inputs: dict[str, Any], path: str) -> Any:
        """Put a tool step through the gate: no model is asked."""
        request = ToolRequest("step", step.tool, inputs)
        context = self._run.context_at(f"{path}/tool-1", self._work.task, self._work.agent_name)
        known = {name: f"{CALL}{self._paths[target.split('.')[0]]}/tool-1" for name, target in step.references}
        result = await self._run.gate.call(request, context, origins=known)
        self._keep_receipt(step.tool, inputs, result)
        if result.status not in ("ok", "shadowed"):
            raise QuarterdeckError(f"{step.tool}: {result.value}")
        return plain(result.value)

    async def _ask(self, step: Step, inputs: dict[str, Any], path: str) -> Any:
        """Have a worker do a step: it sees what the step does and its inputs, nothing else."""
        outcome = await loop.perform(self._assignment(step, inputs, path), self._run)
        if outcome.status != "succeeded":
            raise QuarterdeckError(f"{step.worker}: {outcome.why or outcome.code}")
        return plain(outcome.value)

    def _assignment(self, step: Step, inputs: dict[str, Any], path: str) -> Assignment:
        run, work = self._run, self._work
        agent = run.spec.agents[step.worker]
        granted = granted_at(path, work.task, step.worker, run.spec)
        return Assignment(
            path=path,
            task=work.task,
            agent_name=step.worker,
            agent=agent,
            description=step.does,
            expected_output="",
            context="\n\n".join(f"## {name}\n{as_text(value)}" for name, value in inputs.items()),
            **executor_of(work, self._spec, run),
            max_turns=agent.max_turns,
            max_tokens=agent.max_tokens,
            evidence=replace(work.evidence, notes=[]),  # the receipts are those of the whole task
            tools=tuple(run.tools[name].offer() for name in sorted(granted)),
        )

    def _keep_receipt(self, tool: str, arguments: dict[str, Any], result: ToolResult) -> None:
        value = result.value if result.status == "ok" else None
        self._work.evidence.receipts.append(Receipt(tool, arguments, value, result.text()))


def resolved(step: Step, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a step with every reference replaced by what stands there.

    Raises:
        QuarterdeckError: Nothing stands at a reference.
    """
    inputs: dict[str, Any] = {}
    for name, value in step.inputs.items():
        target = reference(value)
        inputs[name] = value if target is None else find(target, outputs)
        if inputs[name] is MISSING:
            raise QuarterdeckError(f'its input "{name}" refers to "{target}", and nothing stands there')
    return inputs
