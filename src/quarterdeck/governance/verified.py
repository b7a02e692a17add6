"""The stage that looks whether the world has changed as a call asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, LimitReached, Waiting
from quarterdeck.governance.effects import changes
from quarterdeck.governance.executed import ContextOf, is_empty
from quarterdeck.journal.events import Decision
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext
    from quarterdeck.tools.execution import Executor

RECHECKS = (0.1, 0.5, 2.0)
"""Seconds before each further look: what was changed elsewhere may take a moment to be seen."""


class Verified:
    """Calls the tool's `verify` after a call that changed something; what it does not confirm is `unverified`.

    Args:
        executor: Runs functions, sync and async.
        tool_context: Makes what the tool may know of the run.
        rechecks: Seconds before each further look; so many looks there are, after the first one.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        executor: Executor,
        tool_context: ContextOf,
        *,
        rechecks: Sequence[float] = RECHECKS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._executor = executor
        self._tool_context = tool_context
        self._rechecks = tuple(rechecks)
        self._sleep = sleep

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Proceed, then look."""
        result = await proceed(call, context)
        assert call.tool is not None
        verify = call.tool.manifest.verify
        if verify is None or result.status != "ok" or not changes(call):
            return result
        why, looked = "", 0
        for wait in (0.0, *self._rechecks):
            if wait:
                await self._sleep(wait)
            looked += 1
            confirmed, why = await self._look(verify, call, context, result.value)
            if confirmed:
                return result
            if context.deadline - asyncio.get_running_loop().time() <= 0:
                break
        looks = f"{looked} time{'s' if looked > 1 else ''}"
        context.journal.note(
            Decision(
                path=f"{context.path}/verify",
                task=context.task,
                agent=context.agent,
                what=f"{call.name} is unverified",
                why=f"looked {looks}: {why}"[:1000],
                chosen="unverified",
            )
        )
        said = "" if is_empty(result.value) else f" It returned: {replace(result, error_class='').text()}"
        text = f"{call.name} ran, but looking {looks} did not show that anything changed as asked ({why}).{said}"
        return replace(result, status="unverified", value=text[:4000], error_class="unverified", receipt=result.value)

    async def _look(
        self, verify: Callable[..., Any], call: ToolCall, context: CallContext, result: Any
    ) -> tuple[bool, str]:
        """Return whether the change is confirmed, and why not."""
        assert call.tool is not None
        bound = partial(verify, call.arguments, result, self._tool_context(call, context))
        look = Tool(f"{call.name}.verify", "", {}, bound, manifest=call.tool.manifest.beside())
        left = context.deadline - asyncio.get_running_loop().time()
        try:
            seen = await self._executor.execute(look, {}, None, max(0.0, min(call.tool.timeout, left)))
        except (JournalError, LimitReached, Waiting, asyncio.CancelledError):
            raise
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"[:500]
        return (True, "") if seen is True else (False, "the change is not there")
