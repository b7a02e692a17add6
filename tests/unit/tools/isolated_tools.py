"""Tools for the tests of isolation: another process finds them in this file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Annotated

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

DAEMON = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n"


@tool(effect="read", owner="tests", sinks={}, isolated=True, memory_mb=200, cpu_seconds=2)
def work(context: ToolContext, what: Annotated[str, Field(max_length=20)], n: int = 0) -> object:
    """Do one of several things.

    Args:
        context: The run.
        what: Which.
        n: A number.
    """
    match what:
        case "add":
            print("this goes nowhere")
            return {"sum": n + 1, "pid": os.getpid(), "key": context.idempotency_key}
        case "refuse":
            raise ToolError("the desk is closed", error_class="unavailable", unsent=True, retry_after=2.0)
        case "break":
            raise ValueError("bad luck")
        case "leave":
            sys.exit(3)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "eat":
            return len(bytearray(1_000_000_000))
        case "burn":
            while True:
                pass
        case "flood":
            return ["x" * 1000] * 6_000
        case "hang":
            subprocess.Popen([sys.executable, "-c", DAEMON])
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
            time.sleep(0.3)
            (context.folder / "ready").write_text(str(os.getpid()))
            time.sleep(60)
    return None


@tool(effect="read", owner="tests", sinks={}, isolated=True)
async def slow(n: int) -> int:
    """Return a number.

    Args:
        n: Which.
    """
    return n
