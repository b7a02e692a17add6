"""Running a tool in a process of its own, which is killed at the deadline with everything that it started.

The other side is `tools.worker`: one process a call, one JSON object each way. This keeps a tool that hangs, crashes or
eats memory away from the run; it does not keep it from reading or writing what the run may. `tools.sandbox` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.orders import order_of, result_of

if TYPE_CHECKING:
    from quarterdeck.tools.tool import Tool, ToolContext

MAX_ANSWER = 10_100_000
"""Bytes that a tool may return from its process; `worker.MAX_RESULT` and what stands around it."""
_ROUNDS = 50
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from quarterdeck.tools.worker import main; main()"


async def run_isolated(tool: Tool, arguments: dict[str, Any], context: ToolContext | None) -> Any:
    """Call a tool in a new process; when the caller is cancelled, the process and its descendants are killed.

    Args:
        tool: A function at the top level of a file.
        arguments: Validated.
        context: What it may know of the run.

    Returns:
        What the function returned, as JSON has it.

    Raises:
        ToolError: The tool raised it, or its process died (error class `killed`).
        RuntimeError: The tool raised something else; this one is of a kind of that name.
    """
    order = order_of(tool, arguments, context)
    if order is None:
        raise ToolError(f"{tool.name}: its arguments are more than JSON can carry to its process.", unsent=True)
    process = await asyncio.create_subprocess_exec(
        *worker_command(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True, limit=MAX_ANSWER,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(order)
            await process.stdin.drain()
        try:
            await process.stdout.readline()  # it is ready
            line = await process.stdout.readline()
        except ValueError:
            raise too_large(tool.name) from None
        died = not line.endswith(b"\n")
    finally:
        kill_tree(process.pid)
        process.stdin.close()
        await process.wait()
    if died:
        raise ended_early(tool.name)
    return result_of(orjson.loads(line))


def worker_command() -> list[str]:
    """Return what starts the other side, which then finds the modules that this process finds."""
    return [sys.executable, "-c", _PROGRAM, *sys.path]


def too_large(name: str) -> ToolError:
    """Return what is raised where a tool's process says more than is read."""
    return ToolError(f"{name} returned more than {MAX_ANSWER:,} bytes from its process.")


def ended_early(name: str) -> ToolError:
    """Return what is raised where a tool's process died."""
    return ToolError(f"{name}: its process ended before it answered.", error_class="killed")


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
