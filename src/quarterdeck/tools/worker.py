"""The process in which tools are called that can be killed: reads orders from its standard input, answers each.

`tools.pool` starts it for many calls, one after the other, and `tools.isolation` for a single one. What a tool prints
goes nowhere: its standard output is not the pipe of the answers.
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
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from quarterdeck.tools.failures import MAX_TEXT, failure_of
from quarterdeck.tools.orders import context_from
from quarterdeck.tools.places import function_at
from quarterdeck.tools.shaping import shape

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_RESULT = 10_000_000
"""Bytes of JSON that a tool may return; what does not fit is cut."""
MAX_RUNS = 8
"""Runs whose `context.state` a process keeps."""
READY = b"ready\n"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve calls until the pipe is closed, or whoever started this process kills it."""
    orders, answers = _pipes()
    _bind_to(os.getppid())
    answers.write(READY)
    answers.flush()
    here, states = os.getpid(), dict[str, dict[str, Any]]()
    for line in orders:
        order = orjson.loads(line)
        threads = _Threads()
        said = _carry_out(order, states, threads)
        if os.getpid() != here:
            os._exit(0)  # the tool forked, and this is the child
        said["left_behind"] = threads.grew() or _has_children()
        answers.write(orjson.dumps(said) + b"\n")
        answers.flush()


class _Threads:
    """Tells whether a call has left threads behind; those of what it imports first do not count."""

    def __init__(self) -> None:
        self._before = threading.active_count()

    def begin(self) -> None:
        self._before = threading.active_count()

    def grew(self) -> bool:
        return threading.active_count() > self._before


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return the pipes of the orders and answers, after moving them where neither tools nor what they start look."""
    orders, answers = os.dup(0), os.dup(1)  # not inheritable
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return os.fdopen(orders, "rb"), os.fdopen(answers, "wb")


def _bind_to(parent: int) -> None:
    """Die with the parent, and adopt the orphans among the descendants, so that they can be found."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    system.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _has_children() -> bool:
    """Say whether a process is left that a tool started, running or not."""
    if sys.platform != "linux":
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _carry_out(order: dict[str, Any], states: dict[str, dict[str, Any]], threads: _Threads) -> dict[str, Any]:
    try:
        if "memory_mb" in order:
            _limit(order["memory_mb"], order["cpu_seconds"])
        return {"result": shape(_call(order, states, threads), MAX_RESULT)}
    except Exception as error:
        failure = failure_of(order["tool"], error)
        if failure.error_class == "bug":
            return {"error": type(error).__name__, "message": str(error)[:MAX_TEXT]}
        return {
            "error": "tool",
            "message": failure.text,
            "error_class": failure.error_class,
            "unsent": failure.unsent,
            "retry_after": failure.retry_after,
        }
    except BaseException as error:  # sys.exit() in a tool ends its call, with an answer
        return {"error": type(error).__name__, "message": str(error)[:MAX_TEXT]}


def _call(order: dict[str, Any], states: dict[str, dict[str, Any]], threads: _Threads) -> Any:
    function = function_at(order["address"])
    arguments, positional = order["arguments"], order["positional"]
    if order["validate"]:
        arguments = dict(_validator(function, order["tool"]).validate_python(arguments))
    known = order["context"]
    context = None if known is None else context_from(known, _state(known["run_id"], states))
    for place in order["context_at"]:
        if isinstance(place, int):
            positional[place] = context
        else:
            arguments[place] = context
    threads.begin()
    result = function(*positional, **arguments)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


@lru_cache(maxsize=256)
def _validator(function: Callable[..., Any], name: str) -> TypeAdapter[Any]:
    from quarterdeck.tools.signature import tool_from_function

    validator = tool_from_function(function, name).validator
    assert validator is not None
    return validator


def _state(run_id: str, states: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the tools of a run keep in this process; the run that was served longest ago is forgotten."""
    states[run_id] = states.pop(run_id, {})
    while len(states) > MAX_RUNS:
        del states[next(iter(states))]
    return states[run_id]


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
