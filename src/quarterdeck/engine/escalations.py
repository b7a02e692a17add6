"""What an assignment puts before a person by itself: an answer too unsure or never accepted, work out of its scope."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quarterdeck.engine.output import plain
from quarterdeck.engine.route import confidence_of
from quarterdeck.errors import QuarterdeckError
from quarterdeck.governance.approvals import Question, ask
from quarterdeck.journal.events import Decision

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment, Verdict
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.models.port import ToolRequest

OUT_OF_SCOPE = 3
"""Refusals of the same tool after which a person is asked: by then the agent will not do without it."""
MAX_SHOWN = 4000


class Escalations:
    """Watches one assignment.

    Args:
        work: The assignment.
        run: The run it belongs to.
    """

    def __init__(self, work: Assignment, run: RunScope) -> None:
        self._work = work
        self._run = run
        self._refused: Counter[str] = Counter()

    async def unsure(self, verdict: Verdict, step: str) -> str:
        """Ask about an accepted answer whose own confidence is below the crew's `scope.escalate_below`.

        Args:
            verdict: What code says of the answer.
            step: At which it was given, such as `turn-3`.

        Returns:
            What the agent is told when a person does not take the answer; empty when it stands.

        Raises:
            Waiting: Nobody has answered yet.
        """
        least = self._run.spec.scope.escalate_below
        confidence = confidence_of(verdict.value)
        if least is None or confidence is None or confidence >= least:
            return ""
        question = Question(
            reason="answer",
            needs=f"confidence {confidence:g} is below {least:g} (scope.escalate_below)",
            arguments={"answer": _shown(verdict)},
            uncertainty=round(1 - confidence, 6),
            options=("take the answer", "have it done again"),
            next="Approved: the answer stands. Rejected: the agent is told why, and answers again.",
        )
        said = await ask(question, self._run.context(self._work, f"{step}/answer"))
        if said.answer == "rejected":
            return f"A person did not take this answer. {said.reason or 'Do better, or say what is missing.'}"
        return ""

    async def rejected(self, verdict: Verdict, step: str) -> None:
        """Record, and so have people told, that no answer was accepted: by its declared shape, or by a guardrail.

        Args:
            verdict: What code says of the last answer.
            step: At which it was given.
        """
        context = self._run.context(self._work, f"{step}/escalated")
        await context.journal.decide(
            Decision(
                path=context.path,
                task=context.task,
                agent=context.agent,
                what=f"no answer was accepted{f' by {verdict.rejected_by}' if verdict.rejected_by else ''}",
                why=verdict.problem[:1000],
                chosen="escalate",
            )
        )

    async def out_of_scope(self, calls: Sequence[ToolRequest], results: Sequence[ToolResult], step: str) -> None:
        """Ask a person once an agent has wanted a tool that it was not granted for the third time.

        Args:
            calls: What it proposed.
            results: What came of that.
            step: Such as `turn-3`.

        Raises:
            Waiting: Nobody has answered yet.
            QuarterdeckError: A person ended the task.
        """
        refused = [
            call.name for call, result in zip(calls, results, strict=True) if result.error_class == "not_granted"
        ]
        for name in dict.fromkeys(refused):
            before, self._refused[name] = self._refused[name], self._refused[name] + refused.count(name)
            if before < OUT_OF_SCOPE <= self._refused[name]:
                await self._ask_about(name, step)

    async def _ask_about(self, name: str, step: str) -> None:
        question = Question(
            reason="scope",
            needs=f"{self._work.agent_name} keeps asking for {name}, which it is not granted",
            arguments={"tool": name[:200]},
            options=("go on without it", "end the task, and grant it in the crew's file"),
            next="Approved: the agent goes on without it. Rejected: the task fails. Nothing is granted by either.",
        )
        said = await ask(question, self._run.context(self._work, f"{step}/scope"))
        if said.answer == "rejected":
            raise QuarterdeckError(
                f"{self._work.task}: {name} is out of its scope, and a person ended it: {said.reason or 'no reason'}",
                code="out_of_scope",
            )


def _shown(verdict: Verdict) -> object:
    value = plain(verdict.value)
    text = str(value)
    return value if len(text) <= MAX_SHOWN else text[:MAX_SHOWN]
