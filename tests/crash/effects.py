"""A process that forks a child for each attempt at a run full of side effects; the child dies where it is told to.

Reads one JSON object a line: `folder`, and where to die: `point` (`before`, `within`, `after` a commit; `unborn` and
`done`: in a tool, before and after it has done its work) and `at` (the how many-th). Answers with how it ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash.forks import Doomed
from tests.unit.governance.trial_gate import trial

from quarterdeck.errors import Waiting
from quarterdeck.journal import store
from quarterdeck.journal.events import RunEnded, RunWaiting
from quarterdeck.journal.store import Store
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

RUN = "voyage"
CALLS = 4
LOG = "world.log"
WAITING = 11


class World:
    """What the tools do is a line in a file, or a file of its own: both survive the death of the process."""

    def __init__(self, folder: Path, point: str, at: int) -> None:
        self._folder = folder
        self._point, self._left = point, at
        self._log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _die(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def act(self, what: str, key: str) -> str:
        self._die("unborn")
        os.write(self._log, f"{what} {key}\n".encode())
        self._die("done")
        return f"{what} {key}"

    def once(self, key: str) -> str:
        """Do something that the other side does once a key, however often it is asked."""
        self._die("unborn")
        try:
            os.close(os.open(self._folder / key.replace("/", "_"), os.O_CREAT | os.O_EXCL))
            os.write(self._log, f"put {key}\n".encode())
        except FileExistsError:
            pass
        self._die("done")
        return f"put {key}"


def tools(world: World) -> dict[str, Any]:
    @tool(effect="external", owner="tests", sinks={})
    def charge(context: ToolContext, n: int) -> str:
        """Charge.

        Args:
            context: The run.
            n: The how many-th call it is.
        """
        return world.act("charge", context.idempotency_key)

    @tool(effect="external", owner="tests", sinks={}, idempotent=True)
    def put(context: ToolContext, n: int) -> str:
        """Put.

        Args:
            context: The run.
            n: The how many-th call it is.
        """
        return world.once(context.idempotency_key)

    return {"desk.charge": charge, "desk.put": put}


async def work(order: dict[str, Any]) -> int:
    folder = Path(order["folder"])
    begun = False
    if (folder / "journal.db").exists():
        with Store.open(f"sqlite:///{folder}/journal.db", read_only=True) as reader:
            begun = bool(reader.runs())
    world = World(folder, order.get("point", ""), order.get("at", 0))
    async with trial(folder, tools(world), resume=RUN if begun else "", run_id=RUN) as run:
        try:
            for number in range(1, CALLS + 1):
                name = "desk.charge" if number % 2 else "desk.put"
                result = await run.call(name, at=f"turn-{number}/tool-1", n=number)
                assert result.status == "ok", result
        except Waiting as waiting:
            await run.journal.wait(RunWaiting(code=waiting.code))
            return WAITING
        await run.journal.end(RunEnded(status="succeeded", code="goal_met"))
    return 0


def fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if order.get("point") in ("before", "within", "after"):
            store.Writer = partial(Doomed, point=order["point"], at=order["at"])  # type: ignore[assignment,attr-defined]
        code = asyncio.run(work(order))
    except BaseException:
        (Path(order["folder"]) / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def main() -> None:
    """Serve until the input ends."""
    gc.freeze()
    Store.open(f"sqlite:///{sys.argv[1]}/warm.db").close()
    print("ready", flush=True)
    for line in sys.stdin:
        print(os.waitstatus_to_exitcode(os.waitpid(fork(json.loads(line)), 0)[1]), flush=True)


if __name__ == "__main__":
    main()
