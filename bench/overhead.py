"""CPU of one model call: a crew with its journal on disk, against bare `litellm.acompletion` and against crewai.

python -m bench.overhead [--runs 60] [--rounds 7] [--without-crewai]

The three take turns in one process, so that a busy machine hits them alike; the figures are medians over the rounds.
The CPU of the loopback model is not in them: it is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.crews import ARGUMENTS, KNOWN_MODEL, TOOL, bare_arguments, crew_of, crewai_crew
from bench.loopback import Loopback
from bench.report import Row, report

from quarterdeck import optouts

TARGET_MS = 2.0
Once = Callable[[], Awaitable[Any]]


async def take_turns(ways: dict[str, Once], runs: dict[str, int], rounds: int) -> dict[str, list[float]]:
    """Return ms of CPU a run of each way, round by round, once all are warm."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for name, once in ways.items():
        for _ in range(min(5, runs[name])):
            await once()
    for _ in range(rounds):
        for name, once in ways.items():
            started = time.process_time()
            for _ in range(runs[name]):
                await once()
            seen[name].append((time.process_time() - started) / runs[name] * 1000)
    return seen


async def measure(title: str, tasks: int, tool: bool, options: argparse.Namespace) -> list[Row]:
    """Return the figures of one kind of crew."""
    optouts.apply()
    import litellm

    crewai, model = not options.without_crewai, KNOWN_MODEL
    calls = 2 * tasks if tool else tasks
    serve = Loopback(tool=TOOL, arguments=ARGUMENTS) if tool else Loopback()
    with serve as server, tempfile.TemporaryDirectory() as folder:
        crew = crew_of(server.url, Path(folder), tasks=tasks, tool=tool, model=model)
        bare = bare_arguments(server.url, tool=tool, model=model)

        async def ours() -> None:
            result = await crew.akickoff()
            assert result.status == "succeeded" and result.model_calls == calls, result

        async def plain() -> None:
            for _ in range(tasks):
                for arguments in bare:
                    await litellm.acompletion(**arguments)

        async def theirs() -> None:
            await crewai_crew(server.url, tasks=tasks, tool=tool, model=model).akickoff()

        ways: dict[str, Once] = {"quarterdeck": ours, "bare": plain}
        if crewai:
            ways["crewai"] = theirs
        runs = {"quarterdeck": options.runs, "bare": options.runs, "crewai": max(1, options.runs // 12)}
        seen = await take_turns(ways, runs, options.rounds)
        traffic = {name: await _traffic(once, server) for name, once in ways.items()}
        await crew.aclose()

    def above_bare(name: str) -> float:
        # round by round, so that a round on a busy machine counts for both
        return statistics.median(own - bare for own, bare in zip(seen[name], seen["bare"], strict=True)) / calls

    rows: list[Row] = [
        (f"{title}: quarterdeck", statistics.median(seen["quarterdeck"]) / calls, "ms/call", None),
        (f"{title}: bare litellm", statistics.median(seen["bare"]) / calls, "ms/call", None),
        (f"{title}: quarterdeck above bare", above_bare("quarterdeck"), "ms/call", TARGET_MS),
    ]
    if crewai:
        rows.append((f"{title}: crewai above bare", above_bare("crewai"), "ms/call", None))
        for index, (what, unit) in enumerate((("requests", "a run"), ("prompt bytes", "a run"))):
            rows.append((f"{title}: crewai {what}", traffic["crewai"][index], unit, None))
            rows.append((f"{title}: quarterdeck {what}", traffic["quarterdeck"][index], unit, traffic["crewai"][index]))
    return rows


async def _traffic(once: Once, server: Loopback) -> tuple[int, int]:
    server.reset()
    await once()
    seen = server.reset()
    return seen["requests"], seen["prompt_bytes"]


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows = await measure("plain", 1, False, options)
    rows += await measure("with tools", 1, True, options)
    rows += await measure("3 agents", 3, False, options)
    report("overhead", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=60, help="runs a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--without-crewai", action="store_true")
    asyncio.run(main(parser.parse_args()))
