"""Delegation: the one tool through which a manager gives work to the listed workers, and its caps."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from quarterdeck.engine.assign import DELEGATE, begin_calls, choice_of
from quarterdeck.engine.assignment import Assignment
from quarterdeck.engine.graph import workers_of
from quarterdeck.engine.output import plain
from quarterdeck.errors import Rejected, ToolError
from quarterdeck.spec.template import as_text
from quarterdeck.tools.evidence import Evidence
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.crew import DelegationSpec

NEAR_DUPLICATE = 0.9


class Delegation:
    """What a run's manager has delegated, and whether it may delegate more.

    Args:
        run: The run.
        spec: The caps.
    """

    def __init__(self, run: RunScope, spec: DelegationSpec) -> None:
        self._run = run
        self._spec = spec
        self._workers = workers_of(run.spec)
        self._answers: dict[tuple[str, str], Any] = {}
        for call in run.journal.recorded_tools(DELEGATE):  # by earlier processes: they count against the caps too
            if call.status == "ok":
                self._answers[call.arguments["worker"], call.arguments["work"]] = call.result.get("result")

    def tool(self) -> Tool:
        """Return the `delegate` tool; it stands behind the gate like any other."""
        who = "; ".join(f"{name}: {self._run.spec.agents[name].goal}" for name in self._workers)
        return Tool(
            name=DELEGATE,
            description=f"Give one piece of work to one worker and get the result. Workers: {who}",
            parameters={
                "type": "object",
                "properties": {
                    "worker": {"type": "string", "enum": list(self._workers), "description": "Who does it."},
                    "work": {"type": "string", "description": "What to do, complete in itself.", "maxLength": 2000},
                },
                "required": ["worker", "work"],
                "additionalProperties": False,
            },
            function=self.delegate,
            takes_context=True,
            timeout=float("inf"),
            manifest=Manifest(effect="read", owner="quarterdeck", sinks={}),  # its workers' calls are judged each
            of_engine=True,
        )

    async def delegate(self, worker: str, work: str, context: ToolContext) -> Any:
        """Have a worker do a piece of work.

        Raises:
            ToolError: A cap is reached, or nearly the same work was given to the worker before.
        """
        depth = context.path.count("/tool-")
        if depth > self._spec.max_depth:
            raise ToolError(f"Work may be passed on {self._spec.max_depth} deep at most. Do it yourself.")
        if len(self._answers) >= self._spec.max_delegations:
            raise ToolError(f"All {self._spec.max_delegations} delegations are used. Answer from what you have.")
        for earlier in self._answers:
            if earlier[0] == worker and _alike(earlier[1], work):
                raise ToolError(
                    f"{worker} was given nearly the same work before. Its result: "
                    f"{as_text(self._answers[earlier])[:1500]}"
                )
        given = (worker, work)
        self._answers[given] = "not there yet"
        outcome = await self._run.crewai.execute(self.assignment(worker, work, context), self._run)
        if outcome.status == "failed":
            raise ToolError(f"{worker} failed: {outcome.why or outcome.code}")
        answer = plain(outcome.value)
        self._answers[given] = answer
        if outcome.status == "partial":
            return {"worker": worker, "status": "partial", "why": outcome.why, "result": answer}
        return {"worker": worker, "result": answer}

    def everyone_was_asked(self, output: Any, evidence: Evidence) -> Any:
        """Guardrail: accept the manager's answer only once each worker was asked.

        Raises:
            Rejected: Somebody was not asked yet.
        """
        asked = {
            receipt.arguments.get("worker")
            for receipt in evidence.receipts
            if receipt.tool == DELEGATE and receipt.result is not None
        }
        missing = [worker for worker in self._workers if worker not in asked]
        if missing:
            raise Rejected(f"{', '.join(missing)} must be asked first, with the tool {DELEGATE}.")
        return output

    def assignment(self, worker: str, work: str, context: ToolContext) -> Assignment:
        """Return a worker's assignment for a piece of work that is delegated at a call."""
        run = self._run
        agent = run.spec.agents[worker]
        task_name = context.path.split("/")[0].split(".")[0]
        names = frozenset(agent.tools)
        if context.path.count("/tool-") < self._spec.max_depth:
            names = names | {DELEGATE}
        return Assignment(
            path=f"{context.path}/{worker}",
            task=task_name,
            agent_name=worker,
            agent=agent,
            description=work,
            expected_output="",
            context="",
            **choice_of(agent, run),
            max_turns=agent.max_turns,
            max_tokens=agent.max_tokens,
            evidence=Evidence(inputs=run.inputs),
            begin=begin_calls(self._spec.begin, run.values()),
            output=run.parts.worker_output,
            guardrails=run.parts.worker_guardrails,
            tools=tuple(run.tools[name].offer() for name in sorted(names)),
        )


def _alike(one: str, other: str) -> bool:
    a, b = (" ".join(text.lower().split()) for text in (one, other))
    return a == b or difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() >= NEAR_DUPLICATE
