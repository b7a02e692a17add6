"""CPU of one append to the journal on disk: one run alone, and a hundred runs at once that share commits.

python -m bench.journal [--appends 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.report import Row, report

from quarterdeck.journal.events import ModelCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

RUNS_AT_ONCE = 100


def event(path: str) -> ModelCalled:
    """Return the event of a model call of ordinary size."""
    text = "The order is packed and arrives on Friday. " * 20
    return ModelCalled(
        path=path,
        task="step1",
        agent="step1",
        request_hash="0" * 64,
        request={"model": "openai/bench", "messages": [{"role": "user", "content": text}], "max_tokens": 1024},
        reply={"text": text, "finish": "stop"},
        model="openai/bench",
        prompt_tokens=200,
        completion_tokens=200,
        cost_usd="0.0001",
        seconds=0.2,
    )


async def append(store: Store, count: int) -> None:
    """Begin a run, append to it one event after the other, and let it go."""
    journal = await RunJournal.start(store, crew="bench", spec={}, inputs={}, spec_hash="", version="0")
    async with journal:
        for number in range(count):
            await journal.append(event(f"step1/turn-{number}"))


async def round_of(store: Store, runs: int, appends: int) -> tuple[float, float]:
    """Return ms of CPU, and of time, that an append took while so many runs shared the work."""
    each = max(1, appends // runs)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(append(store, each) for _ in range(runs)))
    count = runs * (each + 1)  # the start of a run is an append too
    return (time.process_time() - cpu) / count * 1000, (time.perf_counter() - wall) / count * 1000


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{Path(folder) / 'journal.db'}") as store:
        await append(store, 20)
        for title, runs in (("one run alone", 1), (f"{RUNS_AT_ONCE} runs at once", RUNS_AT_ONCE)):
            seen = [await round_of(store, runs, options.appends) for _ in range(options.rounds)]
            rows.append((f"{title}: CPU", statistics.median(cpu for cpu, _ in seen), "ms/append", None))
            rows.append((f"{title}: time", statistics.median(wall for _, wall in seen), "ms/append", None))
    report("journal", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--appends", type=int, default=1000, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(main(parser.parse_args()))
