"""Sync tools for the tests of the processes that serve many calls; loaded by path, as those of a workspace are."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

DAEMON = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n"
seen: list[int] = []


def looked(arguments: dict[str, Any], result: Any, context: ToolContext) -> bool:
    """Say whether the world has changed; `hang` never says."""
    if arguments.get("what") == "hang":
        time.sleep(60)
    return bool(result["pid"] != os.getpid() or context.run_id)


def taken_back(arguments: dict[str, Any], result: Any, context: ToolContext) -> str:
    """Take back; `hang` never does."""
    (context.folder / "undo.json").write_text(
        json.dumps({"pid": os.getpid(), "arguments": arguments, "result": result, "force": context.force})
    )
    if arguments["what"] == "hang":
        time.sleep(60)
    return f"took back {arguments['what']} of {context.path}"


def _hang(context: ToolContext) -> None:
    (context.folder / "ready").write_text(str(os.getpid()))
    time.sleep(60)


def _spin(context: ToolContext) -> None:
    while True:
        pass


def _add(context: ToolContext, n: int) -> dict[str, Any]:
    print("this goes nowhere")
    seen.append(n)
    context.state["calls"] = context.state.get("calls", 0) + 1
    return {
        "pid": os.getpid(), "sum": sum(seen), "key": context.idempotency_key, "calls": context.state["calls"],
        "inputs": context.inputs, "path": context.path,
        "roots": {name: [str(root.path), root.write] for name, root in context.roots.items()},
        "agent": context.services.web.user_agent if context.services else "",
    }  # fmt: skip


def _refuse(context: ToolContext) -> None:
    raise ToolError("the desk is closed", error_class="rate_limited", unsent=True, retry_after=2.0)


def _break(context: ToolContext) -> None:
    raise ValueError("bad luck")


def _unreachable(context: ToolContext) -> None:
    raise ConnectionRefusedError("nobody there")


def _thread(context: ToolContext) -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


DEEDS: dict[str, Callable[[ToolContext], Any]] = {
    "sleep": _hang,
    "spin": _spin,
    "hold the lock": lambda _: re.match(r"(a|aa)+$", "a" * 60 + "b"),  # in C, where no other thread can run
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": lambda _: os._exit(3),
    "crash": lambda _: ctypes.string_at(0),
    "leave": lambda _: sys.exit(3),
    "refuse": _refuse,
    "break": _break,
    "unreachable": _unreachable,
    "daemon": lambda _: subprocess.run([sys.executable, "-c", DAEMON], check=True).returncode,
    "fork": lambda _: os.fork(),  # and the child returns, too
    "thread": _thread,
    "flood": lambda _: ["x" * 1000] * 10_500,
    "odd": lambda _: {"at": date(2026, 5, 1), "in": Path("a/b"), "set": {1}, "what": object, 3: b"abc"},
    "around": lambda _: [os.environ.get("DESK", ""), os.getcwd(), "/somewhere/else" in sys.path, os.getpid()],
}


@tool(effect="write", owner="tests", sinks={}, verify=looked, undo=taken_back)
def work(context: ToolContext, what: str, n: int = 0) -> object:
    """Do one of several things.

    Args:
        context: The run.
        what: Which.
        n: A number.
    """
    return _add(context, n) if what == "add" else DEEDS[what](context)


def loud(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function, as decorators do."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return {"said": function(*arguments, **keywords), "pid": os.getpid()}

    return wrapper


@tool(effect="read", owner="tests", sinks={})
@loud
def until(day: date, least: int = 0) -> str:
    """Say which day it is.

    Args:
        day: The day.
        least: A number.
    """
    return f"{day:%d.%m.%Y} {least}"


@tool(effect="read", owner="tests", sinks={}, isolated=False)
def here() -> int:
    """Return the process."""
    seen.append(1)
    return os.getpid()


@tool(effect="read", owner="tests", sinks={})
async def looped() -> int:
    """Return the process."""
    return os.getpid()


@tool(effect="read", owner="tests", sinks={}, isolated=True)
def alone() -> int:
    """Return the process."""
    return os.getpid()
