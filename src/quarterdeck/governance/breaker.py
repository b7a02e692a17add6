"""The stage that leaves a tool alone that keeps failing, and calls its substitute in its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.errors import ToolError
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import Decision
from quarterdeck.models.circuits import Blocked, CircuitRules, Circuits, Pass, Verdict
from quarterdeck.tools.arguments import validate
from quarterdeck.tools.failures import BROKEN, PASSING

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.journal.call import CallContext

RULES = CircuitRules(consecutive=5, rate=1.0, least=1000, cool_off=30.0)
"""A tool's circuit opens after five failures in a row. A tool that refuses what it was asked has not failed."""

Inner = Callable[["ToolCall", "CallContext", str, dict[str, object]], Awaitable[ToolResult]]
"""Puts another call through the gate, for `(call, context, tool, arguments)`; see `Gate.inner`."""


def tool_circuits() -> Circuits:
    """Return the circuits of tools that all runs of a crew share."""
    return Circuits(RULES)


class Breaker:
    """Makes no call of a tool whose circuit is open; after the cool-off exactly one call finds out.

    That call is the tool's `probe` where it declares one, with arguments that do no harm; else the next real call.
    Where the tool is down and declares a `substitute`, that is called once in its place, through the whole gate.

    Args:
        circuits: What is known of each tool.
        inner: Calls the substitute.
    """

    def __init__(self, circuits: Circuits, inner: Inner) -> None:
        self._circuits = circuits
        self._inner = inner

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Proceed, unless the circuit is open."""
        assert call.tool is not None
        name = call.tool.name
        entered = self._circuits.enter(name)
        if isinstance(entered, Pass) and entered.probe:
            _note(call, context, "half-open", "its cool-off is over: one call finds out whether it works")
            if call.tool.manifest.probe is not None:
                entered = await self._probed(entered, call, context, proceed)
        if isinstance(entered, Blocked):
            return await self._in_its_place(call, context, _blocked(name, entered))
        result = await self._through(entered, call, context, proceed)
        return await self._in_its_place(call, context, result) if _may_be_replaced(result) else result

    async def _through(self, entered: Pass, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        verdict: Verdict = "unknown"
        said = ""
        try:
            result = await proceed(call, context)
            verdict = "failed" if result.status == "error" and result.error_class in BROKEN else "answered"
            said = str(result.value)[:300] if verdict == "failed" else ""
            return result
        finally:
            state = self._circuits.leave(call.tool.name if call.tool else call.name, entered, verdict, said)
            if state is not None:
                _note(call, context, state.replace("_", "-"), said or "it answered")

    async def _probed(self, entered: Pass, call: ToolCall, context: CallContext, proceed: Proceed) -> Pass | Blocked:
        """Make the tool's own safe call, and say whether the real one may follow."""
        assert call.tool is not None
        probe = replace(call, effect="read", arguments=dict(call.tool.manifest.probe or {}))
        try:
            probe.arguments = validate(call.tool, probe.arguments or {})
        except ToolError as error:
            self._circuits.leave(call.tool.name, entered, "failed", f"its probe is declared wrong: {error}")
        else:
            await self._through(entered, probe, context.at("probe"), proceed)
        return self._circuits.enter(call.tool.name)

    async def _in_its_place(self, call: ToolCall, context: CallContext, failed: ToolResult) -> ToolResult:
        """Call the substitute once, if there is one."""
        assert call.tool is not None and call.arguments is not None
        other = call.tool.manifest.substitute
        if not other or "/substitute" in context.path:
            return failed
        _note(call, context, "substituted", str(failed.value), chosen=other)
        result = await self._inner(call, context.at("substitute"), other, call.arguments)
        if result.status != "ok":
            return replace(failed, value=f"{failed.value} Its substitute {other} did not help: {result.value}"[:4000])
        return result


def _may_be_replaced(result: ToolResult) -> bool:
    """Return whether a call failed because the tool is down, and has certainly done nothing that counts."""
    return result.status == "error" and result.error_class in PASSING  # else it would be `unknown`


def _blocked(name: str, blocked: Blocked) -> ToolResult:
    return ToolResult(
        "error",
        f"{name} keeps failing and is not called for {blocked.seconds:.0f} s. It said last: {blocked.last_error} "
        "Do something else.",
        "unavailable",
    )


def _note(call: ToolCall, context: CallContext, what: str, why: str, chosen: str = "") -> None:
    context.journal.note(
        Decision(
            path=f"{context.path}/{'substitute' if chosen else 'breaker'}",
            task=context.task,
            agent=context.agent,
            what=f"{call.name}: {what}",
            why=why[:1000],
            chosen=chosen or what,
        )
    )
