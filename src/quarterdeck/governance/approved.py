"""The stage that lets a call pass once a person has approved exactly it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from quarterdeck.errors import ToolError
from quarterdeck.governance.approvals import HOURS, Question, arguments_hash, ask, was_used
from quarterdeck.governance.escalation import doubt, uncertainty_of
from quarterdeck.governance.result import ToolResult
from quarterdeck.tools.arguments import validate

if TYPE_CHECKING:
    from quarterdeck.governance.call import Grants, Proceed, ToolCall
    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.events import ApprovalAnswered

MAX_OPTIONS = 8
EDITED_PREVIEW = (
    "{name} cannot be edited: a preview and the real call are approved apart. Answer the one that "
    "waits as it is; the other is asked about by itself."
)
PERSON = "person"
"""The origin of a value that a person put in."""

Reconsider = Callable[["ToolCall", "CallContext"], Awaitable[ToolResult | None]]
"""Asks the policy again about a call that a person changed; returns what denies it, or None."""


class Approved:
    """Asks a person about a call that needs one; passes on what was approved, and nothing else.

    Args:
        grants: What else the agent could use, for the options.
        hours: How long an approval can be given and used.
        least_confidence: A call that changes something is put before a person when its agent says that it is less sure
            than this; None for never.
        reconsider: The policy, for arguments that a person wrote: what is forbidden stays so.
        clock: Gives seconds since 1970.
    """

    def __init__(
        self,
        grants: Grants,
        *,
        hours: float = HOURS,
        least_confidence: float | None = None,
        reconsider: Reconsider | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._grants = grants
        self._hours = hours
        self._least_confidence = least_confidence
        self._reconsider = reconsider
        self._clock = clock

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Look for the answer, or ask."""
        reason, needs = self._reason(call)
        if not reason or call.shadow:  # what is in shadow is never done: there is nothing to approve
            return await proceed(call, context)
        if not context.journal.dialogue.asked(context.path) and was_used(context):
            return await proceed(call, context)  # made before, or taken over by a fork: it is only replayed
        if call.tier == "forbidden" and not was_used(context):
            return ToolResult("denied", f"{call.name} is forbidden here, and nobody can approve it.", "forbidden")
        call.needs_approval = needs
        try:
            said = await ask(
                self._question(call, context, reason, needs), context, hours=self._hours, clock=self._clock
            )
        except ValueError as error:
            return ToolResult(
                "denied", f"{call.name}: no person can be shown these arguments exactly: {error}"[:500], "arguments"
            )
        if said.answer == "rejected":
            why = f": {said.reason}" if said.reason else "."
            return ToolResult("denied", f"A person rejected this call of {call.name}{why}", "rejected")
        call.approval = said.id
        if said.answer == "edited" and (denied := await self._edit(call, context, said)) is not None:
            return denied
        return await proceed(call, context)

    def _reason(self, call: ToolCall) -> tuple[str, str]:
        if call.shadow:
            return "", ""  # nothing of it will be done
        if call.needs_approval:
            return ("tier" if call.tier == "approve" else "provenance"), call.needs_approval
        return doubt(call, self._least_confidence)

    def _question(self, call: ToolCall, context: CallContext, reason: str, needs: str) -> Question:
        others = sorted(self._grants(context) - {call.name})[:MAX_OPTIONS]
        return Question.about_call(
            call,
            reason,
            needs,
            uncertainty=uncertainty_of(call.why),
            options=("other arguments", *(f"use {other}" for other in others), "do nothing"),
            next=(
                f"Approved: {call.name} is called once with exactly these arguments. Rejected: the agent is told why, "
                "and goes on without it."
            ),
        )

    async def _edit(self, call: ToolCall, context: CallContext, said: ApprovalAnswered) -> ToolResult | None:
        """Put the arguments that a person wrote in the place of the agent's; return what denies them, or None."""
        assert call.tool is not None and said.arguments is not None
        before, call.arguments = call.arguments or {}, dict(said.arguments)
        call.origins |= {name: PERSON for name, value in said.arguments.items() if before.get(name) != value}
        call.origins = {
            path: origin for path, origin in call.origins.items() if path.split(".")[0].split("[")[0] in call.arguments
        }
        if was_used(context):
            return None
        dry_run = call.tool.manifest.dry_run
        if dry_run and call.arguments.get(dry_run) is not before.get(dry_run):
            # it was judged, and shown to the person, as the one; the other has to be judged by itself
            return ToolResult("denied", f"{call.name}: {EDITED_PREVIEW.format(name=dry_run)}", "arguments")
        try:
            call.arguments = validate(call.tool, call.arguments)
            same = arguments_hash(call.name, call.arguments) == said.arguments_hash
        except (ToolError, ValueError) as error:
            return ToolResult(
                "denied", f"What a person wrote for this call does not fit it: {error}"[:1000], "arguments"
            )
        if not same:
            return ToolResult(
                "denied", f"{call.name} reads what a person wrote otherwise than when it was approved.", "arguments"
            )
        return await self._reconsider(call, context) if self._reconsider else None
