"""The stages of the gate, one small object each. `gate.Gate` puts them in their order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from quarterdeck.errors import ToolError
from quarterdeck.governance.call import Grants, Proceed, ToolCall
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import ToolCalled
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.tools.arguments import validate

if TYPE_CHECKING:
    from quarterdeck.governance.monitor import Monitor
    from quarterdeck.journal.call import CallContext
    from quarterdeck.tools.tool import Tool


class Exists:
    """Answers a made-up name with the names there are."""

    def __init__(self, tools: Mapping[str, Tool], grants: Grants) -> None:
        self._tools = tools
        self._grants = grants

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Look for the name alone: no file is imported for what may not be used."""
        if call.name not in self._tools:
            granted = sorted(self._grants(context) if call.within is None else call.within)
            return ToolResult(
                "denied",
                f'There is no tool "{call.name[:80]}"{did_you_mean(call.name[:80], granted)} '
                f"Tools you have: {', '.join(granted) or 'none'}.",
                "unknown_tool",
            )
        return await proceed(call, context)


class Granted:
    """Denies what was not granted to this agent in this task; nothing is granted by default.

    A call that another tool makes is not the agent's: that tool's own declaration says what it may call.
    """

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Check the grant."""
        granted = self._grants(context) if call.within is None else call.within
        if call.name not in granted:
            return ToolResult(
                "denied",
                f'You may not use "{call.name}" here. Tools you have: {", ".join(sorted(granted)) or "none"}.',
                "not_granted",
            )
        return await proceed(call, context)


class Found:
    """Finds the tool itself, which may import its file; where that fails, the agent is told so."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = tools

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Find the tool."""
        try:
            call.tool = self._tools[call.name]
        except Exception as error:  # a file may raise anything while it is imported
            why = f"{type(error).__name__}: {error}"
            return ToolResult("denied", f"{call.name} cannot be loaded. {why}"[:1000], "not_loaded")
        return await proceed(call, context)


class ArgumentsValid:
    """Checks the arguments before anything sees them, and says everything that is wrong at once."""

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Validate."""
        assert call.tool is not None
        if call.arguments is None:
            return ToolResult(
                "denied", f"The arguments of {call.name} must be one JSON object; this is none: {call.raw[:200]}",
                "arguments",
            )  # fmt: skip
        try:
            call.arguments = validate(call.tool, call.arguments)
        except ToolError as error:
            return ToolResult("denied", str(error), "arguments")
        return await proceed(call, context)


class Replayed:
    """Returns the recorded result of a call that an earlier process has made."""

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Look into the journal."""
        recorded = context.journal.recorded_tool(
            context.path, call.request_hash, {"tool": call.name, "arguments": call.arguments}
        )
        if recorded is None:
            return await proceed(call, context)
        return ToolResult(recorded.status, recorded.result, recorded.error_class)


class Journaled:
    """Records the result before it is handed on."""

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Proceed, then record."""
        started = time.monotonic()
        result = await proceed(call, context)
        await record(call, context, result, time.monotonic() - started)
        return result


async def record(call: ToolCall, context: CallContext, result: ToolResult, seconds: float) -> None:
    """Write the outcome of a call into the journal."""
    await context.journal.append(
        ToolCalled(
            path=context.path,
            task=context.task,
            agent=context.agent,
            request_hash=call.request_hash,
            tool=call.name[:128],
            arguments=call.arguments or {},
            status=result.status,
            result=result.value,
            error_class=result.error_class,
            seconds=round(seconds, 4),
            effect=call.effect or "",
            tier="" if call.effect is None else call.tier,
            version=call.tool.manifest.version if call.tool else "",
            origins=call.origins,
            approval=call.approval,
            receipt=result.receipt,
        )
    )


class Counted:
    """Counts the call against the run's limit, and has a burst of calls noticed."""

    def __init__(self, monitor: Monitor | None = None) -> None:
        self._monitor = monitor

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Count, then proceed."""
        context.allowance.tool_call()
        if self._monitor is not None:
            self._monitor.count(call.name)
        return await proceed(call, context)
