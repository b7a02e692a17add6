"""The stages of the gate, one small object each. `gate.Gate` puts them in their order."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, LimitReached, ToolError, Waiting
from quarterdeck.governance.call import Grants, Proceed, ToolCall
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import ToolCalled, ToolStarted
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.tools.arguments import validate
from quarterdeck.tools.shaping import shape

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.tools.execution import Executor
    from quarterdeck.tools.tool import Tool, ToolContext


class Exists:
    """Answers a made-up name with the names there are."""

    def __init__(self, tools: Mapping[str, Tool], grants: Grants) -> None:
        self._tools = tools
        self._grants = grants

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Find the tool."""
        call.tool = self._tools.get(call.name)
        if call.tool is None:
            granted = sorted(self._grants(context))
            return ToolResult(
                "denied",
                f'There is no tool "{call.name[:80]}"{did_you_mean(call.name[:80], granted)} '
                f"Tools you have: {', '.join(granted) or 'none'}.",
                "unknown_tool",
            )
        return await proceed(call, context)


class Granted:
    """Denies what was not granted to this agent in this task; nothing is granted by default."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Check the grant."""
        granted = self._grants(context)
        if call.name not in granted:
            return ToolResult(
                "denied",
                f'You may not use "{call.name}" here. Tools you have: {", ".join(sorted(granted)) or "none"}.',
                "not_granted",
            )
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


class NotRepeated:
    """Denies the third equal call in a row and the second round of A-B-A-B within one task."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=4))

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Compare with the last calls of the same task."""
        place = context.path.rsplit("/turn-", 1)[0]
        seen = self._seen[place]
        seen.append(call.request_hash)
        last = list(seen)
        if len(last) >= 3 and len(set(last[-3:])) == 1:
            return _repeated(call)
        if len(last) == 4 and last[0] == last[2] != last[1] == last[3]:
            return _repeated(call)
        return await proceed(call, context)


def _repeated(call: ToolCall) -> ToolResult:
    return ToolResult(
        "denied",
        f"You have made this very call of {call.name} before and know its result. "
        f"Do something else, or give your answer.",
        "repeated",
    )


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
            origins=call.origins,
            approval=call.approval,
            receipt=result.receipt,
        )
    )


class Counted:
    """Counts the call against the run's limit."""

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Count, then proceed."""
        context.allowance.tool_call()
        return await proceed(call, context)


class Executed:
    """Carries the call out under a deadline; whatever the tool raises becomes a result.

    Args:
        executor: Runs functions, sync and async.
        tool_context: Makes what the tool may know of the run.
    """

    def __init__(self, executor: Executor, tool_context: Callable[[CallContext], ToolContext]) -> None:
        self._executor = executor
        self._tool_context = tool_context

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Execute and shape the result."""
        assert call.tool is not None and call.arguments is not None
        context.journal.publish(
            ToolStarted(
                path=context.path, task=context.task, agent=context.agent, tool=call.name, arguments=call.arguments
            )
        )
        left = context.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise LimitReached("The run's time is up (limits.seconds).", "seconds")
        timeout = min(call.tool.timeout, left)
        try:
            value: Any = await self._executor.execute(call.tool, call.arguments, self._tool_context(context), timeout)
        except TimeoutError:
            if timeout == left:
                raise LimitReached("The run's time is up (limits.seconds).", "seconds") from None
            return ToolResult("error", f"{call.name} did not finish within {timeout:g} s.", "timeout")
        except ToolError as error:
            return ToolResult("error", str(error)[:4000], "tool")
        except (JournalError, LimitReached, Waiting, asyncio.CancelledError):
            raise
        except Exception as error:
            return ToolResult("error", f"{call.name} failed: {type(error).__name__}: {error}"[:4000], "bug")
        return ToolResult("ok", shape(value))
