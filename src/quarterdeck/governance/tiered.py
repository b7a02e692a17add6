"""The stage that asks the policy about a call, and the one that keeps what is in shadow from being done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quarterdeck.governance.approvals import HOURS
from quarterdeck.governance.proposals import proposed
from quarterdeck.governance.result import ToolResult

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.policy import Policy, Verdict
    from quarterdeck.governance.trials import Trials
    from quarterdeck.journal.call import CallContext

DONE = ("ok", "error", "unverified", "unknown")
"""Statuses of calls that were begun, so that people are told of them."""


class Teller(Protocol):
    """Tells people of a call; never in its way."""

    def tell(self, text: str, call: ToolCall) -> None:
        """Queue what is to be told."""


class Tiered:
    """Sets effect and tier of a call: denies it, puts it before a person, has it told, or lets it pass.

    Args:
        policy: What the operator lets tools do.
        trials: How new tools prove themselves; None where they need not.
        teller: Tells people of what is done in the tier `notify`; None for nobody.
    """

    def __init__(self, policy: Policy, trials: Trials | None = None, teller: Teller | None = None) -> None:
        self._policy = policy
        self._trials = trials
        self._teller = teller

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Judge, then proceed."""
        request = {"tool": call.name, "arguments": call.arguments}
        recorded = context.journal.recorded_tool(context.path, call.request_hash, request) is not None
        denied = await self.judge(call, context)
        if recorded:
            # It was judged when it was made. What the operator has changed since cannot undo it, or make it happen.
            call.shadow = ""
            return await proceed(call, context)
        if denied is not None:
            return denied
        result = await proceed(call, context)
        if call.tier == "notify" and self._teller is not None and result.status in DONE:
            who = call.name if not context.agent else f"{context.agent}: {call.name}"
            self._teller.tell(f"{who} ({call.effect}) was called: {result.status}.", call)
        return result

    async def judge(self, call: ToolCall, context: CallContext) -> ToolResult | None:
        """Set what the policy makes of a call; also asked again when a person has changed its arguments.

        Returns:
            What denies it; None when the next stages decide.
        """
        assert call.tool is not None and call.arguments is not None
        verdict = self._policy.judge(call.tool, call.arguments, context.agent)
        if call.preview and verdict.tier != "forbidden":  # of what is forbidden there is nothing to look at
            verdict = self._policy.judge(call.tool, call.arguments, context.agent, effect="read")
        call.effect, call.tier = verdict.effect, verdict.tier
        if verdict.tier == "forbidden":
            return ToolResult("denied", f"{call.name} is forbidden here, and nobody can approve it. {_told(verdict)}",
                              "forbidden")  # fmt: skip
        call.shadow = await self._shadow(call, context)
        if verdict.tier == "approve":
            call.needs_approval = "; ".join(filter(None, (_told(verdict), call.needs_approval)))
        return None

    async def _shadow(self, call: ToolCall, context: CallContext) -> str:
        """Return why a call is only recorded; empty when it is made."""
        assert call.tool is not None
        if call.tool.manifest.effect == "read":
            return ""
        if self._policy.shadow:
            return "this deployment runs in shadow"
        if self._trials is not None and (left := await self._trials.left(call.tool, context)):
            return f"{call.tool.name} is new, and a person has to agree to {left} more of its calls"
        return ""


class Shadowed:
    """Answers a call that is in shadow with what would have been done; nothing behind it is ever reached.

    What it leaves is a proposal, which a person can have carried out once the run has ended.

    Args:
        hours: How long it can be carried out.
    """

    def __init__(self, hours: float = HOURS) -> None:
        self._hours = hours

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Pass on what is not in shadow."""
        if not call.shadow:
            return await proceed(call, context)
        if call.preview:
            return ToolResult("shadowed", f"The preview of {call.name} was NOT made, for {call.shadow}.")
        if (proposal := proposed(call, context, self._hours)) is not None:
            context.journal.note(proposal)  # committed with the call, which is recorded next
        return ToolResult(
            "shadowed",
            f"Recorded, NOT done: {call.name} was not called, for {call.shadow}. Nothing has changed. "
            "Do not call it again for this, and do not say that it was done.",
        )


def _told(verdict: Verdict) -> str:
    """Return what decided, as the person who has to approve or to change it needs it."""
    decided = f"{verdict.effect or 'unclassified'}: {verdict.tier} ({verdict.rule})"
    return f"{decided}: {verdict.why}" if verdict.why else decided
