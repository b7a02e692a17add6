"""Python in the sandbox: no network, no files but its own, no packages, 30 seconds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.tools import sandbox, sandboxed
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["run"]

_MAIN = "/tmp/main.py"


@tool(effect="write", owner="quarterdeck", sinks={"code": "command"}, undo=sandboxed.remove, timeout=45.0)
async def run(context: ToolContext, code: Annotated[str, Field(max_length=50_000)]) -> dict[str, Any]:
    """Run Python code (standard library only, no network) and return its exit code and what it printed.

    Files that the code leaves in its current folder are kept with the run.

    Args:
        context: The run that asks; filled in by the engine.
        code: A whole program; print what you want to know.

    Returns:
        `exit_code`, `stdout`, `stderr`, and `files` if it left any.
    """
    files = {_MAIN: code.encode("utf-8", "replace")}
    return await sandboxed.carry_out(context, [sandbox.python(), "-I", "-B", _MAIN], files)
