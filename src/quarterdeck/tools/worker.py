"""The process of one isolated tool call: reads an order from its standard input, writes one answer, waits to be killed.

`tools.isolation` starts it. What the tool prints goes nowhere: its standard output is not the pipe of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.loading import load_module
from quarterdeck.tools.shaping import shape
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import ToolContext

MAX_RESULT = 4_000_000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve one call."""
    parent = os.getppid()
    pipe = os.dup(1)
    os.set_inheritable(pipe, False)
    os.dup2(2, 1)
    _bind_to(parent)
    order = orjson.loads(sys.stdin.buffer.readline())
    said = _carry_out(order)
    with os.fdopen(pipe, "wb") as answer:
        answer.write(orjson.dumps(said) + b"\n")
    signal.pause()  # whoever started it kills it, and then knows that nothing which it started is left


def _bind_to(parent: int) -> None:
    """Die with the parent, and adopt the orphans among the descendants, so that they can be found."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    system.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _carry_out(order: dict[str, Any]) -> dict[str, Any]:
    try:
        _limit(order["memory_mb"], order["cpu_seconds"])
        return {"result": shape(_call(order), MAX_RESULT)}
    except ToolError as error:
        return {
            "error": "tool",
            "message": str(error)[:4000],
            "error_class": error.error_class,
            "unsent": error.unsent,
            "retry_after": error.retry_after,
        }
    except BaseException as error:  # sys.exit() in a tool ends its call, with an answer
        return {"error": type(error).__name__, "message": str(error)[:4000]}


def _call(order: dict[str, Any]) -> Any:
    file = Path(order["file"])
    function = getattr(load_module(file, file.parent), order["function"])
    tool = tool_from_function(function, order["name"])
    assert tool.validator is not None
    arguments = dict(tool.validator.validate_python(order["arguments"]))
    if tool.takes_context:
        given = order["context"]
        arguments["context"] = None if given is None else ToolContext(**{**given, "folder": Path(given["folder"])})
    result = tool.function(**arguments)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result


def _limit(memory_mb: int, cpu_seconds: int) -> None:
    """Set the bounds; memory counts from what Python itself has by now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        has = 0
        with contextlib.suppress(OSError):
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + memory_mb * 1_000_000,) * 2)
    if cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))


if __name__ == "__main__":
    main()
