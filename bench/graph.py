"""Three independent tasks of one second each in a `graph` crew: they have to run side by side.

python -m bench.graph [--delay 1.0] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.crews import crew_of
from bench.loopback import Loopback
from bench.report import Row, report

TASKS, TARGET = 3, 1.5


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    wall: list[float] = []
    with Loopback(delay=options.delay) as server, tempfile.TemporaryDirectory() as folder:
        crew = crew_of(server.url, Path(folder), tasks=TASKS, process="graph", numbered=True)
        for number in range(options.rounds + 1):
            started = time.perf_counter()
            result = await crew.akickoff({"caller": number})
            wall.append(time.perf_counter() - started)
            assert result.status == "succeeded" and result.model_calls == TASKS, result
        await crew.aclose()
    rows: list[Row] = [
        (f"{TASKS} tasks of {options.delay:g} s: wall", statistics.median(wall[1:]), "s", TARGET),
        ("the same, vendors imported in it", wall[0], "s", None),
    ]
    report("graph", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=1.0, help="seconds a model call")
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args()))
