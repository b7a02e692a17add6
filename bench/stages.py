"""CPU that the stages around a model call cost above the port without them: replay and provider alone.

python -m bench.stages [--calls 400] [--rounds 7]

The provider is scripted, the journal is SQLite on disk; the budget, the rate and the cache are declared, and none of
them stops a call.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.report import Row, report

from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.cache import Cache
from quarterdeck.models.port import Message, ModelReply, ModelRequest, Usage
from quarterdeck.models.prices import Price, cost
from quarterdeck.models.rate_limit import RateLimit
from quarterdeck.models.stack import build_port
from quarterdeck.models.stages import Answer, Replay, Stage
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.models import CacheSpec, RateSpec
from quarterdeck.testing import ScriptedCatalog

TARGET = 0.6
PRICE = Price.per_million(0.15, 0.6)
RATE = RateSpec(requests=1_000_000)
TOKEN_RATE = RateSpec(requests=1_000_000, tokens=1_000_000_000)
CACHE = CacheSpec(seconds=3600)
TEXT = "The order is packed and arrives on Friday. " * 20
USAGE = Usage(200, 200)


class Model:
    """Answers at once."""

    async def answer(self, request: ModelRequest, on_text: object = None) -> ModelReply:
        return ModelReply(TEXT, usage=USAGE, cost_usd=cost(PRICE, USAGE), model=request.model)

    async def close(self) -> None:
        pass


class Models(ScriptedCatalog):
    """One model with all that can be declared about it."""

    def rate_of(self, name: str) -> RateSpec | None:
        return RATE

    def cache_of(self, group: str) -> CacheSpec | None:
        return CACHE


def ports() -> dict[str, Callable[[], Stage]]:
    """Return what is measured, the port without any stage first."""
    models = Models(Model(), price=PRICE)

    def alone(wrap: Callable[[Stage], Stage]) -> Callable[[], Stage]:
        return lambda: Replay(wrap(Answer(models.provider)))

    return {
        "none": alone(lambda stage: stage),
        "all": lambda: build_port(models),
        "cache": alone(lambda stage: Cache(stage, lambda _: CACHE)),
        "sharing": alone(lambda stage: Cache(stage, lambda _: None)),
        "rate": alone(lambda stage: RateLimit(stage, lambda _: RATE)),
        "token rate": alone(lambda stage: RateLimit(stage, lambda _: TOKEN_RATE)),
    }


async def calls(store: Store, port: Stage, count: int, round_: int) -> float:
    """Return ms of CPU that a call took."""
    journal = await RunJournal.start(store, crew="bench", spec={}, inputs={}, spec_hash="", version="0")
    async with journal:
        limits = Limits(usd=1000.0, model_calls=10_000)
        allowance = Allowance(limits, journal.totals.copy(), Ledger(journal, limits))
        ends = asyncio.get_running_loop().time() + 3600
        used = time.process_time()
        for number in range(count):
            messages = (Message("system", TEXT), Message("user", f"Question {round_}-{number}: where is my order?"))
            path = f"step1/turn-{number}"
            context = CallContext(journal, allowance, path, "step1", "step1", ends, "cheap")
            await port.complete(ModelRequest("bench/model", messages), context)
        return (time.process_time() - used) / count * 1000


async def main(options: argparse.Namespace) -> None:
    """Measure the ports in turn, round by round, so that a noisy moment falls on all of them."""
    seen: dict[str, list[float]] = {name: [] for name in ports()}
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{Path(folder) / 'journal.db'}") as store:
        made = {name: make() for name, make in ports().items()}
        for number, port in enumerate(made.values()):
            await calls(store, port, 20, -1 - number)
        for round_ in range(options.rounds):
            for number, (name, port) in enumerate(made.items()):
                seen[name].append(await calls(store, port, options.calls, round_ * len(made) + number))
    ms = {name: statistics.median(figures) for name, figures in seen.items()}
    rows: list[Row] = [
        ("port without stages", ms["none"], "ms/call", None),
        ("all stages above it", ms["all"] - ms["none"], "ms/call", TARGET),
    ]
    rows += [(f"{name} alone above it", ms[name] - ms["none"], "ms/call", None) for name in list(ms)[2:]]
    report("stages", rows, calls=options.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=400, help="a round")
    parser.add_argument("--rounds", type=int, default=7)
    asyncio.run(main(parser.parse_args()))
