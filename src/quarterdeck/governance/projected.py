"""The stage that makes of what a tool returned what an agent reads: what matters of it, and no more than fits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.governance.effects import changes
from quarterdeck.governance.result import noted
from quarterdeck.journal.events import Decision
from quarterdeck.tools.artifacts import save
from quarterdeck.tools.projection import project
from quarterdeck.tools.shaping import LIMIT_BYTES, shape

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext

MAX_RECEIPT = 256_000
"""Bytes of a result that are kept in the journal for the tool's undo."""


class Projected:
    """Projects a result as the tool's manifest says, and cuts it to size; what is cut becomes an artifact.

    Args:
        folder: The run's own folder; artifacts are kept below it.
        limit_bytes: What the JSON text of a result may be at most.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit_bytes

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Proceed, then shape."""
        result = await proceed(call, context)
        assert call.tool is not None
        receipt, whole = None, result.value if result.receipt is None else result.receipt
        if call.tool.manifest.undo is not None and changes(call) and result.status in ("ok", "unverified"):
            receipt = shape(whole, MAX_RECEIPT)
        if result.status != "ok":
            return replace(result, receipt=receipt)
        value = await self._fitted(self._projected(call, context, result.value), context)
        return result if value is result.value and receipt is None else replace(result, value=value, receipt=receipt)

    def _projected(self, call: ToolCall, context: CallContext, value: Any) -> Any:
        assert call.tool is not None
        if call.tool.manifest.projection is None:
            return value
        try:
            return project(value, call.tool.manifest.projection)
        except Exception as error:
            context.journal.note(
                Decision(
                    path=f"{context.path}/projection",
                    task=context.task,
                    agent=context.agent,
                    what=f"{call.name}: its projection failed, the whole result is shown",
                    why=f"{type(error).__name__}: {error}"[:1000],
                )
            )
            return value

    async def _fitted(self, value: Any, context: CallContext) -> Any:
        plain = orjson.dumps(value, default=str)
        if len(plain) <= self._limit:
            return value
        short = shape(value, self._limit)
        kind, body = ("txt", value.encode()) if isinstance(value, str) else ("json", plain)
        try:
            name = await asyncio.to_thread(save, self._folder, context.path, kind, body)
        except ToolError as error:
            return noted(short, f"The rest could not be kept: {error}")
        return noted(short, f"Cut. The whole is the artifact {name} ({len(body):,} bytes): artifacts.read shows parts.")
