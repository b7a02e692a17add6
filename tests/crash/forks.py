"""A process that has imported everything and forks a child for each attempt: importing crewai takes seconds.

Reads one JSON object a line from its standard input, answers each with how the child ended: an exit code, or minus
the signal that killed it.
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
from typing import TYPE_CHECKING, Any

from tests.crash.voyages import BUSY_NOTES, LOG, Log, Oracle, crew_of

from quarterdeck.engine.member import crewai_classes
from quarterdeck.engine.output import plain
from quarterdeck.errors import RunBusy
from quarterdeck.journal import store
from quarterdeck.journal.store import Store
from quarterdeck.journal.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from quarterdeck.errors import JournalError
    from quarterdeck.journal.lane import Lane
    from quarterdeck.journal.writer import Write

BUSY = 7


class Doomed(Writer):
    """A writer that kills its process around its n-th commit: before, within (written, not committed) or after it.

    Or, with the point `end`, before it writes the end of a run, however many commits that took.
    """

    def __init__(self, engine: Engine, *, point: str, at: int) -> None:
        super().__init__(engine)
        self._point = point
        self._left = at

    def _record(self, connection: Connection, lanes: dict[Lane, list[Write]]) -> None:
        self._left -= 1
        self._die("before")
        kinds = {event["kind"] for writes in lanes.values() for write in writes for event in write.events}
        if self._point == "end" and "run.ended" in kinds:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._record(connection, lanes)
        self._die("within")

    def _transaction(self, work: Any) -> JournalError | None:
        problem = super()._transaction(work)
        if isinstance(work, partial):  # a commit of events, not a look for cancellations
            self._die("after")
        return problem

    def _die(self, point: str) -> None:
        if point == self._point and self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(order: dict[str, Any]) -> int:
    """Run or resume a crew in this process, under a writer that may kill it."""
    folder = Path(order["folder"])
    if order.get("point"):
        store.Writer = partial(Doomed, point=order["point"], at=order["at"])  # type: ignore[assignment,attr-defined]
    crew = crew_of(order["crew"], folder, Oracle(Log(folder / LOG), patient=order.get("patient", False)))
    try:
        result = asyncio.run(_work(crew, order.get("run_id")))
    except RunBusy as error:
        (folder / BUSY_NOTES.replace("*", str(os.getpid()))).write_text(str(error))
        return BUSY
    (folder / "result.json").write_text(
        json.dumps(
            {
                "status": result.status,
                "evidence": result.evidence,
                "output": plain(result.output),
                "tasks": {
                    name: [task.status, task.code, plain(task.output), list(task.notes), task.why]
                    for name, task in sorted(result.tasks.items())
                },
                "tool_calls": result.tool_calls,
            }
        )
    )
    return 0


async def _work(crew: Any, run_id: str | None) -> Any:
    try:
        return await (crew.aresume(run_id) if run_id else crew.akickoff())
    finally:
        await crew.aclose()


def fork(order: dict[str, Any]) -> int:
    """Start an attempt in a child and return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = attempt(order)
    except BaseException:
        (Path(order["folder"]) / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def main() -> None:
    """Serve until the input ends; several orders in one line start together."""
    crewai_classes()
    gc.freeze()
    Store.open(f"sqlite:///{sys.argv[1]}/warm.db").close()  # compiles what SQLAlchemy compiles once
    print("ready", flush=True)
    for line in sys.stdin:
        children = [fork(order) for order in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
