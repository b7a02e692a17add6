"""Runs thousands of crews in one process and says how much memory it takes meanwhile, as JSON.

Started by `test_memory.py` in a process of its own, so that nothing else's memory is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.crash.voyages import crew_of, step

from quarterdeck.engine.crew import Crew
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Usage

AT_ONCE = 50
SAMPLES = 10


class Steady:
    """Answers as it should and keeps nothing: a `ScriptedModel` keeps every request."""

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        said = step(request)
        return ModelReply("".join(said.pieces), said.tool_calls, Usage(10, 5), model=request.model, finish=said.finish)

    async def close(self) -> None:
        """Hold nothing."""


def fleet(folder: Path) -> list[Crew]:
    """Return crews in the order in which they run: mostly small ones, now and then one with everything in it."""
    tasks = {
        "plan": {"agent": "pilot", "description": "Plan it."},
        "sound": {"agent": "pilot", "description": "Sound Kiel now."},
        "report": {"agent": "pilot", "description": "Report."},
    }
    small = crew_of("survey", folder, Steady(), tasks=tasks)
    return [small] * 48 + [crew_of("survey", folder, Steady()), crew_of("bridge", folder, Steady())]


async def soak(folder: Path, number: int) -> dict[str, object]:
    """Run so many crews.

    Args:
        folder: Where their journal stands.
        number: How many runs.

    Returns:
        Statuses by number, events, seconds, and resident bytes after each tenth of the runs.
    """
    crews = fleet(folder)
    ends: Counter[str] = Counter()
    resident = []
    started = time.monotonic()
    left = iter(range(number))

    async def work() -> None:
        for one in left:
            ends[(await crews[one % len(crews)].akickoff()).status] += 1
            if ends.total() % (number // SAMPLES) == 0:
                resident.append(resident_bytes())

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    events = sum(record.last_seq for record in crews[0].store.runs(limit=number))
    for crew in set(crews):
        await crew.aclose()
    return {"ends": ends, "events": events, "seconds": time.monotonic() - started, "resident": resident}


def resident_bytes() -> int:
    """Return the memory that this process has in use now, after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(soak(Path(sys.argv[1]), int(sys.argv[2])))))
