"""The second narrow waist: every tool call goes through `Gate.call`, and nothing else calls a tool.

The order of the stages stands in `Gate._stages`. A stage either answers the call or hands it to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.governance.call import Grants, Proceed, ToolCall, ToolStage
from quarterdeck.governance.stages import (
    ArgumentsValid,
    Counted,
    Executed,
    Exists,
    Granted,
    Journaled,
    NotRepeated,
    Replayed,
    record,
)
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ToolRequest
    from quarterdeck.tools.execution import Executor


class Gate:
    """The only way to a tool, for one run. What nobody granted is denied.

    Args:
        tools: All tools of the workspace by name.
        grants: Says what the agent of a call may use.
        executor: Carries out calls under a deadline.
        run_id: The run's id.
        inputs: The run's inputs.
        folder: The run's own folder.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        grants: Grants,
        executor: Executor,
        *,
        run_id: str,
        inputs: dict[str, Any],
        folder: Path,
    ) -> None:
        self._run_id = run_id
        self._inputs = inputs
        self._folder = folder
        self._state: dict[str, Any] = {}
        self._call = self._stages(tools, grants, executor)

    def _stages(self, tools: Mapping[str, Tool], grants: Grants, executor: Executor) -> Proceed:
        """Put the stages in their order, the first one outermost."""
        stages: tuple[ToolStage, ...] = (
            Exists(tools, grants),
            Granted(grants),
            ArgumentsValid(),
            NotRepeated(),
            Replayed(),
            Journaled(),
            Counted(),
            Executed(executor, self._tool_context),
        )
        call: Proceed = _nothing_left
        for stage in reversed(stages):
            call = _before(stage, call)
        return call

    async def call(self, request: ToolRequest, context: CallContext) -> ToolResult:
        """Answer one proposed tool call.

        Args:
            request: What the model (or the engine) proposes.
            context: Where in the run.

        Returns:
            The result; a tool that fails, does not exist or is not granted is a result too.

        Raises:
            LimitReached: The run has no tool calls or no time left.
            JournalError: The result could not be recorded, so it must not be used.
        """
        request_hash = fingerprint({"tool": request.name, "arguments": request.arguments, "raw": request.raw})
        call = ToolCall(request.name, request.arguments, request.raw, request_hash)
        result = await self._call(call, context)
        if result.status == "denied" and context.journal.recorded_tool(context.path, request_hash) is None:
            await record(call, context, result, seconds=0.0)
        return result

    def _tool_context(self, context: CallContext) -> ToolContext:
        return ToolContext(
            run_id=self._run_id,
            idempotency_key=f"{self._run_id}:{context.path}",
            inputs=self._inputs,
            folder=self._folder,
            state=self._state,
            path=context.path,
        )


def _before(stage: ToolStage, proceed: Proceed) -> Proceed:
    async def call(tool_call: ToolCall, context: CallContext) -> ToolResult:
        return await stage(tool_call, context, proceed)

    return call


async def _nothing_left(call: ToolCall, context: CallContext) -> ToolResult:
    raise AssertionError("the last stage answers every call")
