"""What must not happen twice: its intent is recorded first, and an intent without a result goes to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.governance.approvals import HOURS, Question, ask
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import EffectStarted

if TYPE_CHECKING:
    from quarterdeck.governance.call import ToolCall
    from quarterdeck.journal.call import CallContext

HAPPENED, AGAIN, SKIP = "happened", "again", "skip"
OPTIONS = (HAPPENED, AGAIN, SKIP)
NEXT = (
    "happened: the run goes on as after a call that succeeded. again: it is called once more. "
    "skip: it is not called, and the agent is told that nobody knows."
)


def changes(call: ToolCall) -> bool:
    """Return whether a call may change something; one whose effect nobody knows may."""
    assert call.tool is not None
    effect = call.effect or call.tool.manifest.effect
    return effect != "read" and not call.preview


def repeatable(call: ToolCall) -> bool:
    """Return whether a call that broke off may simply be made again, with the same key."""
    assert call.tool is not None
    return not changes(call) or call.tool.manifest.repeatable


class Effects:
    """Keeps the intents of one run's calls.

    Args:
        hours: How long a person has to say what became of a call.
    """

    def __init__(self, hours: float = HOURS) -> None:
        self._hours = hours

    async def begin(self, call: ToolCall, context: CallContext) -> ToolResult | None:
        """Record that a call is about to be made, if it must not be made twice.

        Returns:
            None: make it. A result: a person has said that it happened, or is not to be made again.

        Raises:
            Waiting: An earlier process began it, nobody knows what became of it, and no person has said so yet.
        """
        if repeatable(call):
            return None
        place, number = context, 1
        while context.journal.recorded(EffectStarted, place.path) is not None:
            choice = await self._asked(call, place, "the process died while the call was being made")
            if choice != AGAIN:
                return _settled(call, choice)
            number += 1
            place = context.at(f"again-{number}")
        await context.journal.append(
            EffectStarted(
                path=place.path,
                task=place.task,
                agent=place.agent,
                tool=call.name,
                arguments=call.arguments or {},
                request_hash=call.request_hash,
            )
        )
        return None

    async def lost(self, call: ToolCall, context: CallContext, why: str) -> ToolResult:
        """Return the result of a call that was given up while it was being made, where only a person knows more.

        Raises:
            Waiting: Always, unless the call may be made again: its intent is recorded, and the next process asks.
        """
        number, place = 1, context
        while context.journal.recorded(EffectStarted, place.path) is not None:
            number += 1
            place = context.at(f"again-{number}")
        return _settled(call, await self._asked(call, place, why))

    async def _asked(self, call: ToolCall, place: CallContext, why: str) -> str:
        question = Question.about_call(
            call, "unknown_effect", f"nobody knows whether it was done: {why}", options=OPTIONS, next=NEXT
        )
        answer = await ask(question, place, hours=self._hours)
        return SKIP if answer.answer == "rejected" else answer.choice or SKIP


def _settled(call: ToolCall, choice: str) -> ToolResult:
    if choice == HAPPENED:
        return ToolResult("ok", f"{call.name} was done; a person has checked that. Its own result is lost.")
    return ToolResult(
        "unknown",
        f"Nobody knows whether {call.name} was done. A person decided not to repeat it. Do not call it again for this.",
        "unknown_effect",
    )
