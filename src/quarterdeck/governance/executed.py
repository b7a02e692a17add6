"""The last stage of the gate: calls the tool, under a deadline, and again where that is declared and safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, LimitReached, Waiting
from quarterdeck.governance.effects import Effects, repeatable
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import Decision, ToolStarted
from quarterdeck.tools.failures import LOST, Failure, failure_of
from quarterdeck.tools.shaping import shape

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.journal.call import CallContext
    from quarterdeck.tools.execution import Executor
    from quarterdeck.tools.tool import Tool, ToolContext

MAX_WHOLE = 10_000_000
"""Bytes of a result that are looked at at all."""
BASE_SECONDS = 0.2
CEILING_SECONDS = 20.0
TIME_IS_UP = "The run's time is up (limits.seconds)."

ContextOf = Callable[["ToolCall", "CallContext"], "ToolContext"]


class Executed:
    """Carries a call out; whatever the tool raises becomes a result with its class of error.

    A call is made again only for a class of error that the tool's manifest names in `retries`, and only if that
    cannot do more than once what was asked: the tool is a reading or an idempotent one, or nothing had been sent.
    Any other call that was sent and lost is put before a person.

    Args:
        executor: Runs functions, sync and async.
        tool_context: Makes what the tool may know of the run.
        effects: Keeps the intents of calls that must not happen twice.
        rng: Draws the jitter of the waits.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        executor: Executor,
        tool_context: ContextOf,
        effects: Effects | None = None,
        *,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._executor = executor
        self._tool_context = tool_context
        self._effects = effects or Effects()
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._deprecated: set[str] = set()

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Execute; the value of the result is all that the tool returned, as JSON-able data."""
        assert call.tool is not None and call.arguments is not None
        self._warn(call.tool, context)
        settled = await self._effects.begin(call, context)
        if settled is not None:
            return settled
        context.journal.publish(
            ToolStarted(
                path=context.path, task=context.task, agent=context.agent, tool=call.name, arguments=call.arguments
            )
        )
        attempt = 0
        while True:
            outcome = await self._attempt(call, context)
            if isinstance(outcome, ToolResult):
                return outcome
            attempt += 1
            wait = self._wait_before(attempt, call, outcome, context)
            if wait is None:
                return await self._failed(call, context, outcome)
            _note(context, f"attempt-{attempt}", f"{call.name} is called again in {wait:.1f} s", outcome.text)
            await self._sleep(wait)

    async def _attempt(self, call: ToolCall, context: CallContext) -> ToolResult | Failure:
        assert call.tool is not None and call.arguments is not None
        left = context.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise LimitReached(TIME_IS_UP, "seconds")
        timeout = min(call.tool.timeout, left)
        try:
            value: Any = await self._executor.execute(
                call.tool, call.arguments, self._tool_context(call, context), timeout
            )
        except TimeoutError:
            if timeout == left:
                raise LimitReached(TIME_IS_UP, "seconds") from None
            return Failure("timeout", f"{call.name} did not finish within {timeout:g} s.")
        except (JournalError, LimitReached, Waiting, asyncio.CancelledError):
            raise
        except Exception as error:
            return failure_of(call.name, error)
        return ToolResult("ok", shape(value, MAX_WHOLE), "empty" if is_empty(value) else "")

    async def _failed(self, call: ToolCall, context: CallContext, failure: Failure) -> ToolResult:
        if failure.error_class in LOST and not (failure.unsent or repeatable(call)):
            return await self._effects.lost(call, context, failure.text)
        return ToolResult("error", failure.text, failure.error_class)

    def _wait_before(self, attempt: int, call: ToolCall, failure: Failure, context: CallContext) -> float | None:
        """Return the seconds until the call is made again; None when it is not."""
        assert call.tool is not None
        if attempt > call.tool.manifest.retries.get(failure.error_class, 0):
            return None
        if not (failure.unsent or repeatable(call)):
            return None
        wait = self._rng.uniform(0, min(CEILING_SECONDS, BASE_SECONDS * 2**attempt))
        wait += failure.retry_after or 0.0
        left = context.deadline - asyncio.get_running_loop().time()
        return wait if wait < left else None

    def _warn(self, tool: Tool, context: CallContext) -> None:
        if tool.manifest.deprecated and tool.name not in self._deprecated:
            self._deprecated.add(tool.name)
            _note(context, "deprecated", f"{tool.name} is deprecated", tool.manifest.deprecated)


def is_empty(value: Any) -> bool:
    """Return whether a tool returned nothing: None, an empty text, list or mapping."""
    return value is None or (isinstance(value, str | bytes | list | tuple | dict | set | frozenset) and not value)


def _note(context: CallContext, step: str, what: str, why: str) -> None:
    context.journal.note(
        Decision(path=f"{context.path}/{step}", task=context.task, agent=context.agent, what=what, why=why[:1000])
    )
