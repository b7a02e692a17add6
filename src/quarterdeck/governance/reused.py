"""The stage that gives the result of a reading again that this run has made before."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.journal.call import CallContext
    from quarterdeck.tools.tool import SharedValues


class Reused:
    """Takes the result of a declared reading from the run's session cache when the arguments are equal.

    Only what a tool returned well is kept, without secrets: the stage stands around `Masked`.

    Args:
        session: The cache; None for none.
        tools: The tools, by name. One that does more than read is called nevertheless.
    """

    def __init__(self, session: SharedValues | None, tools: Collection[str]) -> None:
        self._session = session
        self._tools = frozenset(tools)

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Look into the cache, else proceed and keep what comes."""
        if self._session is None or call.name not in self._tools or call.effect != "read" or call.preview:
            return await proceed(call, context)
        assert call.tool is not None
        asked = {"version": call.tool.manifest.version, "arguments": call.arguments}
        key = f"tool {call.name} {fingerprint(asked)}"
        kept = await self._session.get(key)
        if kept is not None:
            return ToolResult("ok", kept["value"], kept["class"])
        result = await proceed(call, context)
        if result.status == "ok" and result.receipt is None:
            await self._session.put(key, {"value": result.value, "class": result.error_class})
        return result
