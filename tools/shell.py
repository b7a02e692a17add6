"""A shell in the sandbox: the system's programs, no network, no files but its own, 30 seconds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.tools import sandboxed
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["run"]


@tool(effect="write", owner="quarterdeck", sinks={"command": "command"}, undo=sandboxed.remove, timeout=45.0)
async def run(context: ToolContext, command: Annotated[str, Field(max_length=10_000)]) -> dict[str, Any]:
    """Run a shell command in an empty folder (no network) and return its exit code and what it printed.

    Files that the command leaves in its current folder are kept with the run.

    Args:
        context: The run that asks; filled in by the engine.
        command: For /bin/sh, such as: seq 10 | sort -r

    Returns:
        `exit_code`, `stdout`, `stderr`, and `files` if it left any.
    """
    return await sandboxed.carry_out(context, ["/bin/sh", "-c", command], {})
