"""A hundred crews of three agents at once, each model call 200 ms: seconds, memory, and CPU.

python -m bench.concurrency [--crews 100] [--rounds 3] [--only quarterdeck|bare|crewai]

Each way runs in a process of its own, so that its peak memory is its own. Three calls that follow one another take at
least 0.6 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from bench.crews import bare_arguments, crew_of, crewai_crew
from bench.loopback import Loopback
from bench.report import Row, report

from quarterdeck import optouts

AGENTS, DELAY = 3, 0.2
TARGET_SECONDS, TARGET_MB = 2.5, 450
WAYS = ("quarterdeck", "bare", "crewai")


Step = Callable[[], Awaitable[None]]


def prepare(way: str, url: str, folder: Path) -> tuple[Step, Step]:
    """Return what runs one crew, and what frees in the end what all of them held."""
    import litellm

    crew = crew_of(url, folder, tasks=AGENTS, numbered=True)
    callers = count()
    (arguments,) = bare_arguments(url)

    async def quarterdeck() -> None:
        result = await crew.akickoff({"caller": next(callers)})
        assert result.status == "succeeded" and result.model_calls == AGENTS, result

    async def bare() -> None:
        for _ in range(AGENTS):
            await litellm.acompletion(**arguments)

    async def crewai() -> None:
        await crewai_crew(url, tasks=AGENTS).akickoff()

    return {"quarterdeck": quarterdeck, "bare": bare, "crewai": crewai}[way], crew.aclose


async def one_way(way: str, crews: int, rounds: int) -> None:
    """Measure one way in this process and print the figures as JSON."""
    optouts.apply()
    with Loopback(delay=DELAY) as server, tempfile.TemporaryDirectory() as folder:
        once, free = prepare(way, server.url, Path(folder))
        await once()
        wall, cpu = [], []
        for _ in range(rounds):
            started, used = time.perf_counter(), time.process_time()
            await asyncio.gather(*(once() for _ in range(crews)))
            wall.append(time.perf_counter() - started)
            cpu.append((time.process_time() - used) / crews / AGENTS * 1000)
        await free()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": statistics.median(wall), "cpu_ms": statistics.median(cpu), "peak_mb": peak / 1e6}))


def in_a_process(way: str, crews: int, rounds: int) -> dict[str, float]:
    """Measure one way in a new process."""
    command = [sys.executable, "-m", "bench.concurrency", "--way", way, "--crews", str(crews), "--rounds", str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows: list[Row] = []
    cpu: dict[str, float] = {}
    for way in WAYS:
        if options.only and way != options.only:
            continue
        figures = in_a_process(way, options.crews, 1 if way == "crewai" else options.rounds)
        ours = way == "quarterdeck"
        cpu[way] = figures["cpu_ms"]
        rows += [
            (f"{way}: wall", figures["seconds"], "s", TARGET_SECONDS if ours else None),
            (f"{way}: peak memory", figures["peak_mb"], "MB", TARGET_MB if ours else None),
            (f"{way}: CPU", figures["cpu_ms"], "ms/call", None),
        ]
    rows += [
        (f"{way} above bare: CPU", ms - cpu["bare"], "ms/call", None)
        for way, ms in cpu.items()
        if "bare" in cpu and way != "bare"
    ]
    report("concurrency", rows, crews=options.crews, agents=AGENTS, delay=DELAY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crews", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="measure this way alone")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        asyncio.run(one_way(given.way, given.crews, given.rounds))
    else:
        main(given)
