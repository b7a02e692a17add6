"""Running a tool in a process of its own, which is killed at the deadline with everything that it started.

The other side is `tools.worker`: one process a call, one JSON object each way. This keeps a tool that hangs, crashes or
eats memory away from the run; it does not keep it from reading or writing what the run may. `tools.sandbox` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.errors import ToolError

if TYPE_CHECKING:
    from quarterdeck.tools.tool import Tool, ToolContext

MAX_ANSWER = 8_000_000
"""Bytes that a tool may return from its process."""
_ROUNDS = 50


async def run_isolated(tool: Tool, arguments: dict[str, Any], context: ToolContext | None) -> Any:
    """Call a tool in a new process; when the caller is cancelled, the process and its descendants are killed.

    Args:
        tool: A function at the top level of a file.
        arguments: Validated; the other side validates them again, because they travel as JSON.
        context: What it may know of the run.

    Returns:
        What the function returned, as JSON has it.

    Raises:
        ToolError: The tool raised it, or its process died (error class `killed`).
        RuntimeError: The tool raised something else; the text names it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "quarterdeck.tools.worker",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True, limit=MAX_ANSWER,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(orjson.dumps(_order(tool, arguments, context), default=str) + b"\n")
            await process.stdin.drain()
        try:
            line = await process.stdout.readline()
        except ValueError:
            raise ToolError(f"{tool.name} returned more than {MAX_ANSWER:,} bytes from its process.") from None
        died = not line.endswith(b"\n")
    finally:
        kill_tree(process.pid)
        process.stdin.close()
        await process.wait()
    if died:
        raise ToolError(f"{tool.name}: its process ended before it answered.", error_class="killed")
    return _answer(orjson.loads(line))


def kill_tree(pid: int) -> None:
    """Kill a process that leads a group, and all that it started, daemons among them.

    The process adopts its orphans (see `worker`), so whatever it started is below it for as long as it lives.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # it must not start more meanwhile
        for _ in range(_ROUNDS):
            alive = [child for child in _descendants(pid) if _is_alive(child)]
            for child in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            if not alive:
                break
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or this system has no such file
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _order(tool: Tool, arguments: dict[str, Any], context: ToolContext | None) -> dict[str, Any]:
    function = inspect.unwrap(tool.function)
    return {
        "name": tool.name,
        "file": function.__code__.co_filename,
        "function": function.__name__,
        "arguments": arguments,
        "memory_mb": tool.manifest.memory_mb,
        "cpu_seconds": tool.manifest.cpu_seconds,
        "context": None
        if context is None
        else {
            "run_id": context.run_id,
            "idempotency_key": context.idempotency_key,
            "inputs": context.inputs,
            "folder": str(context.folder),
            "path": context.path,
        },
    }


def _answer(said: dict[str, Any]) -> Any:
    if "error" not in said:
        return said["result"]
    if said["error"] == "tool":
        raise ToolError(
            said["message"],
            error_class=said["error_class"],
            unsent=said["unsent"],
            retry_after=said["retry_after"],
        )
    raise RuntimeError(f"{said['error']}: {said['message']}")
