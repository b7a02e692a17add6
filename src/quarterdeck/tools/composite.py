"""Composite tools: several calls as one, each of them made through the gate.

A composite tool is an async function that takes `context` and names in `@tool(calls=(...))` what it may call:

    @tool(effect="write", owner="sales", sinks={}, calls=("crm.find", "crm.note"))
    async def greet(context: ToolContext, name: str) -> str:
        customer = await context.call("crm.find", {"name": name})
        await context.call("crm.note", {"customer": customer["id"], "text": "Greeted."})
        return customer["id"]

The inner calls stand in the journal below the outer one (`.../tool-1/inner-1`). After a crash the composite runs again
and gets the results of the calls that it had made from there, so its own code should do nothing but call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from quarterdeck.errors import JournalError, LimitReached, ToolError, Waiting

MAX_INNER_CALLS = 100
STOPS = (Waiting, LimitReached, JournalError)
"""What a call says to the run that makes it, and not to the tool within which it is made."""

InnerCall = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Calls a tool by name with arguments; returns its result, raises `ToolError` where there is none."""


async def no_inner_call(name: str, arguments: Mapping[str, Any]) -> Any:
    """Refuse: the tool names no tools that it may call.

    Raises:
        ToolError: Always.
    """
    raise ToolError(f'It may not call {name}: name it in the tool\'s own @tool(calls=("{name}",)).')


class InnerCalls:
    """Numbers the calls that one call of a composite tool makes, in the order in which it makes them.

    Args:
        make: Makes the n-th call.

    Attributes:
        stopped: What the first call said that stops the run, such as `Waiting`; None when none did.
    """

    def __init__(self, make: Callable[[int, str, dict[str, Any]], Awaitable[Any]]) -> None:
        self._make = make
        self._made = 0
        self.stopped: Exception | None = None

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> Awaitable[Any]:
        """Make the next call. Its number is taken now, so that calls side by side keep theirs in a replay.

        Raises:
            ToolError: There have been too many.
        """
        if self._made == MAX_INNER_CALLS:
            raise ToolError(f"One call of a composite tool makes at most {MAX_INNER_CALLS} calls.")
        self._made += 1
        return self._watched(self._make(self._made, name, dict(arguments)))

    async def _watched(self, made: Awaitable[Any]) -> Any:
        try:
            return await made
        except STOPS as stop:
            self.stopped = self.stopped or stop
            raise
